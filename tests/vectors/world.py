"""What all verification vectors share: keys, packages, a policy that pins them, and real proofs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits import tune
from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.provers import prover_for
from verinfer.verifier import dsse, keys, numbers, preprocess, strict_json
from verinfer.verifier.digest import challenge_bytes, sha256
from verinfer.verifier.policy import POLICY_TYPE
from verinfer.verifier.statement import PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE
from verinfer.verifier.wire import format_time

HERE = Path(__file__).parent
ZOO = HERE.parents[1] / "models" / "zoo"
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
NONCE = "5eed" * 16
ONNXRUNTIME = "onnxruntime 1.32.0"

Json = dict[str, Any]


@dataclass(frozen=True)
class World:
    """What all cases share: keys, packages, and a policy that pins them."""

    key: Ed25519PrivateKey
    second: Ed25519PrivateKey
    revoked: Ed25519PrivateKey
    expired: Ed25519PrivateKey
    stranger: Ed25519PrivateKey
    bmi: Package
    rescaled: Package
    cancer: Package


def key_id(key: Ed25519PrivateKey) -> str:
    return keys.key_id(key.public_key())


def pin(key: Ed25519PrivateKey, *, until: datetime = NOW + timedelta(days=3650)) -> Json:
    return {
        "key": keys.encode_public(key.public_key()),
        "valid_from": format_time(NOW - timedelta(days=1000)),
        "valid_until": format_time(until),
    }


def policy_of(world: World) -> Json:
    def model(package: Package) -> Json:
        identity = package.manifest.model
        circuits = [{"digest": package.digest, "model_checked": "reproduced"}]
        return {"name": identity.name, "onnx": identity.onnx, "circuits": circuits, "runtimes": [ONNXRUNTIME]}

    return {
        "type": POLICY_TYPE,
        "serial": 7,
        "valid_until": format_time(NOW + timedelta(days=3650)),
        "models": [model(world.bmi), model(world.cancer)],
        "issuers": [
            pin(world.key),
            pin(world.second),
            pin(world.revoked),
            pin(world.expired, until=NOW - timedelta(days=1)),
        ],
        "require": ["signature", "proof"],
        "max_age": 86400,
        "revoked": {"issuers": [key_id(world.revoked)], "circuits": [], "models": []},
        "relaxations": ["allow_insecure_srs"],
    }


def quantised(package: Package, raw: list[float]) -> list[int]:
    spec, tensor = package.manifest.inputs[0], package.manifest.tensors("input")[0]
    bound = package.manifest.proof_system.bound
    values = preprocess.to_input(spec, raw)
    return [numbers.quantise(value, tensor.scale, bound=bound, field=spec.name) for value in values]


def raw_sample(package: Package) -> list[float]:
    sample = json.loads((ZOO / package.manifest.model.name / "sample.json").read_text())
    return [float(value) for value in sample[package.manifest.inputs[0].name]]


class Prover:
    """Runs circuits; every proof here is a real one."""

    def __init__(self, directory: Path) -> None:
        self._place = Workplace(directory=directory, limits=heavy_limits())

    def outputs(self, package: Package, inputs: list[int]) -> list[int]:
        name = package.manifest.tensors("input")[0].name
        witness = prover_for(package.manifest).forward(package, {name: inputs}, self._place)
        return list(next(iter(witness.outputs.values())))

    def evidence(self, package: Package, inputs: list[int], statement: bytes) -> Json:
        name = package.manifest.tensors("input")[0].name
        nonce = json.loads(statement)["predicate"]["nonce"]
        challenge = challenge_bytes(nonce, sha256(statement))
        prover = prover_for(package.manifest)
        witness = prover.forward(package, {name: inputs}, self._place)
        made = prover.prove(package, witness, challenge, self._place, lambda _phase, _share: None)
        return made.to_json()


def tensor(package: Package, role: str, value: Any) -> Json:
    found = next(item for item in package.manifest.layout if item.role == role)
    return {
        "name": found.name,
        "shape": list(found.shape),
        "dtype": found.dtype,
        "visibility": found.visibility,
        "value": value,
    }


def predicate_of(world: World, package: Package, inputs: list[int], outputs: list[int]) -> Json:
    return {
        "issuer": key_id(world.key),
        "model": package.manifest.model.to_json(),
        "runtime": {"kind": "circuit", "version": package.manifest.proof_system.runtime},
        "circuit": package.digest,
        "input": [tensor(package, "input", inputs)],
        "output": [tensor(package, "output", outputs)],
        "nonce": NONCE,
        "issued_at": format_time(NOW),
        "mode": "zk",
    }


def statement_bytes(predicate: Json, *, subject: str | None = None, extra: Json | None = None) -> bytes:
    digest = subject or sha256(strict_json.canonical(predicate["output"]))
    return strict_json.canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "output", "digest": {"sha256": digest}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
            **(extra or {}),
        }
    )


def envelope(statement: bytes, key: Ed25519PrivateKey, payload_type: str = PAYLOAD_TYPE) -> Json:
    return dsse.sign(statement, payload_type, key).to_json()


def flip(text: str, byte: int = 40) -> str:
    """Base64 with one bit of one byte changed."""
    data = bytearray(base64.b64decode(text))
    data[byte] ^= 1
    return base64.b64encode(data).decode()


def build(name: str, out: Path, *, scale: int | None = None) -> Package:
    def choose(*arguments: Any, **named: Any) -> tune.Choice:
        choice = real(*arguments, **named)
        if scale is None:
            return choice
        args = choice.offer.run_args
        scales = {name: scale for name in ("input_scale", "param_scale") if args[name] >= 0}
        return replace(choice, offer=replace(choice.offer, run_args={**args, **scales}))

    real = tune.choose
    with patch.object(tune, "choose", choose):
        return compile_model(
            ZOO / name, out, srs=None, insecure_srs=True, on_progress=lambda _phase, _share: None
        )


def setter(*path: str | int, value: Any) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        target: Any = document
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value

    return change


def remover(*path: str | int) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        target: Any = document
        for part in path[:-1]:
            target = target[part]
        del target[path[-1]]

    return change


def both(*changes: Callable[[Json], None]) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        for each in changes:
            each(document)

    return change
