"""``verinfer verify``: says whether a receipt is to be believed, and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from .. import files, keys, report
from ..bundle import BundleFolder, open_bundle
from ..digest import is_hex32
from ..errors import Malformed, UsageError
from ..manifest import Manifest
from ..policy import POLICY_LIMIT, ModelPin, Policy, TrustedPolicy, parse_policy
from ..receipt import RECEIPT_LIMIT
from ..samples import Sample, read_sample
from ..statement import Mode
from ..terminal import say
from ..verify import Expect, verify
from ..wire import parse_time

BUNDLES = "bundles"
"""The folder beside a policy that holds the bundles of its circuits."""

Existing = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("verify")
@click.argument("receipt", type=Existing)
@click.option("--policy", "policy_path", type=Existing, required=True, help="What you trust: policy.json.")
@click.option(
    "--owner", type=Existing, help="The model owner's public key (PEM): the policy must be signed by it."
)
@click.option(
    "--bundles",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Default: beside the policy.",
)
@click.option("--nonce", help="The nonce you sent: 64 hex digits.")
@click.option("--model", help="The model you asked: its name or ONNX digest.")
@click.option(
    "--mode",
    type=click.Choice(["none", "tee", "proof", "tee+proof", "zk", "tee+zk"]),
    help="The mode you asked.",
)
@click.option("--audience", help="The audience you named.")
@click.option(
    "--sample",
    type=Existing,
    help="What you sent (.json, .npy, .csv, .png); of a batch all of it, in order.",
)
@click.option(
    "--salt",
    "salt_path",
    type=Existing,
    help="Of a circuit that hashes its input: the salt that infer saved, to compare --sample with the hash.",
)
@click.option(
    "--min-serial", type=click.IntRange(min=1), default=1, show_default=True, help="Least policy serial."
)
@click.option("--at", "at", help="Judge at this past time (2026-01-31T12:00:00Z) instead of now.")
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON.")
def command(
    receipt: Path,
    policy_path: Path,
    owner: Path | None,
    bundles: Path | None,
    nonce: str | None,
    model: str | None,
    mode: Mode | None,
    audience: str | None,
    sample: Path | None,
    salt_path: Path | None,
    min_serial: int,
    at: str | None,
    *,
    as_json: bool,
) -> None:
    """Verify RECEIPT offline, trusting only what the policy pins.

    Exit code 0: verified; 1: rejected; 2: usage; 3: malformed; 4: could not check.
    """
    if nonce is not None and not is_hex32(nonce):
        raise UsageError("usage", "--nonce takes 64 lower-case hex digits.")
    trusted = parse_policy(
        files.read(policy_path, limit=POLICY_LIMIT), owner=keys.read_public(owner) if owner else None
    )
    folder = BundleFolder(bundles or policy_path.parent / BUNDLES)
    now = datetime.now(UTC)
    judged = _instant(at) if at else now
    if judged > now:
        raise UsageError("usage", "--at takes a past time.")
    verified = verify(
        files.read(receipt, limit=RECEIPT_LIMIT),
        policy=trusted,
        now=judged,
        expect=Expect(
            model=model,
            nonce=nonce,
            audience=audience,
            mode=mode,
            sample=_sample(sample, trusted, model, folder) if sample else None,
            salt=read_salt(salt_path) if salt_path else None,
            min_serial=min_serial,
            past=at is not None,
        ),
        bundles=folder,
    )
    if as_json:
        click.echo(json.dumps(report.as_json(verified)))
    else:
        say(report.as_text(verified))


def read_salt(path: Path) -> str:
    """The salt in a file, 64 hex digits; raises `Malformed` (``salt-malformed``)."""
    text = files.read(path, limit=1024).decode("ascii", "replace").strip()
    if not is_hex32(text):
        raise Malformed("salt-malformed", f"{path} is no salt: 64 lower-case hex digits.")
    return text


def _instant(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageError("usage", "--at takes RFC 3339 in UTC, such as 2026-01-31T12:00:00Z.") from error


def _sample(path: Path, trusted: TrustedPolicy, model: str | None, folder: BundleFolder) -> Sample:
    """Read the sample in the form that the pinned manifest of the asked model describes."""
    return read_sample(
        path, pinned_manifest(trusted.policy, choose_model(trusted.policy, model), folder).inputs
    )


def pinned_manifest(policy: Policy, pin: ModelPin, bundles: BundleFolder) -> Manifest:
    """The manifest of the model's first circuit that is pinned, not revoked, and here: it describes samples.

    Raises `UsageError` where none is pinned, and what reading a bundle raises.
    """
    circuits = [each.digest for each in pin.circuits if each.digest not in policy.revoked.circuits]
    if not circuits:
        raise UsageError(
            "usage", f"The policy pins no circuit of {pin.name}, so nothing says how to read a sample."
        )
    circuit = next((digest for digest in circuits if bundles.has(digest)), circuits[0])
    return open_bundle(bundles.read(circuit), circuit).manifest


def choose_model(policy: Policy, model: str | None) -> ModelPin:
    """The pin that `model` (a name or an ONNX digest) means, or the only one; raises `UsageError`."""
    if model is None:
        if len(policy.models) > 1:
            names = ", ".join(pin.name for pin in policy.models)
            raise UsageError("model-ambiguous", f"The policy pins several models ({names}): say which one.")
        return policy.models[0]
    for pin in policy.models:
        if pin.is_called(model):
            return pin
    raise UsageError("model-mismatch", f"The policy pins no model {model}.")
