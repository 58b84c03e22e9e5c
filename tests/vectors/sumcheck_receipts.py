"""Receipts with proofs of verinfer-sc/1: two small networks of ours are pinned, and their operator lies.

``generate`` calls `add`; ``python -m tests.vectors.sumcheck_receipts`` makes these cases anew with the operator's key.
A changed statement is signed again with that key and, where the network allows it, proven again.
"""

from __future__ import annotations

import base64
import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from math import floor
from pathlib import Path
from unittest.mock import patch

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits.sumcheck.description import (
    PROFILES,
    PROTOCOL,
    Description,
    canon,
    commitment_parameters,
    finish,
)
from verinfer.circuits.sumcheck.key_proof import prove_key
from verinfer.circuits.sumcheck.prover import Prover, setup
from verinfer.circuits.sumcheck.witness import witness
from verinfer.verifier import keys, numbers, preprocess, strict_json
from verinfer.verifier.bundle import MANIFEST
from verinfer.verifier.digest import challenge_bytes, sha256
from verinfer.verifier.evidence import EZKL_KIND, SUMCHECK_KIND, Proof
from verinfer.verifier.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from verinfer.verifier.quantise import to_integers
from verinfer.verifier.sumcheck import soundness
from verinfer.verifier.sumcheck.description import parse
from verinfer.verifier.sumcheck.layout import layout
from verinfer.verifier.wire import format_time

from .sumcheck import NETWORKS, RELU, weights_of
from .world import (
    HERE,
    NONCE,
    NOW,
    ONNXRUNTIME,
    ZOO,
    Json,
    both,
    envelope,
    key_id,
    remover,
    setter,
    statement_bytes,
)

HOME = HERE / "sumcheck" / "receipts"
PROVEN = ["signed-by-issuer", "computed-by-circuit", "computed-by-model", "fresh-for-nonce"]
SYSTEM = "verinfer-sc-1"

CANCER: Description = {
    "t": 8, "in_dims": [30], "in_bits": 8, "pcs": commitment_parameters(2),
    "layers": [{"op": "gemm", "nout": 6, **RELU}, {"op": "gemm", "nout": 2, "final": 1}],
}  # fmt: skip

Change = Callable[[Json], None]


class Network:
    """A network of ours in the place of a zoo model's, with its bundle; its proofs are real."""

    def __init__(self, name: str, bare: Description, seed: int, *, scale: int, zero: int) -> None:
        bare = {"proto": PROTOCOL, **copy.deepcopy(bare)}
        weights = weights_of(bare, seed)
        self.description = finish(bare, weights)
        self.key = setup(self.description, weights)
        self.zero = zero
        self.manifest = self._manifest(json.loads((ZOO / name / "spec.json").read_text()), scale)
        self.files = {
            MANIFEST: self.manifest.canonical(),
            "description.json": canon(self.description),
            "key.proof": prove_key(self.key),
        }
        self._prover = Prover(self.key)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @cached_property
    def raw(self) -> Json:
        sample: Json = json.loads((ZOO / self.manifest.model.name / "sample.json").read_text())
        return sample

    def _manifest(self, spec: Json, scale: int) -> Manifest:
        network = parse(canon(self.description))
        stages = len(network.layers)
        level = soundness.level(network.commitment, stages, layout(network).sizes)
        tensors = (("input", spec["inputs"][0], scale), ("output", spec["outputs"][0], 12))
        body: Json = {
            "type": MANIFEST_TYPE,
            "model": {name: spec[name] for name in ("name", "version", "onnx")},
            "rewrites": [],
            "proof_system": {
                "name": SYSTEM,
                "description": sha256(canon(self.description)),
                "root": self.key.root.hex(),
                "input_bits": network.input_bits,
                "input_zero": self.zero,
                "security_bits": floor(level),
                "numbers": {
                    "bits": 8,
                    "limb_bits": network.limb,
                    "widths": [8] * stages,
                    "given": [numbers.to_binary64(value) for value in (-1.5, 2.5)],
                    "outputs": [[numbers.to_binary64(value) for value in (0.0, 3.0)]] * stages,
                },
            },
            "layout": [
                {
                    "name": tensor["name"],
                    "role": role,
                    "shape": tensor["shape"],
                    "dtype": tensor["dtype"],
                    "scale": scale,
                    "visibility": "public",
                }
                for role, tensor, scale in tensors
            ],
            "quantisation": "binary64-half-away-from-zero-clamped",
            **{name: spec[name] for name in ("task", "inputs", "outputs", "labels") if name in spec},
        }
        return parse_manifest(strict_json.canonical(body))

    def integers(self, raw: list[float]) -> list[int]:
        (spec,), (tensor,) = self.manifest.inputs, self.manifest.tensors("input")
        return list(to_integers(self.manifest, tensor, preprocess.to_input(spec, raw)))

    def outputs(self, given: list[int]) -> list[int]:
        y = self._prover.prove(self._shifted(given), bytes(32)).y
        return [int(value) for value in y.reshape(-1)]

    def _shifted(self, given: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return (np.array(given, np.int64) + self.zero).reshape(self.description["in_dims"])

    def proof(self, given: list[int], statement: bytes, *, output: list[int] | None = None) -> Json:
        """Evidence for a statement, about these inputs whatever it says; `output` is a lie that goes into the transcript."""
        nonce = json.loads(statement)["predicate"]["nonce"]
        made = witness(self.key.layout, self.key.tags, self.key.weights, self._shifted(given))
        if output is not None:
            made = replace(made, y=np.array(output, np.int64).reshape(made.y.shape))
        proof = self._prover.prove_witness(made, challenge_bytes(nonce, sha256(statement)))
        return evidence(proof.data)

    def predicate(self, key: Ed25519PrivateKey, given: list[int]) -> Json:
        values = {"input": given, "output": self.outputs(given)}
        shown = {
            tensor.role: {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "dtype": tensor.dtype,
                "visibility": "public",
                "value": values[tensor.role],
            }
            for tensor in self.manifest.layout
        }
        return {
            "issuer": key_id(key),
            "model": self.manifest.model.to_json(),
            "runtime": {"kind": "circuit", "version": "verinfer-sc/1"},
            "circuit": self.digest,
            "input": [shown["input"]],
            "output": [shown["output"]],
            "nonce": NONCE,
            "issued_at": format_time(NOW),
            "mode": "proof",
        }


def evidence(proof: bytes) -> Json:
    return {SUMCHECK_KIND: Proof.of(proof).to_json()}


class _Receipts:
    """An honest answer of the first network, and lies about it."""

    def __init__(self, key: Ed25519PrivateKey, bmi: Network, cancer: Network) -> None:
        self.key, self.bmi, self.cancer = key, bmi, cancer
        self.raw = bmi.raw["habits"]
        self.given = bmi.integers(self.raw)
        self.predicate = bmi.predicate(key, self.given)
        self.statement = statement_bytes(self.predicate)
        self.proof = bmi.proof(self.given, self.statement)
        self.honest = self.signed(self.statement)
        self.policy = self._policy()

    def _policy(self) -> Json:
        policy: Json = json.loads((HERE / "shared" / "policy.json").read_text())
        models = [
            {
                "name": network.manifest.model.name,
                "onnx": network.manifest.model.onnx,
                "circuits": [{"digest": network.digest, "model_checked": "reproduced"}],
                "runtimes": [ONNXRUNTIME],
            }
            for network in (self.bmi, self.cancer)
        ]
        return {**policy, "models": models, "relaxations": [], "proof_systems": [SYSTEM]}

    def signed(self, statement: bytes, proof: Json | None = None) -> Json:
        return {
            "envelope": envelope(statement, self.key),
            "evidence": self.proof if proof is None else proof,
        }

    def changed(self, *changes: Change) -> Json:
        """The honest receipt with a changed predicate, signed again."""
        predicate = copy.deepcopy(self.predicate)
        both(*changes)(predicate)
        return self.signed(statement_bytes(predicate))

    def honestly(self, given: list[int], *changes: Change, network: Network | None = None) -> Json:
        """A receipt about another input or network, signed and proven."""
        network = network or self.bmi
        predicate = network.predicate(self.key, given)
        both(*changes)(predicate)
        statement = statement_bytes(predicate)
        return self.signed(statement, network.proof(given, statement))

    def with_policy(self, *changes: Change) -> Json:
        policy = copy.deepcopy(self.policy)
        both(*changes)(policy)
        return policy

    def accept(
        self,
        name: str,
        claims: list[str],
        receipt: Json | None = None,
        *,
        policy: Json | None = None,
        **expect: object,
    ) -> None:
        self._write(name, receipt, expect, {"claims": sorted(claims)}, policy, {})

    def refuse(
        self,
        name: str,
        step: int,
        code: str,
        receipt: Json | None = None,
        *,
        policy: Json | None = None,
        bundles: dict[str, dict[str, bytes]] | None = None,
        **expect: object,
    ) -> None:
        expected = {"code": code, "step": step}
        self._write(f"{name}_fail", receipt, expect, expected, policy, bundles or {})

    def _write(
        self,
        name: str,
        receipt: Json | None,
        expect: Json,
        expected: Json,
        policy: Json | None,
        bundles: dict[str, dict[str, bytes]],
    ) -> None:
        home = HOME / "cases" / f"sc-{name}"
        home.mkdir(parents=True)
        case = {
            "now": format_time(NOW + timedelta(seconds=30)),
            "expect": {"model": "bmi", "nonce": NONCE, "mode": "proof", **expect},
        }
        (home / "receipt.json").write_text(json.dumps(receipt or self.honest))
        for file, value in {"case": case, "expected": expected, "policy": policy}.items():
            if value is not None:
                (home / f"{file}.json").write_text(json.dumps(value, indent=1) + "\n")
        for digest, content in bundles.items():
            write_bundle(home / "bundles" / digest, content)

    def repinned(self, *changes: Change, **files: bytes) -> dict[str, object]:
        """A changed manifest that the policy pins, what its owner says against what its files are: a case's arguments."""
        manifest = json.loads(self.bmi.files[MANIFEST])
        both(*changes)(manifest)
        data = strict_json.canonical(manifest)
        digest = sha256(data)
        content = {**self.bmi.files, MANIFEST: data}
        content |= {name.replace("_", "."): value for name, value in files.items()}
        return {
            "receipt": self.changed(setter("circuit", value=digest)),
            "policy": self.with_policy(setter("models", 0, "circuits", 0, "digest", value=digest)),
            "bundles": {digest: content},
        }

    def acceptances(self) -> None:
        self.accept("proven", PROVEN)
        self.accept("proven-with-sample", [*PROVEN, "input-is-yours"], sample=self.bmi.raw)
        cancer = self.cancer
        other = self.honestly(cancer.integers(next(iter(cancer.raw.values()))), network=cancer)
        self.accept("other-model", PROVEN, other, model="breast_cancer")
        far = [1e30, *self.raw[1:]]
        clamped = self.honestly(self.bmi.integers(far))
        self.accept("clamped", [*PROVEN, "input-is-yours"], clamped, sample={"habits": far})
        self.refuse("clamped-other-sample", 6, "input-mismatch", clamped, sample=self.bmi.raw)
        self.refuse("sample-other", 6, "input-mismatch", sample={"habits": [self.raw[0] + 1, *self.raw[1:]]})
        later = setter("prove_by", value=format_time(NOW + timedelta(hours=1)))
        promised = self.honestly(self.given, setter("mode", value="tee+proof"), later)
        self.accept("tee-proof", PROVEN, promised, mode="tee+proof")
        unproven = {**self.honest, "evidence": {}}
        signature = self.with_policy(setter("require", value=["signature"]))
        self.accept("not-proven", ["signed-by-issuer", "fresh-for-nonce"], unproven, policy=signature)
        self.refuse("proof-removed", 10, "evidence-missing", unproven)
        systems = self.with_policy(setter("proof_systems", value=["ezkl-halo2-kzg", SYSTEM]))
        self.accept("both-systems", PROVEN, policy=systems)

    def step_1(self) -> None:
        """Strict parse."""
        for name, change in {
            "with-instances": setter("instances", value=[["00"]]),
            "with-output": setter("y", value=[1, 2]),
            "empty": setter("proof", value=""),
            "sloppy-base64": lambda body: body.update(proof=body["proof"] + "===="),
            "absent": remover("proof"),
        }.items():
            bent = copy.deepcopy(self.honest)
            change(bent["evidence"][SUMCHECK_KIND])
            self.refuse(f"evidence-{name}", 1, "evidence-malformed", bent)

    def pins(self) -> None:
        """Step 5: the policy's word, and the statement's."""
        refuse = self.refuse
        unnamed = "proof-system-not-accepted"
        refuse("system-not-named", 5, unnamed, policy=self.with_policy(remover("proof_systems")))
        ezkl = self.with_policy(setter("proof_systems", value=["ezkl-halo2-kzg"]))
        refuse("system-ezkl-alone", 5, unnamed, policy=ezkl)
        for mode in ("zk", "tee+zk"):
            asked = self.honestly(self.given, setter("mode", value=mode))
            refuse(f"mode-{mode.replace('+', '-')}", 5, "not-zero-knowledge", asked, mode=mode)
        for name, version in {"ezkl": "ezkl 23.0.5", "newer": "verinfer-sc/2"}.items():
            bent = self.changed(setter("runtime", "version", value=version))
            refuse(f"runtime-{name}", 5, "runtime-not-pinned", bent)
        foreign = self.changed(setter("circuit", value=self.cancer.digest))
        refuse("circuit-of-other-model", 5, "circuit-not-pinned", foreign)
        low, high = self.bmi.manifest.proof_system.input_range
        for name, change in {
            "above-range": setter("input", 0, "value", 0, value=high + 1),
            "below-range": setter("input", 0, "value", 0, value=low - 1),
            "input-reshaped": setter("input", 0, "shape", value=[3]),
            "output-renamed": setter("output", 0, "name", value="habits"),
            "claimed-private": both(
                setter("input", 0, "visibility", value="private"), remover("input", 0, "value")
            ),
            "claimed-hashed": both(
                setter("input", 0, "visibility", value="hashed"),
                setter("input", 0, "hash", value="01" * 32),
                remover("input", 0, "value"),
            ),
            "challenge-as-input": lambda body: body["input"].append(
                {**body["input"][0], "name": "verinfer_challenge", "shape": [1, 16], "value": [0] * 16}
            ),
        }.items():
            refuse(f"tensors-{name}", 5, "tensors-mismatch", self.changed(change))

    def bundles(self) -> None:
        """Step 5: a bundle's files."""
        refuse, bmi, cancer = self.refuse, self.bmi, self.cancer
        mine = bmi.digest
        for file in ("description.json", "key.proof"):
            bent = bytearray(bmi.files[file])
            bent[len(bent) // 2] ^= 1
            kinds = {"changed": bytes(bent), "of-other-network": cancer.files[file], "empty": b""}
            for name, data in kinds.items():
                wrong = {mine: {**bmi.files, file: data}}
                refuse(f"bundle-{file.split('.')[0]}-{name}", 5, "bundle-mismatch", bundles=wrong)
        other = Network("bmi", NETWORKS["mlp"], 99, scale=6, zero=bmi.zero)
        of_others = {mine: {**bmi.files, "key.proof": other.files["key.proof"]}}
        refuse("bundle-key-of-other-weights", 5, "bundle-mismatch", bundles=of_others)
        refuse("bundle-of-other-circuit", 5, "bundle-mismatch", bundles={mine: cancer.files})
        system = "proof_system"
        for name, (code, change) in {
            "other-root": ("bundle-mismatch", setter(system, "root", value=other.key.root.hex())),
            "more-bits": ("description-malformed", setter(system, "security_bits", value=128)),
            "fewer-bits": ("description-malformed", setter(system, "security_bits", value=99)),
            "other-input-bits": ("description-malformed", setter(system, "input_bits", value=9)),
            "other-limbs": ("description-malformed", setter(system, "numbers", "limb_bits", value=9)),
            "fewer-stages": (
                "description-malformed",
                both(remover(system, "numbers", "widths", 0), remover(system, "numbers", "outputs", 0)),
            ),
            "zero-beyond-bits": ("manifest-malformed", setter(system, "input_zero", value=256)),
            "wrapped": ("manifest-malformed", setter("wrapped_onnx", value="0" * 64)),
            "unclamped": (
                "manifest-malformed",
                setter("quantisation", value="binary64-half-away-from-zero"),
            ),
            "batched": ("manifest-malformed", setter("batch", value=2)),
            "hidden": ("manifest-malformed", setter("layout", 0, "visibility", value="private")),
        }.items():
            refuse(f"manifest-{name}", 5, code, **self.repinned(change))  # type: ignore[arg-type]  # a case's arguments
        # Our own prover refuses so few queries.
        with patch.dict(PROFILES, {2: 60}):
            few = {**NETWORKS["mlp"], "pcs": commitment_parameters(2)}
            weak = Network("bmi", few, 0, scale=6, zero=bmi.zero)
            receipt = self.honestly(self.given, network=weak)
        refuse(
            "security-too-low",
            5,
            "security-too-low",
            receipt,
            policy=self.with_policy(setter("models", 0, "circuits", 0, "digest", value=weak.digest)),
            bundles={weak.digest: weak.files},
        )

    def proofs(self) -> None:
        """Step 8."""
        refuse, bmi, given, predicate = self.refuse, self.bmi, self.given, self.predicate
        output, replay = predicate["output"][0]["value"], "ab" * 32
        other = [given[0] + 5, *given[1:]]
        for name, change in {
            "output": setter("output", 0, "value", 0, value=output[0] + 1),
            "output-negated": setter("output", 0, "value", value=[-value for value in output]),
            "input": setter("input", 0, "value", 0, value=given[0] + 1),
            "time": setter("issued_at", value=format_time(NOW + timedelta(seconds=1))),
            "audience": setter("audience", value="alice"),
        }.items():
            refuse(f"resigned-other-{name}", 8, "proof-invalid", self.changed(change))
        renonced = self.changed(setter("nonce", value=replay))
        refuse("resigned-other-nonce", 8, "proof-invalid", renonced, nonce=replay)
        remode = self.changed(setter("mode", value="tee+proof"))
        refuse("resigned-other-mode", 8, "proof-invalid", remode, mode="tee+proof")

        # The operator proves honestly, but something else than the statement says.
        lie = copy.deepcopy(predicate)
        lie["output"][0]["value"] = bmi.outputs(other)
        told = statement_bytes(lie)
        elsewhere = statement_bytes({**predicate, "nonce": replay})
        weights = Network("bmi", NETWORKS["mlp"], 99, scale=6, zero=bmi.zero)
        cancer = self.cancer.integers(next(iter(self.cancer.raw.values())))
        for name, receipt in {
            "for-other-input": self.signed(self.statement, bmi.proof(other, self.statement)),
            "for-other-output": self.signed(told, bmi.proof(given, told)),
            "for-claimed-output": self.signed(told, bmi.proof(given, told, output=lie["output"][0]["value"])),
            "for-other-nonce": self.signed(self.statement, bmi.proof(given, elsewhere)),
            "by-other-weights": self.signed(self.statement, weights.proof(given, self.statement)),
            "by-other-model": self.signed(self.statement, self.cancer.proof(cancer, self.statement)),
        }.items():
            refuse(f"proven-{name}", 8, "proof-invalid", receipt)

        proof = base64.b64decode(self.proof[SUMCHECK_KIND]["proof"])
        middle = len(proof) // 2
        for name, data in {
            "first-bit-flipped": bytes([proof[0] ^ 1]) + proof[1:],
            "middle-bit-flipped": proof[:middle] + bytes([proof[middle] ^ 1]) + proof[middle + 1 :],
            "last-bit-flipped": proof[:-1] + bytes([proof[-1] ^ 1]),
            "truncated": proof[:-32],
            "cut-short": proof[:40],
            "extended": proof + bytes(1),
            "of-the-key": bmi.files["key.proof"],
            "zeros": bytes(1 << 12),
        }.items():
            refuse(f"proof-{name}", 8, "proof-invalid", self.signed(self.statement, evidence(data)))

        ezkl = json.loads((HERE / "cases" / "proven" / "receipt.json").read_text())["evidence"]
        relabelled = {SUMCHECK_KIND: ezkl[EZKL_KIND]}
        refuse("proof-relabelled", 8, "proof-invalid", self.signed(self.statement, relabelled))
        refuse("proof-of-ezkl", 8, "evidence-unsupported", self.signed(self.statement, ezkl))
        refuse(
            "proof-beside-ezkls", 8, "evidence-unsupported", self.signed(self.statement, self.proof | ezkl)
        )
        in_floats = self.changed(
            setter("runtime", value={"kind": "onnxruntime", "version": ONNXRUNTIME}),
            remover("circuit"),
            setter("input", 0, "value", value=numbers.encode([0.0] * 3, "FP32")),
            setter("output", 0, "value", value=numbers.encode([0.5, -0.25], "FP32")),
        )
        refuse("proof-beside-fp32", 8, "proof-for-wrong-runtime", in_floats)


def write_bundle(folder: Path, content: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for file, data in content.items():
        (folder / file).write_bytes(data)


def add(key: Ed25519PrivateKey) -> None:
    """Write the cases, signed with the operator's `key`, which the policy of the other cases pins."""
    shutil.rmtree(HOME, ignore_errors=True)
    bmi = Network("bmi", NETWORKS["mlp"], 0, scale=6, zero=96)
    cancer = Network("breast_cancer", CANCER, 1, scale=4, zero=128)
    receipts = _Receipts(key, bmi, cancer)
    for network in (bmi, cancer):
        write_bundle(HOME / "shared" / "bundles" / network.digest, network.files)
    (HOME / "shared" / "policy.json").write_text(json.dumps(receipts.policy) + "\n")
    receipts.acceptances()
    receipts.step_1()
    receipts.pins()
    receipts.bundles()
    receipts.proofs()
    print(f"{len(list((HOME / 'cases').iterdir()))} cases of verinfer-sc/1")


if __name__ == "__main__":
    add(keys.read_private(HERE / "shared" / "operator.pem"))
