"""``verinfer policy``: what a model owner hands out, and what a client reads before trusting it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from .. import files, keys
from ..bundle import Bundle, open_bundle, read_files
from ..digest import sha256
from ..errors import UsageError
from ..policy import DEFAULT_SYSTEMS, POLICY_LIMIT, POLICY_TYPE, Policy, parse_policy, sign_policy
from ..terminal import say
from ..wire import format_time, validate
from .verify import BUNDLES, Existing

_ORIGINS = {
    "local": "not signed: trust it only if you wrote it, or had it from somebody you trust",
    "owner": "signed by the owner you named",
    "operator": "TAKEN FROM THE OPERATOR on first use: it chose what you trust",
    "owner-not-pinned": "signed, but you named no owner's key (--owner) to check that with",
}


@click.group("policy")
def command() -> None:
    """Make, sign and read policies: what a verifier trusts."""


@command.command("init")
@click.argument(
    "packages", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option(
    "--issuer", "issuers", multiple=True, required=True, type=Existing, help="A service's public key (PEM)."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("policy.json"), show_default=True)
@click.option(
    "--reproduced", is_flag=True, help="You ran 'verinfer reproduce' on every package; otherwise: trusted."
)
@click.option(
    "--runtime", "runtimes", multiple=True, help='An fp32 runtime to accept, such as "onnxruntime 1.32.0".'
)
@click.option(
    "--require", "require", multiple=True, type=click.Choice(["signature", "proof"]), help="Default: both."
)
@click.option(
    "--allow-insecure-srs", is_flag=True, help="Accept an SRS whose maker can forge proofs: for trials only."
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="How long it is valid."
)
@click.option(
    "--max-age",
    type=click.IntRange(min=1),
    default=86400,
    show_default=True,
    help="Oldest answer, in seconds.",
)
@click.option(
    "--serial",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Raise it with every new policy.",
)
def init(
    packages: tuple[Path, ...],
    issuers: tuple[Path, ...],
    out: Path,
    runtimes: tuple[str, ...],
    require: tuple[str, ...],
    days: int,
    max_age: int,
    serial: int,
    *,
    reproduced: bool,
    allow_insecure_srs: bool,
) -> None:
    """Pin the circuits of PACKAGES and the services' keys in a policy, with the verify bundles beside it."""
    if out.exists():
        # Its serial and its owner's signature would be gone.
        raise UsageError("exists", f"{out} exists; choose another --out, or remove it.")
    bundles = [_read_bundle(package) for package in packages]
    insecure = [bundle for bundle in bundles if bundle.insecure_srs]
    if insecure and not allow_insecure_srs:
        name = insecure[0].manifest.model.name
        raise UsageError("usage", f"{name} has an insecure local SRS; for a trial, say --allow-insecure-srs.")
    _require_one_form(bundles)
    hidden = [bundle for bundle in bundles if bundle.manifest.visibility != "public"]
    if hidden and runtimes:
        name = hidden[0].manifest.model.name
        raise UsageError(
            "usage",
            f"{name} hides its inputs, which fp32 answers would name: leave out --runtime, or make it a policy of its own.",
        )
    systems = tuple(sorted({bundle.manifest.proof_system.name for bundle in bundles}))
    now = datetime.now(UTC).replace(microsecond=0)
    until = format_time(now + timedelta(days=days))
    policy = validate(
        Policy,
        {
            "type": POLICY_TYPE,
            "serial": serial,
            "valid_until": until,
            "models": _pins(bundles, "reproduced" if reproduced else "trusted", list(runtimes)),
            "issuers": [
                {
                    "key": keys.encode_public(keys.read_public(path)),
                    # A client's clock may be a little behind the owner's.
                    "valid_from": format_time(now - timedelta(minutes=1)),
                    "valid_until": until,
                }
                for path in issuers
            ],
            "require": list(require) or ["signature", "proof"],
            "max_age": max_age,
            "revoked": {"issuers": [], "circuits": [], "models": []},
            "relaxations": ["allow_insecure_srs"] if allow_insecure_srs else [],
            # Without the field a policy can be read by verifiers that know EZKL alone.
            **({} if systems == DEFAULT_SYSTEMS else {"proof_systems": list(systems)}),
        },
        code="policy-malformed",
    )
    for bundle in bundles:
        home = out.parent / BUNDLES / bundle.circuit
        files.make_folder(home)
        for name, data in bundle.files.items():
            files.write_atomically(home / name, data)
    files.write_atomically(out, policy.canonical() + b"\n")
    click.echo(f"accepts proofs of {', '.join(systems)}, the proof systems of these packages")
    click.echo(
        f"wrote {out} and {out.parent / BUNDLES}; sign it with: verinfer policy sign {out} --key OWNER.pem"
    )


def _require_one_form(bundles: Sequence[Bundle]) -> None:
    """Raise where circuits of one model want different things sent: other numbers of samples, or a salt."""
    forms: dict[str, tuple[int, str]] = {}
    for bundle in bundles:
        manifest = bundle.manifest
        form = manifest.samples, manifest.visibility
        if forms.setdefault(manifest.model.onnx, form) != form:
            raise UsageError(
                "usage",
                f"The packages of {manifest.model.name} take different numbers of samples at once, or hide them"
                " differently; make a policy for each.",
            )


@command.command("sign")
@click.argument("path", metavar="POLICY", type=Existing)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Made on first use, mode 0600.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Default: in place.")
def sign(path: Path, key: Path, out: Path | None) -> None:
    """Sign POLICY with the model owner's key, and leave the public key beside the private one."""
    trusted = parse_policy(files.read(path, limit=POLICY_LIMIT))
    private = keys.load_or_make(key)
    public = key.with_name(f"{key.stem}.pub.pem")
    files.write_atomically(public, keys.public_pem(private.public_key()))
    files.write_atomically(out or path, sign_policy(trusted.policy, private) + b"\n")
    click.echo(
        f"signed {out or path} by owner {keys.key_id(private.public_key())}; hand out {public} another way"
    )


@command.command("show")
@click.argument("path", metavar="POLICY", type=Existing)
@click.option("--owner", type=Existing, help="The owner's public key (PEM): refuse another signature.")
@click.option("--json", "as_json", is_flag=True, help="The policy as JSON.")
def show(path: Path, owner: Path | None, *, as_json: bool) -> None:
    """Print what POLICY pins."""
    trusted = parse_policy(
        files.read(path, limit=POLICY_LIMIT), owner=keys.read_public(owner) if owner else None
    )
    policy = trusted.policy
    if as_json:
        click.echo(json.dumps({"origin": trusted.origin, "policy": policy.to_json()}))
        return
    lines = [
        f"policy {policy.serial}, valid until {policy.valid_until}; {_ORIGINS[trusted.origin]}",
        "",
        "models",
    ]
    for model in policy.models:
        lines.append(f"  {model.name}  ONNX {model.onnx}")
        lines += [f"    circuit {pin.digest}  ({pin.model_checked})" for pin in model.circuits]
        lines += [f"    runtime {runtime}" for runtime in model.runtimes]
    lines += ["issuers", *(f"  {pin.id}  {pin.valid_from} to {pin.valid_until}" for pin in policy.issuers)]
    lines += [f"requires   {', '.join(policy.require)}", f"max age    {policy.max_age} s"]
    lines += [f"systems    {', '.join(policy.accepted_systems)}"]
    lines += [f"revoked    {what} {digest}" for what, digests in policy.revoked for digest in digests]
    lines += [f"RELAXED    {relaxation}" for relaxation in policy.relaxations]
    say("\n".join(lines))


def _read_bundle(package: Path) -> Bundle:
    content = read_files(package / "verify")
    return open_bundle(content, sha256(content["manifest.json"]))


def _pins(bundles: list[Bundle], model_checked: str, runtimes: list[str]) -> list[dict[str, object]]:
    """One pin per ONNX file, with all the circuits given for it."""
    pins: dict[str, dict[str, object]] = {}
    for bundle in bundles:
        model = bundle.manifest.model
        circuits = [
            {"digest": other.circuit, "model_checked": model_checked}
            for other in bundles
            if other.manifest.model.onnx == model.onnx
        ]
        pins[model.onnx] = {
            "name": model.name,
            "onnx": model.onnx,
            "circuits": circuits,
            "runtimes": runtimes,
        }
    return list(pins.values())
