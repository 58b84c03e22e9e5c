"""Makes the verification vectors: real proofs, and for each step of verification lies that only this step can find.

Run ``python -m tests.vectors.generate`` in the checkout; it takes about a minute and replaces ``shared/`` and ``cases/``.
The liar is the operator, who holds the signing key: unless its name says otherwise, a changed statement is signed again
with the pinned key, and where the circuit allows it, proven again.

A case is a folder: ``receipt.json``, ``case.json`` (time and expectations), ``expected.json`` (code and step, or claims
and caveats), and ``policy.json`` or ``bundles/`` where they differ from those in ``shared/``. Names of refusals end in
``_fail``.
"""

from __future__ import annotations

import base64
import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from verinfer.verifier import numbers, preprocess, strict_json
from verinfer.verifier.bundle import read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.srs import CEREMONY_CUT
from verinfer.verifier.wire import format_time

from . import hidden, sumcheck_receipts
from .world import (
    HERE,
    NONCE,
    NOW,
    ONNXRUNTIME,
    Json,
    Prover,
    World,
    both,
    build,
    envelope,
    flip,
    key_id,
    policy_of,
    predicate_of,
    quantised,
    raw_sample,
    remover,
    setter,
    statement_bytes,
)


class Cases:
    """Writes the case folders."""

    def __init__(self, home: Path, world: World, policy: Json, honest: Json) -> None:
        self._home, self.world, self._policy, self._honest = home, world, policy, honest
        self.proof: Json = honest["evidence"]

    def accept(
        self, name: str, receipt: Json, claims: list[str], *, expect: Json, policy: Json | None = None
    ) -> None:
        self._write(name, receipt, expect, {"claims": sorted(claims)}, policy)

    def refuse(
        self,
        name: str,
        step: int,
        code: str,
        receipt: Json | bytes | None = None,
        *,
        expect: Json | None = None,
        policy: Json | None = None,
        bundles: dict[str, dict[str, bytes]] | None = None,
    ) -> None:
        wanted = {"code": code, "step": step}
        self._write(f"{name}_fail", receipt or self._honest, expect or {}, wanted, policy, bundles)

    def changed(self, change: Callable[[Json], None], *, key: Ed25519PrivateKey | None = None) -> Json:
        """The honest receipt with a changed predicate, signed again."""
        predicate = json.loads(base64.b64decode(self._honest["envelope"]["payload"]))["predicate"]
        change(predicate)
        return self.signed(statement_bytes(predicate), key=key)

    def signed(
        self, statement: bytes, *, key: Ed25519PrivateKey | None = None, evidence: Json | None = None
    ) -> Json:
        proof = self.proof if evidence is None else evidence
        return {"envelope": envelope(statement, key or self.world.key), "evidence": proof}

    def policy(self, change: Callable[[Json], None]) -> Json:
        changed = copy.deepcopy(self._policy)
        change(changed)
        return changed

    def receipt(self, change: Callable[[Json], None]) -> Json:
        """The honest receipt with something changed outside the signed bytes."""
        changed = copy.deepcopy(self._honest)
        change(changed)
        return changed

    def _write(
        self,
        name: str,
        receipt: Json | bytes,
        expect: Json,
        expected: Json,
        policy: Json | None,
        bundles: dict[str, dict[str, bytes]] | None = None,
    ) -> None:
        home = self._home / name
        home.mkdir(parents=True)
        body = receipt if isinstance(receipt, bytes) else json.dumps(receipt).encode()
        (home / "receipt.json").write_bytes(body)
        at = expect.pop("now", format_time(NOW + timedelta(seconds=30)))
        case = {"now": at, "expect": {"model": "bmi", "nonce": NONCE, "mode": "zk", **expect}}
        (home / "case.json").write_text(json.dumps(case, indent=1) + "\n")
        (home / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
        if policy is not None:
            (home / "policy.json").write_text(json.dumps(policy) + "\n")
        for digest, content in (bundles or {}).items():
            folder = home / "bundles" / digest
            folder.mkdir(parents=True)
            for file, data in content.items():
                (folder / file).write_bytes(data)


def acceptances(cases: Cases, world: World, honest: Json, cancer: Json) -> None:
    proven = ["signed-by-issuer", "computed-by-circuit", "computed-by-model", "fresh-for-nonce"]
    raw = {"habits": raw_sample(world.bmi)}
    cases.accept("proven", honest, proven, expect={})
    cases.accept("proven-with-sample", honest, [*proven, "input-is-yours"], expect={"sample": raw})
    cases.accept("other-model", cancer, proven, expect={"model": "breast_cancer"})
    bare = [claim for claim in proven if claim != "fresh-for-nonce"]
    cases.accept("nothing-expected", honest, bare, expect={"nonce": None, "mode": None})
    cases.accept(
        "circuit-not-reproduced",
        honest,
        [claim for claim in proven if claim != "computed-by-model"],
        expect={},
        policy=cases.policy(setter("models", 0, "circuits", 0, "model_checked", value="trusted")),
    )
    signature = cases.policy(setter("require", value=["signature"]))
    cases.accept(
        "fp32-signed",
        fp32(cases),
        ["signed-by-issuer", "fresh-for-nonce"],
        expect={"mode": "none"},
        policy=signature,
    )
    unproven = cases.receipt(setter("evidence", value={}))
    cases.accept(
        "proof-not-required", unproven, ["signed-by-issuer", "fresh-for-nonce"], expect={}, policy=signature
    )
    later = setter("prove_by", value=format_time(NOW + timedelta(hours=1)))
    pending = cases.changed(both(setter("mode", value="tee+zk"), later))
    pending["evidence"] = {}
    cases.accept(
        "proof-pending",
        pending,
        ["signed-by-issuer", "fresh-for-nonce"],
        expect={"mode": "tee+zk"},
        policy=signature,
    )
    cases.accept("up-to-max-age", honest, proven, expect={"now": format_time(NOW + timedelta(seconds=86400))})
    cases.accept(
        "clock-a-little-behind", honest, proven, expect={"now": format_time(NOW - timedelta(seconds=60))}
    )


def fp32(cases: Cases) -> Json:
    package = cases.world.bmi
    values = preprocess.to_input(package.manifest.inputs[0], raw_sample(package))

    def change(body: Json) -> None:
        body["runtime"] = {"kind": "onnxruntime", "version": ONNXRUNTIME}
        del body["circuit"]
        body["mode"] = "none"
        body["input"][0]["value"] = numbers.encode(values, "FP32")
        body["output"][0]["value"] = numbers.encode([0.5, -0.25], "FP32")

    receipt = cases.changed(change)
    receipt["evidence"] = {}
    return receipt


def step_1(cases: Cases, predicate: Json, honest: Json) -> None:
    """Strict parse."""
    text = json.dumps(honest)
    refuse = cases.refuse
    refuse("not-json", 1, "json-invalid", text[:-1].encode())
    refuse("duplicate-key", 1, "json-invalid", (text[:-1] + ', "evidence": {}}').encode())
    refuse("receipt-extra-field", 1, "receipt-malformed", cases.receipt(setter("outputs", value=[1])))
    refuse("receipt-without-evidence", 1, "receipt-malformed", cases.receipt(remover("evidence")))
    refuse("receipt-evidence-list", 1, "receipt-malformed", cases.receipt(setter("evidence", value=[])))
    refuse("envelope-extra-field", 1, "envelope-malformed", cases.receipt(setter("envelope", "x", value=1)))
    refuse(
        "envelope-without-signature",
        1,
        "envelope-malformed",
        cases.receipt(setter("envelope", "signatures", value=[])),
    )
    twice = cases.receipt(
        lambda body: body["envelope"]["signatures"].append(body["envelope"]["signatures"][0])
    )
    refuse("envelope-two-signatures", 1, "envelope-malformed", twice)
    spaced = cases.receipt(setter("envelope", "payload", value=honest["envelope"]["payload"] + "\n"))
    refuse("envelope-payload-with-newline", 1, "envelope-malformed", spaced)
    statement = statement_bytes(predicate)
    other_type = {
        "envelope": envelope(statement, cases.world.key, "application/json"),
        "evidence": cases.proof,
    }
    refuse("payload-type-other", 1, "envelope-malformed", other_type)
    refuse(
        "statement-extra-field",
        1,
        "statement-malformed",
        cases.signed(statement_bytes(predicate, extra={"x": 1})),
    )
    refuse(
        "statement-floats", 1, "json-invalid", cases.signed(statement.replace(b'"mode"', b'"x":1.5,"mode"'))
    )
    refuse(
        "statement-subject-other",
        1,
        "statement-subject-mismatch",
        cases.signed(statement_bytes(predicate, subject="0" * 64)),
    )
    for name, change in {
        "predicate-extra-field": setter("scale", value=7),
        "predicate-null-audience": setter("audience", value=None),
        "predicate-without-nonce": remover("nonce"),
        "predicate-nonce-upper-case": setter("nonce", value=NONCE.upper()),
        "predicate-nonce-short": setter("nonce", value=NONCE[:-2]),
        "predicate-time-impossible": setter("issued_at", value="2026-02-30T00:00:00Z"),
        "predicate-time-with-offset": setter("issued_at", value="2026-02-20T00:00:00+00:00"),
        "predicate-audience-with-lines": setter("audience", value="you\n\nWhat this shows:\n  + all is well"),
        "predicate-audience-with-escape": setter("audience", value="you\x1b[8m"),
        "predicate-audience-right-to-left": setter("audience", value="you\u202e"),
        "predicate-mode-unknown": setter("mode", value="ZK"),
        "predicate-value-string": setter("output", 0, "value", 0, value="1"),
        "predicate-value-bool": setter("output", 0, "value", 0, value=True),
        "predicate-value-missing": remover("output", 0, "value", 0),
        "predicate-value-base64": setter("output", 0, "value", value="AAAAAAAAAAA="),
        "predicate-shape-other-size": setter("output", 0, "shape", value=[1, 3]),
        "predicate-shape-zero": setter("output", 0, "shape", value=[0, 2]),
        "predicate-circuit-missing": remover("circuit"),
        "predicate-prove-by": setter("prove_by", value=format_time(NOW)),
        "predicate-visibility-unknown": setter("input", 0, "visibility", value="open"),
    }.items():
        refuse(name, 1, "statement-malformed", cases.changed(change))
    kind = ("evidence", EZKL_KIND)
    instances = cases.receipt(setter(*kind, "instances", value=[["00"]]))
    refuse("evidence-with-instances", 1, "evidence-malformed", instances)
    refuse("evidence-empty-proof", 1, "evidence-malformed", cases.receipt(setter(*kind, "proof", value="")))
    sloppy = cases.receipt(setter(*kind, "proof", value=honest["evidence"][EZKL_KIND]["proof"][:-1] + "A"))
    if sloppy["evidence"] != honest["evidence"]:
        sloppy["evidence"][EZKL_KIND]["proof"] = honest["evidence"][EZKL_KIND]["proof"] + "===="
    refuse("evidence-sloppy-base64", 1, "evidence-malformed", sloppy)
    unknown = cases.receipt(setter("evidence", "proof/trust-me", value={}))
    refuse("evidence-kind-unknown", 1, "evidence-malformed", unknown)


def steps_2_to_4(cases: Cases, world: World) -> None:
    """Policy, signature, request."""
    refuse = cases.refuse
    expired = cases.policy(setter("valid_until", value=format_time(NOW)))
    refuse("policy-expired", 2, "policy-expired", policy=expired)
    refuse("policy-rollback", 2, "policy-rollback", expect={"min_serial": 8})

    def signed_by(key: Ed25519PrivateKey) -> Json:
        return cases.changed(setter("issuer", value=key_id(key)), key=key)

    refuse("issuer-unknown", 3, "issuer-unknown", signed_by(world.stranger))
    refuse("issuer-revoked", 3, "issuer-revoked", signed_by(world.revoked))
    refuse("issuer-expired", 3, "issuer-not-valid-then", signed_by(world.expired))
    refuse(
        "issuer-other-pinned",
        3,
        "issuer-mismatch",
        cases.changed(setter("issuer", value=key_id(world.second))),
    )
    signature = ("envelope", "signatures", 0)
    bent = cases.receipt(
        lambda body: setter(*signature, "sig", value=flip(body["envelope"]["signatures"][0]["sig"]))(body)
    )
    refuse("signature-bit-flipped", 3, "signature-invalid", bent)
    hint = cases.receipt(setter(*signature, "keyid", value=key_id(world.second)))
    refuse("signature-key-hint-other", 3, "signature-invalid", hint)
    lie = cases.changed(setter("output", 0, "value", 0, value=1))
    unsigned = cases.receipt(setter("envelope", "payload", value=lie["envelope"]["payload"]))
    refuse("statement-changed-not-signed", 3, "signature-invalid", unsigned)

    refuse("nonce-other", 4, "nonce-mismatch", expect={"nonce": "00" * 32})
    refuse("audience-missing", 4, "audience-mismatch", expect={"audience": "alice"})
    refuse("mode-other", 4, "mode-mismatch", expect={"mode": "tee"})
    refuse(
        "issued-in-future", 4, "issued-in-future", expect={"now": format_time(NOW - timedelta(seconds=61))}
    )
    refuse("too-old", 4, "too-old", expect={"now": format_time(NOW + timedelta(seconds=86401))})


def step_5(cases: Cases, world: World, cancer: Json) -> None:
    """Pins and tensors."""
    refuse, bmi = cases.refuse, world.bmi
    refuse("model-not-pinned", 5, "model-not-pinned", cases.changed(setter("model", "onnx", value="1" * 64)))
    refuse(
        "model-renamed", 5, "model-not-pinned", cases.changed(setter("model", "name", value="breast_cancer"))
    )
    refuse("model-other-pinned", 5, "model-mismatch", cancer)
    refuse("model-ambiguous", 5, "model-ambiguous", expect={"model": None})
    revoked = cases.policy(setter("revoked", "models", value=[bmi.manifest.model.onnx]))
    refuse("model-revoked", 5, "model-revoked", policy=revoked)
    refuse("model-version-other", 5, "tensors-mismatch", cases.changed(setter("model", "version", value="2")))
    rescaled = setter("circuit", value=world.rescaled.digest)
    refuse("circuit-not-pinned", 5, "circuit-not-pinned", cases.changed(rescaled))
    of_other_model = cases.changed(setter("circuit", value=world.cancer.digest))
    refuse("circuit-of-other-model", 5, "circuit-not-pinned", of_other_model)
    revoked = cases.policy(setter("revoked", "circuits", value=[bmi.digest]))
    refuse("circuit-revoked", 5, "circuit-revoked", policy=revoked)
    newer = cases.changed(setter("runtime", "version", value="ezkl 23.0.6"))
    refuse("runtime-other-ezkl", 5, "runtime-not-pinned", newer)
    signature = {"require": ["signature"]}
    unpinned = cases.policy(lambda body: body["models"][0].update(runtimes=[]) or body.update(signature))
    refuse(
        "runtime-fp32-not-pinned",
        5,
        "runtime-not-pinned",
        fp32(cases),
        expect={"mode": "none"},
        policy=unpinned,
    )
    refuse("srs-insecure", 5, "insecure-srs", policy=cases.policy(setter("relaxations", value=[])))

    content = read_files(bmi.folder / "verify")
    for file in ("vk.key", "settings.json", "kzg1.srs"):
        bent = bytearray(content[file])
        bent[len(bent) // 2] ^= 1
        refuse(
            f"bundle-{file.split('.')[0]}-changed",
            5,
            "bundle-mismatch",
            bundles={bmi.digest: {**content, file: bytes(bent)}},
        )
    foreign = read_files(world.rescaled.folder / "verify")
    refuse("bundle-of-other-circuit", 5, "bundle-mismatch", bundles={bmi.digest: foreign})

    def repinned(change: Callable[[Json], None]) -> tuple[Json, Json, dict[str, dict[str, bytes]]]:
        """A changed manifest that the policy pins: what its owner says against what its files are."""
        manifest = json.loads(content["manifest.json"])
        change(manifest)
        data = strict_json.canonical(manifest)
        digest = sha256(data)
        policy = cases.policy(setter("models", 0, "circuits", 0, "digest", value=digest))
        receipt = cases.changed(setter("circuit", value=digest))
        return receipt, policy, {digest: {**content, "manifest.json": data}}

    claimed = repinned(setter("proof_system", "srs", "cut", value=CEREMONY_CUT))
    refuse(
        "manifest-claims-ceremony-srs",
        5,
        "bundle-mismatch",
        claimed[0],
        policy=claimed[1],
        bundles=claimed[2],
    )
    scaled = repinned(setter("layout", 2, "scale", value=0))
    refuse("manifest-other-scale", 5, "settings-malformed", scaled[0], policy=scaled[1], bundles=scaled[2])
    bounded = repinned(setter("proof_system", "run_args", "decomp_legs", value=4))
    refuse("manifest-other-bound", 5, "settings-malformed", bounded[0], policy=bounded[1], bundles=bounded[2])
    swapped = repinned(lambda body: body["layout"].insert(0, body["layout"].pop(2)))
    refuse("manifest-other-order", 5, "manifest-malformed", swapped[0], policy=swapped[1], bundles=swapped[2])
    private = repinned(setter("proof_system", "run_args", "param_visibility", value="private"))
    refuse(
        "manifest-private-parameters",
        5,
        "manifest-malformed",
        private[0],
        policy=private[1],
        bundles=private[2],
    )

    bound = bmi.manifest.proof_system.bound
    tensors: dict[str, Callable[[Json], None]] = {
        "input-renamed": setter("input", 0, "name", value="body"),
        "names-swapped": both(
            setter("input", 0, "name", value="body"), setter("output", 0, "name", value="habits")
        ),
        "output-reshaped": setter("output", 0, "shape", value=[2, 1]),
        "output-other-dtype": setter("output", 0, "dtype", value="INT64"),
        "input-claimed-private": both(
            setter("input", 0, "visibility", value="private"), remover("input", 0, "value")
        ),
        "input-claimed-sealed": setter("input", 0, "visibility", value="sealed"),
        "output-doubled": lambda body: body["output"].append(body["output"][0]),
        "output-beyond-bound": setter("output", 0, "value", 0, value=bound),
        "input-beyond-bound": setter("input", 0, "value", 0, value=-bound),
        "challenge-as-input": lambda body: body["input"].append(
            {
                "name": "verinfer_challenge",
                "shape": [1, 16],
                "dtype": "INT64",
                "visibility": "public",
                "value": [0] * 16,
            }
        ),
    }
    for name, change in tensors.items():
        refuse(f"tensors-{name}", 5, "tensors-mismatch", cases.changed(change))


def step_5_fp32(cases: Cases) -> None:
    """Pins and tensors of answers that no circuit made."""
    refuse, bmi = cases.refuse, cases.world.bmi
    for name, value in {"nan": float("nan"), "infinity": float("inf")}.items():
        endless = fp32(cases)
        predicate = json.loads(base64.b64decode(endless["envelope"]["payload"]))["predicate"]
        predicate["output"][0]["value"] = numbers.encode([0.5, value], "FP32")
        endless = cases.signed(statement_bytes(predicate), evidence={})
        signed = cases.policy(setter("require", value=["signature"]))
        refuse(f"fp32-{name}", 5, "tensors-mismatch", endless, expect={"mode": "none"}, policy=signed)
    no_circuit = cases.policy(
        both(
            setter("require", value=["signature"]),
            setter("revoked", "circuits", value=[bmi.digest]),
        )
    )
    refuse(
        "fp32-no-circuit-left",
        5,
        "circuit-not-pinned",
        fp32(cases),
        expect={"mode": "none"},
        policy=no_circuit,
    )


def steps_6_to_10(cases: Cases, world: World, prover: Prover, predicate: Json, honest: Json) -> None:
    """Sample, proof, quotes, requirements."""
    refuse, bmi = cases.refuse, world.bmi
    raw = raw_sample(bmi)
    refuse("sample-other", 6, "input-mismatch", expect={"sample": {"habits": [raw[0] + 1, *raw[1:]]}})

    # The operator changes the signed words and keeps the honest proof: the challenge gives it away.
    resigned: dict[str, Callable[[Json], None]] = {
        "output-changed": setter("output", 0, "value", 0, value=predicate["output"][0]["value"][0] + 1),
        "output-negated": setter(
            "output", 0, "value", value=[-value for value in predicate["output"][0]["value"]]
        ),
        "input-changed": setter("input", 0, "value", 0, value=predicate["input"][0]["value"][0] + 1),
        "issued-a-second-later": setter("issued_at", value=format_time(NOW + timedelta(seconds=1))),
        "audience-added": setter("audience", value="alice"),
    }
    for name, change in resigned.items():
        refuse(f"resigned-{name}", 8, "proof-invalid", cases.changed(change))
    replay = "ab" * 32
    refuse(
        "resigned-other-nonce",
        8,
        "proof-invalid",
        cases.changed(setter("nonce", value=replay)),
        expect={"nonce": replay},
    )
    proof_mode = cases.changed(setter("mode", value="proof"))
    refuse("resigned-other-mode", 8, "proof-invalid", proof_mode, expect={"mode": "proof"})
    second = cases.changed(setter("issuer", value=key_id(world.second)), key=world.second)
    refuse("resigned-other-pinned-issuer", 8, "proof-invalid", second)

    # The operator proves honestly, but something else than the statement says.
    statement = statement_bytes(predicate)
    inputs = predicate["input"][0]["value"]
    rescaled = quantised(world.rescaled, raw)
    made = prover.evidence(world.rescaled, rescaled, statement)
    refuse("proven-by-other-scale", 8, "proof-invalid", cases.signed(statement, evidence={EZKL_KIND: made}))
    other_inputs = [inputs[0] + 5, *inputs[1:]]
    other_outputs = prover.outputs(bmi, other_inputs)
    made = prover.evidence(bmi, other_inputs, statement)
    refuse("proven-for-other-input", 8, "proof-invalid", cases.signed(statement, evidence={EZKL_KIND: made}))
    lie = copy.deepcopy(predicate)
    lie["output"][0]["value"] = other_outputs
    body = statement_bytes(lie)
    made = prover.evidence(bmi, inputs, body)
    refuse("proven-for-other-output", 8, "proof-invalid", cases.signed(body, evidence={EZKL_KIND: made}))
    other_nonce = statement_bytes({**predicate, "nonce": replay})
    made = prover.evidence(bmi, inputs, other_nonce)
    refuse("proven-for-other-nonce", 8, "proof-invalid", cases.signed(statement, evidence={EZKL_KIND: made}))
    cancer_inputs = quantised(world.cancer, raw_sample(world.cancer))
    made = prover.evidence(world.cancer, cancer_inputs, statement)
    refuse("proven-by-other-model", 8, "proof-invalid", cases.signed(statement, evidence={EZKL_KIND: made}))

    proof = base64.b64decode(honest["evidence"][EZKL_KIND]["proof"])
    for name, data in {
        "bit-flipped": bytes([proof[0] ^ 1]) + proof[1:],
        "last-bit-flipped": proof[:-1] + bytes([proof[-1] ^ 1]),
        "truncated": proof[:-32],
        "extended": proof + bytes(64),
        "zeros": bytes(len(proof)),
        "ones": b"\xff" * len(proof),
    }.items():
        evidence = {EZKL_KIND: {"proof": base64.b64encode(data).decode()}}
        refuse(f"proof-{name}", 8, "proof-invalid", cases.receipt(setter("evidence", value=evidence)))
    beside = fp32(cases)
    beside["evidence"] = honest["evidence"]
    refuse("proof-beside-fp32", 8, "proof-for-wrong-runtime", beside, expect={"mode": "none"})
    other_system = cases.receipt(setter("evidence", "proof/verinfer-sc-1", value={"proof": "AAAA"}))
    refuse("proof-of-other-system", 8, "evidence-unsupported", other_system)

    for kind in ("quote/simulated", "quote/tdx", "log/tlog-tiles"):
        receipt = cases.receipt(setter("evidence", kind, value={"quote": "AAAA"}))
        refuse(f"evidence-{kind.replace('/', '-')}", 9, "evidence-unsupported", receipt)
    step_10(cases)


def step_10(cases: Cases) -> None:
    """Requirements."""
    refuse = cases.refuse
    unproven = cases.receipt(setter("evidence", value={}))
    refuse("proof-removed", 10, "evidence-missing", unproven)
    refuse("fp32-where-proof-required", 10, "evidence-missing", fp32(cases), expect={"mode": "none"})
    quote = cases.policy(setter("require", value=["signature", "proof", "quote"]))
    refuse("quote-required", 10, "evidence-missing", policy=quote)
    promised = cases.changed(setter("mode", value="tee+zk"))
    promised["evidence"] = {}
    refuse("proof-promised", 10, "evidence-missing", promised, expect={"mode": "tee+zk"})
    refuse(
        "mode-is-no-evidence",
        10,
        "evidence-missing",
        unproven,
        policy=cases.policy(setter("require", value=["proof"])),
    )


def main() -> None:
    """Build the packages, prove, and write every case."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        bmi, cancer = build("bmi", home / "bmi"), build("breast_cancer", home / "cancer")
        rescaled = build("bmi", home / "rescaled", scale=bmi.manifest.ezkl.run_args.input_scale - 1)
        world = World(
            key=Ed25519PrivateKey.generate(),
            second=Ed25519PrivateKey.generate(),
            revoked=Ed25519PrivateKey.generate(),
            expired=Ed25519PrivateKey.generate(),
            stranger=Ed25519PrivateKey.generate(),
            bmi=bmi,
            rescaled=rescaled,
            cancer=cancer,
        )
        prover = Prover(home)
        receipts = []
        for package in (bmi, cancer):
            inputs = quantised(package, raw_sample(package))
            predicate = predicate_of(world, package, inputs, prover.outputs(package, inputs))
            statement = statement_bytes(predicate)
            proof = prover.evidence(package, inputs, statement)
            receipts.append(
                (predicate, {"envelope": envelope(statement, world.key), "evidence": {EZKL_KIND: proof}})
            )
        (predicate, honest), (_, cancer_receipt) = receipts

        for name in ("shared", "cases"):
            shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / "shared").mkdir()
        policy = policy_of(world)
        (HERE / "shared" / "policy.json").write_text(json.dumps(policy) + "\n")
        # The operator's own key, so that tests can sign lies as the operator would. It signs nothing else.
        (HERE / "shared" / "operator.pem").write_bytes(
            world.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        for package in (bmi, cancer):
            folder = HERE / "shared" / "bundles" / package.digest
            folder.mkdir(parents=True)
            for file, data in read_files(package.folder / "verify").items():
                (folder / file).write_bytes(data)
        cases = Cases(HERE / "cases", world, policy, honest)
        acceptances(cases, world, honest, cancer_receipt)
        step_1(cases, predicate, honest)
        steps_2_to_4(cases, world)
        step_5(cases, world, cancer_receipt)
        step_5_fp32(cases)
        steps_6_to_10(cases, world, prover, predicate, honest)
        hidden.add(world.key, home)
        sumcheck_receipts.add(world.key)
    print(f"{len(list((HERE / 'cases').iterdir()))} cases")


if __name__ == "__main__":
    main()
