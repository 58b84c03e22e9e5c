"""``verinfer contract fetch``: a contract folder from a service, checked against pins, where no compiler is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..bundle import open_bundle, read_files
from ..digest import is_hex32, sha256
from ..errors import CouldNotCheck, UsageError
from ..evm.fetch import fetch_contract
from ..evm.harden import Form
from ..evm.report import as_json, as_text
from ..terminal import say

_STEPS = {"fetching": 0.0, "building": 0.1, "comparing": 0.8}
"""How far each step is, roughly."""


@click.command("fetch")
@click.argument("package", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the service is.")
@click.option(
    "--form",
    type=click.Choice(["single", "reusable"]),
    help="Default: a single contract for the circuit where it fits a chain, else the one for all circuits.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("contract"), show_default=True)
@click.option(
    "--code-hash",
    help="Of a single verifier: keccak256 of its code, from somebody you trust. A reusable one's is in verinfer.",
)
@click.option(
    "--allow-insecure-srs", is_flag=True, help="Take it although whoever made the SRS can forge proofs."
)
@click.option("--json", "as_json_", is_flag=True, help="The result as JSON.")
def fetch(
    package: Path,
    url: str,
    form: Form | None,
    out: Path,
    code_hash: str | None,
    *,
    allow_insecure_srs: bool,
    as_json_: bool,
) -> None:
    """Fetch the contract of PACKAGE's circuit from a service instead of building it, which takes Node.

    PACKAGE is a verify bundle (bundles/DIGEST beside a policy) or a circuit package; it pins the circuit.
    """
    if code_hash is not None and not is_hex32(code_hash):
        raise UsageError("usage", "--code-hash takes 64 lower-case hex digits.")
    content = read_files(package / "verify" if (package / "verify").is_dir() else package)
    bundle = open_bundle(content, sha256(content["manifest.json"]))
    try:
        from .connection import open_client, progress
    except ModuleNotFoundError as error:
        raise CouldNotCheck(
            "native-missing",
            f"To ask a service needs the package {error.name}: pip install 'verinfer[client]'.",
        ) from error
    with open_client(url) as http, progress(quiet=as_json_) as on_progress:
        made = fetch_contract(
            http,
            bundle,
            content["manifest.json"],
            out,
            form=form,
            code_hash=code_hash,
            allow_insecure_srs=allow_insecure_srs,
            on_step=lambda name: on_progress(name, _STEPS[name]),
        )
    if as_json_:
        click.echo(json.dumps(as_json(made, out, None)))
    else:
        say(as_text(made, out, None, done="FETCHED"))
