"""``scripts/bench SUITE``: measure, and write results; the last line of standard output is one JSON document."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from verinfer.verifier.errors import UsageError
from verinfer.verifier.evm import solc

from . import (
    compiler,
    compiler_report,
    contract,
    contract_report,
    environment,
    grown,
    receipt,
    report,
    sumcheck,
    sumcheck_report,
)

RESULTS = Path(__file__).parent / "results"

_out = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True
)

_add = click.option(
    "--add",
    is_flag=True,
    help="Keep the other cases of the results, if they are of the same versions and size of machine.",
)


@click.group()
def bench() -> None:
    """Measure, and write results; progress goes to standard error, one JSON document to standard output."""


@bench.command("receipt")
@click.option(
    "--model", "models", multiple=True, type=click.Choice(list(receipt.REPEATS)), help="Default: all."
)
@_out
def run_receipt(models: tuple[str, ...], out: Path) -> None:
    """What a proven answer costs to make and to check; lenet takes some minutes."""
    machine = environment.describe()
    cases = receipt.run(list(models) or list(receipt.REPEATS), _say)
    results = {"suite": "receipt", "machine": machine, "cases": cases}
    report.write(results, out, "receipt")
    click.echo(report.as_table(results), err=True)
    click.echo(json.dumps(results))


@bench.command("compiler")
@click.option(
    "--case",
    "names",
    multiple=True,
    type=click.Choice(compiler.CASES),
    help="Only these, in this order, and write results only with --out; default: all.",
)
@click.option(
    "--forward-seconds",
    type=float,
    default=compiler.FORWARD_SECONDS,
    show_default=True,
    help="For all forward passes of one circuit; how many samples were reached is in the results.",
)
@click.option(
    "--estimates", is_flag=True, help="With --add: only estimate again, and keep what was measured."
)
@_add
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help=f"Default: {RESULTS.name}, for all cases."
)
def run_compiler(
    names: tuple[str, ...], forward_seconds: float, estimates: bool, add: bool, out: Path | None
) -> None:
    """Circuits by stock EZKL against circuits by verinfer; all cases take an hour or two.

    Before each estimate the cost model is fitted to this machine, as `verinfer estimate --fit` does it.
    Results are written after each case, with those that are done; exit code 1 if one failed.
    """
    machine = environment.describe()
    target = out or (RESULTS if add or not names else None)
    earlier = _earlier(target / "compiler.json", machine) if add and target is not None else {}
    results: dict[str, Any] = {}
    where, cases = environment.of_case(machine), names or compiler.CASES
    found_after_each = (
        compiler.estimate_again(cases, where, _say, earlier)
        if estimates
        else compiler.run(cases, where, _say, forward_seconds, earlier)
    )
    for found in found_after_each:
        results = {"suite": "compiler", "machine": machine, **found}
        if target is not None:
            compiler_report.write(results, target)
    click.echo(compiler_report.as_table(results), err=True)
    click.echo(json.dumps(results))
    sys.exit(any("failed" in case for case in results["cases"].values()))


@bench.command("contract")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice(contract.MODELS),
    help="Only these, and write results only with --out; default: all.",
)
@click.option("--gas-price", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Gwei a gas.")
@click.option(
    "--token-price", type=click.FloatRange(min=0), default=3000.0, show_default=True, help="USD a token."
)
@_add
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Default: {RESULTS.name}, for all models.",
)
def run_contract(
    models: tuple[str, ...], gas_price: float, token_price: float, add: bool, out: Path | None
) -> None:
    """What a verifier contract and a settled answer cost on chain; all models take half an hour.

    Needs Node, as `verinfer contract` does. Results are written after each model.
    """
    machine = environment.describe()
    target = out or (RESULTS if add or not models else None)
    earlier = _earlier(target / "contract.json", machine) if add and target is not None else {}
    results: dict[str, Any] = {}
    for cases in contract.run(models or contract.MODELS, environment.of_case(machine), _say, earlier):
        rates = {"gwei": gas_price, "usd": token_price}
        results = {
            "suite": "contract",
            "machine": machine,
            "solc": solc.version(),
            "rates": rates,
            "cases": cases,
        }
        if target is not None:
            contract_report.write(results, target)
    click.echo(contract_report.as_table(results), err=True)
    click.echo(json.dumps(results))


@bench.command("sumcheck")
@click.option(
    "--case",
    "names",
    multiple=True,
    type=click.Choice([*sumcheck.CASES, *grown.SERIES]),
    help="Only these, and write results only with --out; default: all.",
)
@_add
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help=f"Default: {RESULTS.name}, for all cases."
)
def run_sumcheck(names: tuple[str, ...], add: bool, out: Path | None) -> None:
    """Proofs by verinfer-sc/1 beside EZKL's, and how their cost grows; all cases take half an hour.

    Results are written after each case, with those that are done; exit code 1 if one failed.
    """
    machine = environment.describe()
    target = out or (RESULTS if add or not names else None)
    earlier = _earlier(target / "sumcheck.json", machine) if add and target is not None else {}
    results: dict[str, Any] = {}
    every = (*sumcheck.CASES, *grown.SERIES)
    for cases in sumcheck.run(names or every, environment.of_case(machine), _say, earlier):
        results = {"suite": "sumcheck", "machine": machine, "cases": cases}
        if target is not None:
            sumcheck_report.write(results, target)
    click.echo(sumcheck_report.as_table(results), err=True)
    click.echo(json.dumps(results))
    sys.exit(any("failed" in case for case in results["cases"].values()))


def _earlier(path: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """The cases that are in a results file; raises `ClickException` where `compiler.earlier_cases` refuses it."""
    try:
        return compiler.earlier_cases(path, machine)
    except UsageError as error:
        raise click.ClickException(error.message) from error


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    sys.exit(bench())
