"""``scripts/agreement``: thousands of changed proofs and instance vectors, put to every verifier; exit code 1 if two disagree.

Writes ``agreement.json`` and ``agreement.md``; a run with the same seed asks the same questions.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from scripts.benchmarks import environment
from scripts.benchmarks.report import machine_line
from verinfer.verifier.bundle import Bundle
from verinfer.verifier.evm import build
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.harden import Form

from .compare import Tally, compare
from .mutations import cases
from .pairs import CIRCUITS, read_bundles, read_pairs
from .questions import Case
from .verdicts import Verifiers

RESULTS = Path(__file__).parents[2] / "scripts" / "benchmarks" / "results"
WHO = ("python", "ezkl", "single", "reusable")
SEED = 20261125
_LINE_SECONDS = 30


@click.command()
@click.option("--cases", "count", type=click.IntRange(min=1), default=6000, show_default=True)
@click.option("--seed", type=int, default=SEED, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=RESULTS.name
)
@click.option("--json", "as_json", is_flag=True, help="The results as JSON on standard output.")
def agreement(count: int, seed: int, out: Path, *, as_json: bool) -> None:
    """Compare verinfer's verifier, EZKL's own and both forms of the contract; some minutes."""
    machine, started = environment.describe(), time.monotonic()
    bundles = read_bundles()
    click.echo("compiling both forms of the contract of each circuit", err=True)
    contracts = {circuit: _both(bundles[circuit]) for circuit in CIRCUITS}
    pairs = read_pairs(bundles)
    verifiers, tally = Verifiers(bundles, contracts, pairs), Tally()
    try:
        questions = cases(pairs, count, seed)
        for _ in _shown(compare(questions, verifiers, tally), len(pairs) + count):
            pass
    finally:
        verifiers.close()
    results = {
        "suite": "agreement",
        "machine": machine,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "circuits": {
            circuit: {
                "circuit": bundles[circuit].circuit,
                "code_hashes": {form: contract.code_hash for form, contract in forms.items()},
            }
            for circuit, forms in contracts.items()
        },
        **tally.to_json(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "agreement.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "agreement.md").write_text(as_table(results))
    click.echo(as_table(results), err=True)
    if as_json:
        click.echo(json.dumps(results))
    sys.exit(bool(tally.wrong))


def as_table(results: dict[str, Any]) -> str:
    """Markdown: what was asked, and who accepted how many."""
    what = (
        f"{results['changed']:,} changed proofs and instance vectors of {len(results['circuits'])} circuits, seed "
        f"{results['seed']}, and {results['honest']} honest ones: {results['disagreements']} disagreements without a "
        "known reason. Of each kind, how many were accepted:"
    )
    lines = [
        machine_line(results["machine"]),
        "",
        what,
        "",
        f"| kind | cases | {' | '.join(WHO)} |",
        f"|---|---|{'---|' * len(WHO)}",
    ]
    for kind, found in results["kinds"].items():
        accepted = " | ".join(str(found["accepted"].get(who, 0)) for who in WHO)
        lines.append(f"| {kind} | {found['cases']} | {accepted} |")
    for reason, found in results["known_differences"].items():
        lines += ["", f"{reason.capitalize()}: {found['why']}"]
    return "\n".join(lines) + "\n"


def _both(bundle: Bundle) -> dict[Form, Contract]:
    forms: tuple[Form, ...] = ("single", "reusable")
    return {form: build.compile_verifier(bundle, form) for form in forms}


def _shown(done: Iterator[Case], length: int) -> Iterator[Case]:
    """What is done, with a bar on a terminal and a line now and then elsewhere."""
    if sys.stderr.isatty():
        with click.progressbar(done, length=length, file=sys.stderr, show_pos=True) as bar:
            yield from bar
        return
    said = time.monotonic()
    for index, case in enumerate(done, 1):
        if time.monotonic() - said > _LINE_SECONDS:
            said = time.monotonic()
            click.echo(f"{index} of {length}", err=True)
        yield case


if __name__ == "__main__":
    agreement()
