"""``scripts/bench SUITE``: measure, and write results; the last line of standard output is one JSON document."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from . import compiler, compiler_report, environment, receipt, report

RESULTS = Path(__file__).parent / "results"

_out = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True
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
    help="Only these, and write no results; default: all.",
)
@_out
def run_compiler(names: tuple[str, ...], out: Path) -> None:
    """Circuits by stock EZKL against circuits by verinfer; all cases take an hour or two.

    Results are written at the end, if all cases were asked for; exit code 1 if one failed.
    """
    machine = environment.describe()
    results = {"suite": "compiler", "machine": machine, **compiler.run(names or compiler.CASES, _say)}
    if not names:
        compiler_report.write(results, out)
    click.echo(compiler_report.as_table(results), err=True)
    click.echo(json.dumps(results))
    sys.exit(any("failed" in case for case in results["cases"].values()))


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    sys.exit(bench())
