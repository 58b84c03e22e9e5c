"""``verinfer export``: train a model of the zoo and write its folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from verinfer.verifier.errors import CouldNotCheck, UsageError

TORCH = "torch==2.13.0"


@click.command("export")
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Where to write; default: ./NAME."
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def export(name: str, out: Path | None, *, as_json: bool) -> None:
    """Train the model NAME of the zoo, export it to ONNX and check the export; a wrong NAME lists them all."""
    try:
        from .export import export as run
        from .registry import DEFINITIONS
    except ModuleNotFoundError as error:
        raise CouldNotCheck(
            "native-missing",
            f"Training needs the package {error.name}: pip install 'verinfer[models]' {TORCH}",
        ) from error
    if name not in DEFINITIONS:
        raise UsageError("usage", f"There is no model {name}; there are {', '.join(DEFINITIONS)}.")
    folder = out or Path(name)
    with click.progressbar(length=1, label=f"training {name}", file=sys.stderr, hidden=as_json) as bar:

        def on_epoch(_done: int, epochs: int) -> None:
            bar.length = epochs
            bar.update(1)

        exported = run(DEFINITIONS[name], folder, on_epoch)
    accuracy = exported.spec.accuracy
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "spec": exported.spec.to_json()}))
    else:
        click.echo(f"{accuracy.metric} {accuracy.value} on {accuracy.samples} held-out samples")
        click.echo(f"onnxruntime and torch differ by at most {exported.largest_difference:.1e}")
        click.echo(f"wrote {folder}")
