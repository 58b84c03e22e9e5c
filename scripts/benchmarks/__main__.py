"""``scripts/bench SUITE``: measure, and write results; the last line of standard output is one JSON document."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from . import environment, receipt, report

RESULTS = Path(__file__).parent / "results"


@click.command()
@click.argument("suite", type=click.Choice(["receipt"]))
@click.option(
    "--model", "models", multiple=True, type=click.Choice(list(receipt.REPEATS)), help="Default: all."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
def bench(suite: str, models: tuple[str, ...], out: Path) -> None:
    """Run a suite of measurements; lenet takes some minutes."""
    machine = environment.describe()
    cases = receipt.run(list(models) or list(receipt.REPEATS), lambda text: click.echo(text, err=True))
    results = {"suite": suite, "machine": machine, "cases": cases}
    report.write(results, out, suite)
    click.echo(report.as_table(results), err=True)
    click.echo(json.dumps(results))


if __name__ == "__main__":
    sys.exit(bench())
