"""``verinfer infer``: send a sample, wait for the proof, verify it, read the label."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click
import httpx

from .. import client as service
from .. import files, keys, report
from ..bundle import BundleFolder, open_bundle
from ..digest import is_hex32, sha256
from ..errors import Rejected, UsageError, VerinferError
from ..evm.opened import read_request
from ..policy import POLICY_LIMIT, TrustedPolicy, mark_first_use, parse_policy
from ..samples import read_sample
from ..statement import Mode
from ..sumcheck_system import SumcheckSystem
from ..terminal import say
from ..verify import Expect, verify
from .connection import open_client, progress
from .verify import BUNDLES, Existing, choose_model, pinned_manifest, read_salt

FIRST_USE = "policy-from-operator.json"
"""Where a policy taken on first use is kept, marked as what it is."""


@click.command("infer")
@click.argument("sample", type=Existing)
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the service is.")
@click.option(
    "--policy", "policy_path", type=Existing, help="What you trust: policy.json, its bundles beside it."
)
@click.option(
    "--owner", type=Existing, help="The model owner's public key (PEM): the policy must be signed by it."
)
@click.option(
    "--trust-on-first-use",
    is_flag=True,
    help="Take policy and bundle from the service; named in the verdict.",
)
@click.option("--model", help="Which model; needed if the policy pins several, or with --trust-on-first-use.")
@click.option(
    "--mode",
    type=click.Choice(["none", "proof", "zk"]),
    help="Default: a proof as the pinned circuit's system makes it; zk for EZKL, proof for verinfer-sc-1.",
)
@click.option("--audience", help="Who the answer is for.")
@click.option(
    "--min-serial", type=click.IntRange(min=1), default=1, show_default=True, help="Least policy serial."
)
@click.option("--nonce", help="64 hex digits; made at random if absent.")
@click.option(
    "--request",
    "request",
    type=Existing,
    help="Take the nonce of a request on chain: what 'contract request' wrote.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("receipt.json"), show_default=True
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=3600.0, show_default=True, help="Seconds to wait."
)
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON.")
def command(
    sample: Path,
    url: str,
    policy_path: Path | None,
    owner: Path | None,
    model: str | None,
    mode: Mode | None,
    audience: str | None,
    min_serial: int,
    nonce: str | None,
    request: Path | None,
    out: Path,
    timeout: float,
    *,
    trust_on_first_use: bool,
    as_json: bool,
) -> None:
    """Send SAMPLE (.json, .npy, .csv, .png), verify the answer, print it, and save the receipt.

    For a circuit that takes several samples at once, the file holds exactly as many: rows of a .csv, of a .npy or of a list in
    .json. A .png is one sample.
    Nothing is printed as an answer, or saved as --out, before it is verified.
    """
    if nonce is not None and not is_hex32(nonce):
        raise UsageError("usage", "--nonce takes 64 lower-case hex digits.")
    if request is not None:
        if nonce is not None:
            raise UsageError("usage", "Give --nonce or --request; a request has its own nonce.")
        nonce = read_request(request).nonce
    if (policy_path is None) != trust_on_first_use:
        raise UsageError(
            "usage", "Give --policy, or --trust-on-first-use to let the operator choose what you trust."
        )
    if not out.parent.is_dir():
        raise UsageError("usage", f"There is no folder {out.parent} for the receipt.")
    with open_client(url) as http:
        if policy_path is None:
            trusted, folder = _first_use(http, model, out.parent)
        else:
            key = keys.read_public(owner) if owner else None
            trusted = parse_policy(files.read(policy_path, limit=POLICY_LIMIT), owner=key)
            folder = BundleFolder(policy_path.parent / BUNDLES)
        pin = choose_model(trusted.policy, model)
        manifest = pinned_manifest(trusted.policy, pin, folder)
        mode = mode or ("proof" if isinstance(manifest.proof_system, SumcheckSystem) else "zk")
        raw = read_sample(sample, manifest.inputs)
        salt = _keep_salt(out) if manifest.visibility == "hashed" else None
        with progress(quiet=as_json) as on_progress:
            answer = service.ask(
                http,
                pin.name,
                manifest,
                raw,
                mode=mode,
                nonce=nonce or service.make_nonce(),
                audience=audience,
                salt=salt,
                seconds=timeout,
                on_progress=on_progress,
            )
    expect = Expect(
        model=pin.onnx,
        nonce=answer.nonce,
        audience=audience,
        mode=mode,
        visibility=manifest.visibility,
        # Of a private input there is nothing to compare with.
        sample=None if manifest.visibility == "private" else raw,
        salt=salt,
        min_serial=min_serial,
    )
    try:
        verified = verify(
            answer.receipt, policy=trusted, now=datetime.now(UTC), expect=expect, bundles=folder
        )
    except VerinferError:
        # It was paid for, and may be evidence; but it must not take the place of one that was verified.
        kept = out.with_name(f"{out.stem}.unverified{out.suffix}")
        files.write_atomically(kept, answer.receipt)
        say(f"the receipt is kept as {kept}", err=True)
        raise
    files.write_atomically(out, answer.receipt)
    if as_json:
        places = {"receipt": str(out), **({} if salt is None else {"salt": str(_salt_of(out))})}
        click.echo(json.dumps({**report.as_json(verified), **places}))
        return
    say(f"{report.as_text(verified)}\n\nreceipt saved as {out}")
    if salt is not None:
        say(f"salt saved as {_salt_of(out)}: keep it, and the sample; both show later what the input was")


def _salt_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.salt")


def _keep_salt(out: Path) -> str:
    """A salt that is on disk before anything is sent, for its owner alone: without it a paid answer's hash is never opened.

    One that lies there without a receipt is of a request that came to no end, and is taken again.
    """
    path = _salt_of(out)
    if not path.exists():
        files.write_atomically(path, f"{service.make_nonce()}\n".encode(), mode=files.PRIVATE)
    elif out.exists():
        raise UsageError("exists", f"{path} is the salt of {out}: choose another --out, or move both away.")
    return read_salt(path)


def _first_use(http: httpx.Client, model: str | None, home: Path) -> tuple[TrustedPolicy, BundleFolder]:
    """Take policy and bundle from the operator, and keep them beside the receipt under a name that says whose they are."""
    if model is None:
        raise UsageError("usage", "--trust-on-first-use needs --model.")
    path = home / FIRST_USE
    earlier = UsageError(
        "exists", f"{path} exists: first use was earlier. Use it with --policy {path}, or remove it."
    )
    if path.exists():
        raise earlier
    marked = mark_first_use(service.fetch_policy(http, model), at=datetime.now(UTC))
    trusted = parse_policy(marked)
    pins = choose_model(trusted.policy, model)
    content = service.fetch_bundle(http, model)
    bundle = open_bundle(content, sha256(content["manifest.json"]))
    if pins.circuit(bundle.circuit) is None:
        raise Rejected("circuit-not-pinned", "The service's bundle is not of a circuit in its own policy.")
    folder = home / BUNDLES / bundle.circuit
    files.make_folder(folder)
    for name, file in bundle.files.items():
        files.write_atomically(folder / name, file)
    try:
        files.write_new(path, marked)
    except FileExistsError as error:
        raise earlier from error
    return trusted, BundleFolder(home / BUNDLES)
