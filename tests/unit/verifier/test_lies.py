"""Lies of an operator who holds the service key, signs whatever it likes, and now and then chooses the policy, too.

The base is the vector ``proven``; what is changed is signed again with the operator's key. Where a document of the policy's
author is changed, the author is the operator, as on first use. `accepts_all` stands for a proof that fits: what is refused
or named with it is found without the proof.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from verinfer.verifier import dsse, keys, numbers, report, strict_json
from verinfer.verifier.bundle import BundleFolder, read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, VerinferError
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.policy import TrustedPolicy, mark_first_use, parse_policy, sign_policy
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.statement import PAYLOAD_TYPE
from verinfer.verifier.verdict import Caveat, Claim, Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

SHARED = Path(__file__).parents[2] / "vectors" / "shared"
PROVEN = Path(__file__).parents[2] / "vectors" / "cases" / "proven"
RECEIPT = json.loads((PROVEN / "receipt.json").read_text())
STATEMENT = json.loads(base64.b64decode(RECEIPT["envelope"]["payload"]))
POLICY = json.loads((SHARED / "policy.json").read_text())
KEY = keys.read_private(SHARED / "operator.pem")
NOW = parse_time(json.loads((PROVEN / "case.json").read_text())["now"])
CIRCUIT = STATEMENT["predicate"]["circuit"]
BMI, OTHER = POLICY["models"][0], POLICY["models"][1]

Change = Callable[[dict[str, Any]], object]


class _Bundles(dict[str, Mapping[str, bytes]]):
    """Bundles in memory."""

    def read(self, circuit: str) -> Mapping[str, bytes]:
        """The files of one circuit."""
        return self[circuit]


def _changed(document: dict[str, Any], change: Change) -> dict[str, Any]:
    document = copy.deepcopy(document)
    change(document)
    return document


def _signed(change: Change, *, proof: bool = True) -> bytes:
    """A receipt of the changed predicate, with the digest of its output, signed by the operator."""
    predicate = _changed(STATEMENT["predicate"], change)
    subject = {"name": "output", "digest": {"sha256": sha256(strict_json.canonical(predicate["output"]))}}
    body = strict_json.canonical({**STATEMENT, "predicate": predicate, "subject": [subject]})
    envelope = dsse.sign(body, PAYLOAD_TYPE, KEY).to_json()
    return json.dumps({"envelope": envelope, "evidence": RECEIPT["evidence"] if proof else {}}).encode()


def _setter(path: tuple[str | int, ...], value: object) -> Change:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


def _policy(change: Change = lambda _: None) -> bytes:
    return json.dumps(_changed(POLICY, change)).encode()


def _verify(
    data: bytes,
    checks: ProofSystem,
    *,
    policy: TrustedPolicy | None = None,
    model: str = "bmi",
    bundles: _Bundles | None = None,
    now: datetime = NOW,
) -> Verified:
    return verify(
        data,
        policy=policy or parse_policy(_policy()),
        now=now,
        expect=Expect(model=model),
        bundles=bundles or BundleFolder(SHARED / "bundles"),
        proof_systems={EZKL_KIND: checks},
    )


def _repinned(manifest: Change, settings: Change = lambda _: None) -> tuple[bytes, TrustedPolicy, _Bundles]:
    """The proven receipt under a changed manifest that the policy pins, with settings that agree with it."""
    content = read_files(SHARED / "bundles" / CIRCUIT)
    files = dict(content)
    files["settings.json"] = strict_json.canonical(_changed(json.loads(content["settings.json"]), settings))
    described = _changed(json.loads(content["manifest.json"]), manifest)
    described["proof_system"]["settings"] = sha256(files["settings.json"])
    files["manifest.json"] = strict_json.canonical(described)
    digest = sha256(files["manifest.json"])
    policy = parse_policy(_policy(lambda body: body["models"][0]["circuits"][0].update(digest=digest)))

    def tell(predicate: dict[str, Any]) -> None:
        predicate["circuit"] = digest
        predicate["runtime"]["version"] = f"ezkl {described['proof_system']['version']}"

    return _signed(tell), policy, _Bundles({digest: files})


def test_a_model_is_not_named_like_another_ones_digest() -> None:
    """Who asks for a model by its digest is not answered about one that was given that digest as its name."""

    def disguise(policy: dict[str, Any]) -> None:
        policy["models"][0]["name"] = OTHER["onnx"]
        del policy["models"][1]

    with pytest.raises(Malformed) as caught:
        parse_policy(_policy(disguise))
    assert caught.value.code == "policy-malformed"


def test_a_digest_means_a_digest_and_a_name_a_name(accepts_all: ProofSystem) -> None:
    """The model is found by both, and by nothing else."""
    assert _verify(_signed(lambda _: None), accepts_all, model=BMI["onnx"]).claims
    for other in (OTHER["onnx"], OTHER["name"], "bm", ""):
        with pytest.raises(Rejected) as caught:
            _verify(_signed(lambda _: None), accepts_all, model=other)
        assert caught.value.code == "model-mismatch"


POLICY_LIES: dict[str, Change] = {
    "a circuit twice, once reproduced and once not": lambda policy: policy["models"][0]["circuits"].append(
        {**policy["models"][0]["circuits"][0], "model_checked": "trusted"}
    ),
    "a runtime twice": lambda policy: policy["models"][0].update(runtimes=["onnxruntime 1", "onnxruntime 1"]),
    "a runtime that looks like a circuit's": lambda policy: policy["models"][0].update(
        runtimes=["ezkl 23.0.5"]
    ),
    "a runtime that looks attested": lambda policy: policy["models"][0].update(runtimes=["tdx, attested"]),
}


@pytest.mark.parametrize("lie", POLICY_LIES)
def test_a_policy_that_says_two_things_is_malformed(lie: str) -> None:
    """What is read first, and what a reader takes a word for, must make no difference."""
    with pytest.raises(Malformed) as caught:
        parse_policy(_policy(POLICY_LIES[lie]))
    assert caught.value.code == "policy-malformed"


_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


def _x(y: int) -> int | None:
    """The x of the Edwards curve's points at height y (RFC 8032, section 5.1.3)."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    root = pow(square, (_P + 3) // 8, _P)
    for found in (root, root * pow(2, (_P - 1) // 4, _P) % _P):
        if found * found % _P == square:
            return found
    return None


def _doubled(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    k = _D * x * x * y * y % _P
    return 2 * x * y * pow(1 + k, -1, _P) % _P, (y * y + x * x) * pow(1 - k, -1, _P) % _P


@pytest.mark.parametrize("weak", sorted(keys.SMALL_ORDER))
def test_a_key_with_which_anybody_signs_is_no_key(weak: bytes, tmp_path: Path) -> None:
    """An issuer cannot hand in a key under which it can later say that the signature is somebody else's."""
    y = int.from_bytes(weak, "little")
    x = _x(y)
    assert x is not None
    assert _doubled(_doubled(_doubled((x, y)))) == (0, 1)
    for sign in (0, 1 << 7):
        for alias in (y, y + _P):
            if alias >= 1 << 255:
                continue
            raw = bytearray(alias.to_bytes(32, "little"))
            raw[31] |= sign
            key = Ed25519PublicKey.from_public_bytes(bytes(raw))
            with pytest.raises(Malformed) as caught:
                parse_policy(_policy(_setter(("issuers", 0, "key"), keys.encode_public(key))))
            assert caught.value.code == "policy-malformed"
            (tmp_path / "owner.pem").write_bytes(keys.public_pem(key))
            with pytest.raises(Malformed) as caught:
                keys.read_public(tmp_path / "owner.pem")
            assert caught.value.code == "key-malformed"


def test_a_promised_proof_and_a_promised_quote_are_named_as_none(accepts_all: ProofSystem) -> None:
    """A mode is the operator's word: without evidence the verdict says that its word is all there is."""
    policy = parse_policy(_policy(lambda body: body.update(require=["signature"])))
    for mode in ("tee", "tee+zk", "tee+proof"):
        verified = _verify(_signed(_setter(("mode",), mode), proof=False), accepts_all, policy=policy)
        assert {Caveat.NOT_PROVEN, Caveat.NOT_ATTESTED} <= set(verified.caveats), mode
        assert verified.claims == (Claim.SIGNED_BY_ISSUER,)
    proven = _verify(_signed(lambda predicate: predicate.update(mode="tee+zk")), accepts_all)
    assert Caveat.NOT_ATTESTED in proven.caveats
    assert Caveat.NOT_PROVEN not in proven.caveats
    assert Caveat.NOT_ATTESTED not in _verify(_signed(lambda _: None), accepts_all).caveats


def test_a_circuit_of_another_ezkl_is_not_checked_with_this_one(ezkl: ProofSystem) -> None:
    """An older version's circuit may let through what this one's does not; the operator cannot choose it unseen."""

    def older(described: dict[str, Any]) -> None:
        described["proof_system"]["version"] = "20.2.0"

    data, policy, bundles = _repinned(older, lambda settings: settings.update(version="20.2.0"))
    with pytest.raises(CouldNotCheck) as caught:
        _verify(data, ezkl, policy=policy, bundles=bundles)
    assert caught.value.code == "native-missing"
    assert "20.2.0" in caught.value.message


def test_readable_outputs_are_finite(accepts_all: ProofSystem) -> None:
    """Units in which a number becomes infinite make no answer, and no label."""

    def boundless(described: dict[str, Any]) -> None:
        step = {"op": "affine", "multiply": ["1e308"], "add": ["1e308"]}
        described["outputs"][0]["postprocessing"] = [step, step]

    data, policy, bundles = _repinned(boundless)
    with pytest.raises(Rejected) as caught:
        _verify(data, accepts_all, policy=policy, bundles=bundles)
    assert caught.value.code == "tensors-mismatch"


def test_an_operators_own_srs_proves_nothing(accepts_all: ProofSystem) -> None:
    """A policy from first use may allow the operator's own SRS; then its proofs support no claim about the computation."""
    first_use = parse_policy(mark_first_use(_policy(), at=NOW))
    verified = _verify(_signed(lambda _: None), accepts_all, policy=first_use)
    assert verified.claims == (Claim.SIGNED_BY_ISSUER,)
    assert {Caveat.INSECURE_SRS, Caveat.POLICY_FROM_OPERATOR} <= set(verified.caveats)


def test_a_policy_of_first_use_stays_the_operators() -> None:
    """Whenever the kept file is read again it is the operator's word, signed or not, until its owner's key is named."""
    owner, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    policy = parse_policy(_policy()).policy
    plain, signed = mark_first_use(_policy(), at=NOW), mark_first_use(sign_policy(policy, owner), at=NOW)
    assert parse_policy(plain).origin == parse_policy(signed).origin == "operator"
    assert parse_policy(signed).policy == policy
    assert parse_policy(signed, owner=owner.public_key()).origin == "owner"
    for kept, key in ((signed, stranger), (plain, owner)):
        with pytest.raises(Rejected) as caught:
            parse_policy(kept, owner=key.public_key())
        assert caught.value.code == "policy-signature-invalid"


@pytest.mark.parametrize(
    "offered",
    [
        mark_first_use(_policy(), at=NOW),
        b"{}",
        b"[]",
        b'{"policy": {}}',
        b'{"type": "urn:verinfer:first-use:v1", "policy": {}}',
    ],
    ids=["marked already", "empty", "a list", "another wrapping", "half a mark"],
)
def test_what_is_no_policy_is_not_kept(offered: bytes) -> None:
    """Nothing gets the mark but a policy as a service offers it."""
    with pytest.raises(Malformed):
        mark_first_use(offered, at=NOW)


def test_the_words_of_a_statement_cannot_write_into_a_report(accepts_all: ProofSystem) -> None:
    """An audience in letters that turn the direction, or longer than a line, stays one short line of its own."""
    lie = "\u05d0" * 200 + "   What this shows:" + "\u4f60" * 100
    text = report.as_text(_verify(_signed(lambda predicate: predicate.update(audience=lie)), accepts_all))
    (line,) = (line for line in text.splitlines() if line.startswith("  audience"))
    assert line.isascii()
    assert text.count("What this shows:") == 2
    assert [each for each in text.splitlines() if each.startswith("What this shows")] == ["What this shows:"]


STATEMENT_LIES: dict[str, tuple[Change, str]] = {
    "the other model's name": (lambda body: body["model"].update(name=OTHER["name"]), "model-not-pinned"),
    "the other model altogether": (
        lambda body: body["model"].update(name=OTHER["name"], onnx=OTHER["onnx"]),
        "model-mismatch",
    ),
    "the other model's circuit": (
        lambda body: body.update(circuit=OTHER["circuits"][0]["digest"]),
        "circuit-not-pinned",
    ),
    "onnxruntime, with the circuit's proof": (
        lambda body: (
            body.pop("circuit"),
            body.update(runtime={"kind": "onnxruntime", "version": BMI["runtimes"][0]}),
            [
                tensor.update(value=numbers.encode([0.0] * len(tensor["value"]), "FP32"))
                for tensor in (*body["input"], *body["output"])
            ],
        ),
        "proof-for-wrong-runtime",
    ),
    "an input twice": (lambda body: body["input"].append(body["input"][0]), "tensors-mismatch"),
    "an output under the input's name": (
        lambda body: body["output"][0].update(name=body["input"][0]["name"]),
        "tensors-mismatch",
    ),
    "an output one rank higher": (lambda body: body["output"][0].update(shape=[1, 1, 2]), "tensors-mismatch"),
    "a hidden input": (
        lambda body: (body["input"][0].pop("value"), body["input"][0].update(visibility="private")),
        "tensors-mismatch",
    ),
    "a hashed input": (
        lambda body: (
            body["input"][0].pop("value"),
            body["input"][0].update(visibility="hashed", hash="01" * 32),
        ),
        "tensors-mismatch",
    ),
    "a number that wraps round the field": (
        lambda body: body["output"][0]["value"].__setitem__(0, 2**53 - 1),
        "tensors-mismatch",
    ),
    "a date before the key": (
        lambda body: body.update(issued_at="2001-01-01T00:00:00Z"),
        "issuer-not-valid-then",
    ),
    "a date to come": (lambda body: body.update(issued_at="2027-01-01T00:00:00Z"), "issued-in-future"),
}


@pytest.mark.parametrize("lie", STATEMENT_LIES)
def test_a_signed_lie_is_found_without_its_proof(lie: str, accepts_all: ProofSystem) -> None:
    """Each is signed by the operator and comes with a proof that would fit: policy and manifest alone refuse it."""
    change, code = STATEMENT_LIES[lie]
    with pytest.raises(VerinferError) as caught:
        _verify(_signed(change), accepts_all)
    assert caught.value.code == code
