"""Vectors of circuits that hide their inputs: one hashes them with a salt, one shows nothing of them.

``generate`` calls `add`; ``python -m tests.vectors.hidden`` makes these cases anew beside the others, with their operator's key.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits.compile import compile_model
from verinfer.circuits.package import Package
from verinfer.verifier import keys
from verinfer.verifier.bundle import read_files
from verinfer.verifier.digest import salt_limbs
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.ezkl_proof import EzklCheck
from verinfer.verifier.instances import BN254_SCALAR_FIELD
from verinfer.verifier.manifest import Visibility
from verinfer.verifier.policy import POLICY_TYPE
from verinfer.verifier.wire import format_time

from .world import (
    HERE,
    NONCE,
    NOW,
    ONNXRUNTIME,
    ZOO,
    Json,
    Prover,
    both,
    envelope,
    key_id,
    pin,
    quantised,
    raw_sample,
    remover,
    setter,
    statement_bytes,
    tensor,
)

SALT = "5a17" * 16
PROVEN = ["signed-by-issuer", "computed-by-circuit", "computed-by-model", "fresh-for-nonce"]
UNDISCLOSED = ["signed-by-issuer", "computed-on-undisclosed-input", "computed-by-model", "fresh-for-nonce"]


def add(key: Ed25519PrivateKey, home: Path) -> None:
    """Write the cases, signed with the operator's `key`; packages are made in `home`."""
    _Circuit("hashed", key, home).write_hashed()
    _Circuit("private", key, home).write_private()


class _Circuit:
    """One circuit, an honest answer of it, and lies about that."""

    def __init__(self, visibility: Visibility, key: Ed25519PrivateKey, home: Path) -> None:
        self.visibility, self.key = visibility, key
        self.package = compile_model(
            ZOO / "bmi",
            home / visibility,
            srs=None,
            insecure_srs=True,
            on_progress=lambda _phase, _share: None,
            inputs=visibility,
        )
        prover = Prover(home)
        self.raw = {"habits": raw_sample(self.package)}
        values = quantised(self.package, self.raw["habits"])
        given = values + list(salt_limbs(SALT, "habits")) if visibility == "hashed" else values
        self.values = values
        self.hash = EzklCheck().hash_tensors([given])[0] if visibility == "hashed" else "0" * 64
        self.predicate = self._predicate(prover.outputs(self.package, given))
        statement = statement_bytes(self.predicate)
        self.proof = {EZKL_KIND: prover.evidence(self.package, given, statement)}
        self.honest = {"envelope": envelope(statement, key), "evidence": self.proof}

    def _predicate(self, outputs: list[int]) -> Json:
        package = self.package
        shown = tensor(package, "input", None)
        del shown["value"]
        if self.visibility == "hashed":
            shown["hash"] = self.hash
        return {
            "issuer": key_id(self.key),
            "model": package.manifest.model.to_json(),
            "runtime": {"kind": "circuit", "version": package.manifest.proof_system.runtime},
            "circuit": package.digest,
            "input": [shown],
            "output": [tensor(package, "output", outputs)],
            "nonce": NONCE,
            "issued_at": format_time(NOW),
            "mode": "zk",
        }

    def changed(self, *changes: object) -> Json:
        """The honest receipt with a changed predicate, signed again."""
        predicate = json.loads(json.dumps(self.predicate))
        both(*changes)(predicate)  # type: ignore[arg-type]  # setters and removers
        return {"envelope": envelope(statement_bytes(predicate), self.key), "evidence": self.proof}

    def accept(self, name: str, claims: list[str], **expect: object) -> None:
        self._write(f"hidden-{name}", self.honest, expect, {"claims": sorted(claims)})

    def refuse(self, name: str, step: int, code: str, receipt: Json | None = None, **expect: object) -> None:
        self._write(f"hidden-{name}_fail", receipt or self.honest, expect, {"code": code, "step": step})

    def _write(self, name: str, receipt: Json, expect: Json, expected: Json) -> None:
        home = HERE / "cases" / name
        home.mkdir(parents=True)
        case = {
            "now": format_time(NOW + timedelta(seconds=30)),
            "expect": {"model": "bmi", "nonce": NONCE, "mode": "zk", **expect},
        }
        texts = {"case": case, "expected": expected, "policy": self._policy(self.package)}
        for file, value in texts.items():
            (home / f"{file}.json").write_text(json.dumps(value, indent=1) + "\n")
        (home / "receipt.json").write_text(json.dumps(receipt))
        bundle = HERE / "shared" / "bundles" / self.package.digest
        bundle.mkdir(exist_ok=True)
        for file, data in read_files(self.package.folder / "verify").items():
            (bundle / file).write_bytes(data)

    def _policy(self, package: Package) -> Json:
        model = package.manifest.model
        return {
            "type": POLICY_TYPE,
            "serial": 7,
            "valid_until": format_time(NOW + timedelta(days=3650)),
            "models": [
                {
                    "name": model.name,
                    "onnx": model.onnx,
                    "circuits": [{"digest": package.digest, "model_checked": "reproduced"}],
                    "runtimes": [ONNXRUNTIME],
                }
            ],
            "issuers": [pin(self.key)],
            "require": ["signature", "proof"],
            "max_age": 86400,
            "revoked": {"issuers": [], "circuits": [], "models": []},
            "relaxations": ["allow_insecure_srs"],
        }

    def write_hashed(self) -> None:
        """What may and may not be said of a hashed input."""
        show = setter("input", 0, "visibility", value="public")
        hide, unhash = setter("input", 0, "visibility", value="private"), remover("input", 0, "hash")
        values = setter("input", 0, "value", value=self.values)
        aliased = f"{int(self.hash, 16) + BN254_SCALAR_FIELD:064x}"
        self.accept("hashed", PROVEN)
        self.accept("hashed-opened", [*PROVEN, "input-is-yours"], sample=self.raw, salt=SALT)
        self.refuse("hash-aliased", 1, "statement-malformed", self.changed(_hash(aliased)))
        self.refuse("hash-and-values", 1, "statement-malformed", self.changed(values))
        self.refuse("hash-absent", 1, "statement-malformed", self.changed(unhash))
        self.refuse("hashed-fp32", 1, "statement-malformed", self.changed(*_fp32(self.predicate)))
        self.refuse("hashed-claimed-public", 5, "tensors-mismatch", self.changed(show, unhash, values))
        self.refuse("hashed-claimed-private", 5, "tensors-mismatch", self.changed(hide, unhash))
        self.refuse("hashed-other-salt", 6, "input-mismatch", sample=self.raw, salt="00" * 32)
        other = {"habits": [value + 1 for value in self.raw["habits"]]}
        self.refuse("hashed-other-sample", 6, "input-mismatch", sample=other, salt=SALT)
        self.refuse("hashed-sample-without-salt", 6, "usage", sample=self.raw)
        self.refuse("hash-of-another-input", 8, "proof-invalid", self.changed(_hash("01" * 32)))
        renonced = self.changed(setter("nonce", value="00" * 32))
        self.refuse("hashed-for-another-nonce", 8, "proof-invalid", renonced, nonce="00" * 32)

    def write_private(self) -> None:
        """What may and may not be said of an input of which nothing is told."""
        values = setter("input", 0, "value", value=self.values)
        show, hashed = (setter("input", 0, "visibility", value=kind) for kind in ("public", "hashed"))
        self.accept("private", UNDISCLOSED)
        self.refuse("private-with-values", 1, "statement-malformed", self.changed(values))
        self.refuse("private-claimed-public", 5, "tensors-mismatch", self.changed(show, values))
        self.refuse("private-claimed-hashed", 5, "tensors-mismatch", self.changed(hashed, _hash("01" * 32)))
        self.refuse("private-compared", 6, "input-undisclosed", sample=self.raw)
        renonced = self.changed(setter("nonce", value="00" * 32))
        self.refuse("private-for-another-nonce", 8, "proof-invalid", renonced, nonce="00" * 32)
        answer = [value + 1 for value in self.predicate["output"][0]["value"]]
        forged = self.changed(setter("output", 0, "value", value=answer))
        self.refuse("private-other-output", 8, "proof-invalid", forged)


def _hash(text: str) -> object:
    return setter("input", 0, "hash", value=text)


def _fp32(predicate: Json) -> tuple[object, ...]:
    count = len(predicate["output"][0]["value"])
    output = base64.b64encode(bytes(4 * count)).decode()
    return (
        setter("runtime", value={"kind": "onnxruntime", "version": ONNXRUNTIME}),
        remover("circuit"),
        setter("output", 0, "value", value=output),
    )


def main() -> None:
    """Make these cases anew."""
    for path in (HERE / "cases").glob("hidden-*"):
        shutil.rmtree(path)
    with tempfile.TemporaryDirectory() as directory:
        add(keys.read_private(HERE / "shared" / "operator.pem"), Path(directory))


if __name__ == "__main__":
    main()
