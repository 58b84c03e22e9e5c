"""Receipts with proofs of verinfer-sc/1: the manifest, the bundle, the integers, and what a verdict says of them.

The base is the vector ``sc-proven``, whose network, weights and lies `tests.vectors.sumcheck_receipts` makes.
"""

from __future__ import annotations

import base64
import copy
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verinfer.circuits.sumcheck.quantise import Quantised
from verinfer.verifier import dsse, keys, numbers, report, strict_json
from verinfer.verifier.bundle import BundleFolder, open_bundle, read_files
from verinfer.verifier.digest import challenge, challenge_bytes, sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, UsageError, VerinferError
from verinfer.verifier.evidence import EZKL_KIND, SUMCHECK_KIND, Proof
from verinfer.verifier.manifest import Manifest, parse_manifest
from verinfer.verifier.policy import Origin, parse_policy
from verinfer.verifier.proof_systems import SYSTEMS, ProofSystem
from verinfer.verifier.quantise import to_integers
from verinfer.verifier.receipt import parse_receipt
from verinfer.verifier.statement import PAYLOAD_TYPE
from verinfer.verifier.sumcheck_files import check_description
from verinfer.verifier.sumcheck_proof import PROOF_LIMIT, SumcheckCheck
from verinfer.verifier.sumcheck_system import SumcheckSystem
from verinfer.verifier.verdict import Caveat, Claim, Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

VECTORS = Path(__file__).parents[2] / "vectors"
RECEIPTS = VECTORS / "sumcheck" / "receipts"
CASE = RECEIPTS / "cases" / "sc-proven"
RECEIPT = json.loads((CASE / "receipt.json").read_text())
STATEMENT = json.loads(base64.b64decode(RECEIPT["envelope"]["payload"]))
NOW = parse_time(json.loads((CASE / "case.json").read_text())["now"])
POLICY = json.loads((RECEIPTS / "shared" / "policy.json").read_text())
KEY = keys.read_private(VECTORS / "shared" / "operator.pem")
CIRCUIT = STATEMENT["predicate"]["circuit"]
FILES = read_files(RECEIPTS / "shared" / "bundles" / CIRCUIT)
MANIFEST = parse_manifest(FILES["manifest.json"])

Change = Callable[[dict[str, Any]], object]


class _Bundles(dict[str, Mapping[str, bytes]]):
    """Bundles in memory."""

    def read(self, circuit: str) -> Mapping[str, bytes]:
        """The files of one circuit."""
        return self[circuit]


ALL = _Bundles(
    {
        home.name: read_files(home)
        for vectors in (VECTORS, RECEIPTS)
        for home in (vectors / "shared" / "bundles").iterdir()
    }
)


def _changed(document: Any, change: Change) -> Any:
    document = copy.deepcopy(document)
    change(document)
    return document


def _verify(
    receipt: Any = RECEIPT,
    *,
    policy: Any = POLICY,
    origin: Origin = "local",
    systems: Mapping[str, ProofSystem] = SYSTEMS,
    **expect: Any,
) -> Verified:
    return verify(
        json.dumps(receipt).encode(),
        policy=replace(parse_policy(json.dumps(policy).encode()), origin=origin),
        now=NOW,
        expect=Expect(model="bmi", **expect),
        bundles=ALL,
        proof_systems=systems,
    )


def _signed(predicate: Any) -> dict[str, Any]:
    """The receipt of another predicate, with its output's digest, signed by the operator."""
    subject = {"name": "output", "digest": {"sha256": sha256(strict_json.canonical(predicate["output"]))}}
    body = strict_json.canonical({**STATEMENT, "predicate": predicate, "subject": [subject]})
    return {**RECEIPT, "envelope": dsse.sign(body, PAYLOAD_TYPE, KEY).to_json()}


def _system(**changes: Any) -> Change:
    return lambda manifest: manifest["proof_system"].update(changes)


def _numbers(**changes: Any) -> Change:
    return lambda manifest: manifest["proof_system"]["numbers"].update(changes)


ONE = numbers.to_binary64(1.0)

MANIFEST_RULES: dict[str, Change] = {
    "a wrapped network": lambda manifest: manifest.update(wrapped_onnx="0" * 64),
    "EZKL's quantisation": lambda manifest: manifest.update(quantisation="binary64-half-away-from-zero"),
    "a rewrite": lambda manifest: manifest["rewrites"].append({"name": "fold"}),
    "a batch": lambda manifest: manifest.update(batch=2),
    "a challenge": lambda manifest: manifest["layout"].insert(
        1,
        {
            "name": "verinfer_challenge",
            "role": "challenge",
            "shape": [1, 16],
            "dtype": "INT64",
            "scale": 0,
            "visibility": "public",
        },
    ),
    "two inputs": lambda manifest: (
        manifest["inputs"].append({**manifest["inputs"][0], "name": "more"}),
        manifest["layout"].insert(1, {**manifest["layout"][0], "name": "more"}),
    ),
    "a hashed input": lambda manifest: manifest["layout"][0].update(visibility="hashed"),
    "a private input": lambda manifest: manifest["layout"][0].update(visibility="private"),
    "a private output": lambda manifest: manifest["layout"][1].update(visibility="private"),
    "a scale beyond reason": lambda manifest: manifest["layout"][0].update(scale=-65),
    "EZKL's fields": _system(vk="0" * 64),
    "a root that is too short": _system(root="00" * 31),
    "a root in capitals": _system(root="AB" * 32),
    "no root": lambda manifest: manifest["proof_system"].pop("root"),
    "no bits of input": _system(input_bits=0),
    "17 bits of input": _system(input_bits=17),
    "a zero beyond the bits": _system(input_zero=1 << 8),
    "a zero below none": _system(input_zero=-1),
    "security in words": _system(security_bits="100"),
    "4 bits": _numbers(bits=4),
    "17 bits": _numbers(bits=17),
    "limbs of 4 bits": _numbers(limb_bits=4),
    "no stages": _numbers(widths=[], outputs=[]),
    "a stage without a range": lambda manifest: manifest["proof_system"]["numbers"]["outputs"].pop(),
    "a width of 0": lambda manifest: manifest["proof_system"]["numbers"]["widths"].__setitem__(0, 0),
    "a width of 17": lambda manifest: manifest["proof_system"]["numbers"]["widths"].__setitem__(0, 17),
    "a range of one number": _numbers(given=[ONE]),
    "a range of three numbers": _numbers(given=[ONE] * 3),
    "a number as a number": _numbers(given=[1, 2]),
    "a number in capitals": _numbers(given=[ONE.upper(), ONE.upper()]),
    "a number that is too short": _numbers(given=[ONE[:-2], ONE[:-2]]),
    "NaN": _numbers(given=["7ff8000000000000", "7ff8000000000000"]),
    "infinity": _numbers(given=[ONE, "7ff0000000000000"]),
    "negative infinity": _numbers(given=["fff0000000000000", ONE]),
    "no numbers": lambda manifest: manifest["proof_system"].pop("numbers"),
    "something more": _numbers(seed=1),
}


@pytest.mark.parametrize("rule", MANIFEST_RULES)
def test_a_manifest_of_ours_that_breaks_a_rule_is_malformed(rule: str) -> None:
    """What the two systems have apart is never mixed, and a number that is no number is none."""
    changed = _changed(json.loads(FILES["manifest.json"]), MANIFEST_RULES[rule])
    with pytest.raises(Malformed) as caught:
        parse_manifest(strict_json.canonical(changed))
    assert caught.value.code == "manifest-malformed"


def test_manifests_keep_their_digest() -> None:
    """Reading and writing gives the same bytes, of the circuits that were made before there was a second system, too."""
    assert {"ezkl-halo2-kzg", "verinfer-sc-1"} == {
        parse_manifest(files["manifest.json"]).proof_system.name for files in ALL.values()
    }
    for circuit, files in ALL.items():
        manifest = parse_manifest(files["manifest.json"])
        assert (manifest.digest, manifest.canonical()) == (circuit, files["manifest.json"])


def test_ezkls_part_of_a_manifest_is_not_ours() -> None:
    """What only EZKL's circuits have is refused with a code, not looked for in vain."""
    with pytest.raises(UsageError) as caught:
        _ = MANIFEST.ezkl
    assert caught.value.code == "system-unsuitable"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_recorded_number_is_the_very_same(number: float) -> None:
    """To the last bit, the sign of zero too."""
    text = numbers.to_binary64(number)
    assert struct.pack("<d", numbers.from_binary64(text)) == struct.pack("<d", number)


def _imported(manifest: Manifest) -> Quantised:
    """The importer's view of a manifest's input."""
    system, (tensor,) = manifest.proof_system, manifest.tensors("input")
    assert isinstance(system, SumcheckSystem)
    return Quantised({"in_bits": system.input_bits}, {}, tensor.scale, system.input_zero, 0)


EDGES = [
    0.0,
    -0.0,
    0.5 / 64,
    -0.5 / 64,
    0.49999999999999994 / 64,
    1e308,
    -1e308,
    5e-324,
    159.5 / 64,
    -96.5 / 64,
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.floats(-4, 4), min_size=1, max_size=8))
def test_who_imports_and_who_verifies_have_the_same_integers(values: list[float]) -> None:
    """Every finite number becomes an integer that the network takes: rounded half away from zero, then clamped."""
    (tensor,) = MANIFEST.tensors("input")
    values += EDGES
    mine = to_integers(MANIFEST, tensor, values)
    low, high = MANIFEST.proof_system.input_range
    assert all(low <= value <= high for value in mine)
    with np.errstate(over="ignore"):
        theirs = _imported(MANIFEST).admit(np.array(values)).tolist()
    assert [value - low for value in mine] == theirs


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_is_not_finite_has_no_integer(value: float) -> None:
    """Clamping is for numbers; the error names the value."""
    (tensor,) = MANIFEST.tensors("input")
    with pytest.raises(UsageError) as caught:
        to_integers(MANIFEST, tensor, [0.0, value])
    assert (caught.value.code, caught.value.field) == ("value-not-finite", "habits[1]")


def test_ezkls_integers_are_still_not_clamped() -> None:
    """What EZKL's circuit cannot hold is refused."""
    manifest = next(parse_manifest(files["manifest.json"]) for files in ALL.values() if "vk.key" in files)
    tensor = manifest.tensors("input")[0]
    with pytest.raises(UsageError) as caught:
        to_integers(manifest, tensor, [2.0**60])
    assert caught.value.code == "value-out-of-range"


def test_coarse_inputs_have_scales_below_none() -> None:
    """A network may take thousands as they are; EZKL's have no such scales."""
    coarse = _changed(json.loads(FILES["manifest.json"]), lambda body: body["layout"][0].update(scale=-3))
    manifest = parse_manifest(strict_json.canonical(coarse))
    assert to_integers(manifest, manifest.tensors("input")[0], [100.0, -12.0, 3.0]) == (13, -2, 0)
    ezkl = next(json.loads(files["manifest.json"]) for files in ALL.values() if "vk.key" in files)
    with pytest.raises(Malformed, match="negative"):
        parse_manifest(strict_json.canonical(_changed(ezkl, lambda body: body["layout"][0].update(scale=-3))))


def test_both_systems_bind_the_same_challenge() -> None:
    """EZKL's limbs are the 32 bytes, two by two."""
    nonce, digest = "5eed" * 16, "0123" * 16
    limbs = challenge(nonce, digest)
    assert b"".join(limb.to_bytes(2) for limb in limbs) == challenge_bytes(nonce, digest)


def test_a_bundle_of_ours_has_no_srs() -> None:
    """Nobody can have a trapdoor, so nothing is insecure; and what lies beside its files is left out."""
    bundle = open_bundle({**FILES, "vk.key": b"another system's"}, CIRCUIT)
    assert (bundle.provenance, bundle.insecure_srs) == ("transparent", False)
    assert set(bundle.files) == {"manifest.json", "description.json", "key.proof"}


@pytest.mark.parametrize("file", ["description.json", "key.proof"])
def test_a_bundle_without_one_of_its_files_is_not_opened(file: str, tmp_path: Path) -> None:
    """It is no verdict, and the error names the file."""
    home = tmp_path / CIRCUIT
    home.mkdir()
    for name, data in FILES.items():
        if name != file:
            (home / name).write_bytes(data)
    with pytest.raises(CouldNotCheck, match=file) as caught:
        open_bundle(BundleFolder(tmp_path).read(CIRCUIT), CIRCUIT)
    assert caught.value.code == "file-missing"


@pytest.mark.parametrize(
    ("file", "size"), [("description.json", (1 << 16) + 1), ("key.proof", (4 << 20) + 1)]
)
def test_a_bundles_files_have_a_size(file: str, size: int, tmp_path: Path) -> None:
    """More is not read."""
    home = tmp_path / CIRCUIT
    home.mkdir()
    for name, data in {**FILES, file: bytes(size)}.items():
        (home / name).write_bytes(data)
    with pytest.raises(Malformed) as caught:
        BundleFolder(tmp_path).read(CIRCUIT)
    assert caught.value.code == "too-large"


NETWORKS: dict[str, tuple[Change, str, str]] = {
    "another input": (lambda network: network.update(in_dims=[4]), "description-malformed", "input"),
    "another output": (
        lambda network: network["layers"][-1].update(nout=3),
        "description-malformed",
        "output",
    ),
    "wider inputs": (lambda network: network.update(in_bits=9), "description-malformed", "input_bits"),
    "wider limbs": (lambda network: network.update(t=9), "description-malformed", "limb_bits"),
    "a layer less": (lambda network: network["layers"].pop(1), "description-malformed", "stages"),
    "fewer queries": (lambda network: network["pcs"].update(queries=123), "security-too-low", "pcs"),
    "less work": (lambda network: network["pcs"].update(pow_bits=15), "security-too-low", "pcs"),
    "parameters of our own": (lambda network: network["pcs"].update(queries=200), "security-too-low", "pcs"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_description_is_of_the_network_that_the_manifest_speaks_of(case: str) -> None:
    """A publisher who pins another one is found by shapes, bits and level, before any proof."""
    change, code, field = NETWORKS[case]
    check_description(FILES["description.json"], MANIFEST)
    network = _changed(json.loads(FILES["description.json"]), change)
    data = json.dumps(network, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(VerinferError) as caught:
        check_description(data, MANIFEST)
    assert (caught.value.code, caught.value.field) == (code, field)


@settings(max_examples=25, deadline=None)
@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_key_proof_is_accepted(position: int, bit: int) -> None:
    """The key proof has no digest in the manifest: it proves itself, wherever it came from."""
    bent = bytearray(FILES["key.proof"])
    bent[position % len(bent)] ^= 1 << bit
    with pytest.raises(Rejected) as caught:
        open_bundle({**FILES, "key.proof": bytes(bent)}, CIRCUIT)
    assert (caught.value.code, caught.value.field) == ("bundle-mismatch", "key.proof")


@settings(max_examples=25, deadline=None)
@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_proof_is_accepted(position: int, bit: int) -> None:
    """One flipped bit anywhere makes it a proof of nothing."""
    proof = bytearray(base64.b64decode(RECEIPT["evidence"][SUMCHECK_KIND]["proof"]))
    proof[position % len(proof)] ^= 1 << bit
    with pytest.raises(Rejected) as caught:
        _verify({**RECEIPT, "evidence": {SUMCHECK_KIND: Proof.of(bytes(proof)).to_json()}})
    assert caught.value.code == "proof-invalid"


def test_a_proof_has_a_size() -> None:
    """What is longer than any honest proof is refused before it is looked at."""
    receipt = parse_receipt(json.dumps(RECEIPT).encode())
    with pytest.raises(Rejected, match="bytes at most") as caught:
        SumcheckCheck().check(
            receipt.statement, open_bundle(FILES, CIRCUIT), Proof.of(bytes(PROOF_LIMIT + 1))
        )
    assert caught.value.code == "proof-invalid"


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [leaf for key, item in items for leaf in _leaves(item, (*path, key))] or [path]


def _other(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    middle = len(value) // 2
    return value[:middle] + ("1" if value[middle] != "1" else "2") + value[middle + 1 :]


@pytest.mark.parametrize("path", _leaves(STATEMENT["predicate"]), ids=lambda path: ".".join(map(str, path)))
def test_no_value_of_a_statement_changes_although_it_is_signed_again(path: tuple[Any, ...]) -> None:
    """The operator signs what it likes; the proof is of this statement and no other."""
    predicate = copy.deepcopy(STATEMENT["predicate"])
    place = predicate
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = _other(place[path[-1]])
    assert _verify(_signed(STATEMENT["predicate"])).claims
    with pytest.raises(VerinferError):
        _verify(_signed(predicate))


def test_a_verdict_says_what_the_proof_system_does_not_do() -> None:
    """Not zero-knowledge and not audited, in place of what is said of EZKL; nothing of an SRS."""
    verified = _verify(mode="proof")
    assert {Caveat.INTEGRITY_ONLY_PROOF, Caveat.PROOF_SYSTEM_UNAUDITED} <= set(verified.caveats)
    assert not {Caveat.PROOF_SYSTEM_OPEN_RISKS, Caveat.INSECURE_SRS} & set(verified.caveats)
    text = report.as_text(verified)
    assert "runtime    verinfer-sc/1; asked for mode proof" in text
    assert "! integrity-only-proof: " in text
    assert "! proof-system-unaudited: " in text


def test_without_a_proof_nothing_is_said_of_the_proof_system() -> None:
    """Its caveats are a proof's."""
    unproven = {**RECEIPT, "evidence": {}}
    verified = _verify(unproven, policy={**POLICY, "require": ["signature"]})
    assert Caveat.NOT_PROVEN in verified.caveats
    assert not {Caveat.INTEGRITY_ONLY_PROOF, Caveat.PROOF_SYSTEM_UNAUDITED} & set(verified.caveats)


def test_an_operators_policy_has_no_srs_to_forge_with() -> None:
    """On first use a proof of ours shows what the circuit computed, and not whose circuit it is."""
    claims = _verify(origin="operator").claims
    assert Claim.COMPUTED_BY_CIRCUIT in claims
    assert Claim.COMPUTED_BY_MODEL not in claims


EZKL_RECEIPT = json.loads((VECTORS / "cases" / "proven" / "receipt.json").read_text())
EZKL_POLICY = json.loads((VECTORS / "shared" / "policy.json").read_text())


def _both() -> dict[str, Any]:
    """A policy that pins a model's circuits of both systems."""
    policy: dict[str, Any] = copy.deepcopy(POLICY)
    policy["models"][0]["circuits"] += EZKL_POLICY["models"][0]["circuits"]
    return {
        **policy,
        "proof_systems": ["verinfer-sc-1", "ezkl-halo2-kzg"],
        "relaxations": ["allow_insecure_srs"],
        # The vectors of the two systems were made at different times.
        "max_age": 10**9,
    }


def test_a_policy_may_name_both_systems(accepts_all: ProofSystem) -> None:
    """Each receipt is checked by the system of its circuit, and has that system's caveats."""
    systems = {**SYSTEMS, EZKL_KIND: accepts_all}
    assert Caveat.PROOF_SYSTEM_UNAUDITED in _verify(policy=_both(), systems=systems).caveats
    assert Caveat.PROOF_SYSTEM_OPEN_RISKS in _verify(EZKL_RECEIPT, policy=_both(), systems=systems).caveats


@pytest.mark.parametrize(
    ("receipt", "named"),
    [
        (RECEIPT, ["ezkl-halo2-kzg"]),
        (RECEIPT, None),
        (EZKL_RECEIPT, ["verinfer-sc-1"]),
    ],
    ids=["ours under EZKL", "ours under a policy of before", "EZKL's under ours"],
)
def test_a_system_that_the_policy_does_not_name_proves_nothing(
    receipt: Any, named: list[str] | None, accepts_all: ProofSystem
) -> None:
    """Pinning a circuit does not bring a proof system in; without the field EZKL alone counts."""
    policy = _both()
    del policy["proof_systems"]
    if named is not None:
        policy["proof_systems"] = named
    with pytest.raises(Rejected) as caught:
        _verify(receipt, policy=policy, systems={EZKL_KIND: accepts_all, SUMCHECK_KIND: accepts_all})
    assert caught.value.code == "proof-system-not-accepted"


@pytest.mark.parametrize("named", [[], ["verinfer-sc-1"] * 2, ["trust-me"], "verinfer-sc-1", None])
def test_a_policy_names_systems_that_there_are(named: Any) -> None:
    """Once each, and one at least."""
    with pytest.raises(Malformed) as caught:
        parse_policy(json.dumps({**POLICY, "proof_systems": named}).encode())
    assert caught.value.code in ("policy-malformed", "json-invalid")


def test_nothing_of_ours_is_hashed() -> None:
    """Who asks for a hash asked another circuit."""
    with pytest.raises(Rejected) as caught:
        SumcheckCheck().hash_tensors([(1, 2)])
    assert caught.value.code == "visibility-mismatch"
    with pytest.raises(Rejected) as caught:
        _verify(sample={"habits": [1, 2, 3]}, salt="00" * 32)
    assert caught.value.code == "visibility-mismatch"


def test_verifying_needs_neither_numpy_nor_compiled_code() -> None:
    """In a process in which the prover's packages cannot be imported, the command gives its verdict."""
    blocked = ("numpy", "numba", "llvmlite", "ezkl", "onnx", "onnxruntime", "httpx")
    at = json.loads((CASE / "case.json").read_text())["now"]
    shared = RECEIPTS / "shared"
    words = ["verinfer", "verify", str(CASE / "receipt.json"), "--policy", str(shared / "policy.json")]
    words += ["--model", "bmi", "--at", at, "--json"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"sys.argv = {words!r}\n"
        "from verinfer.verifier.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "computed-by-circuit" in json.loads(done.stdout)["claims"]


def test_outputs_are_read_at_the_manifests_scale() -> None:
    """The network's integers, times 2^-scale, in the units that people read."""
    (output,) = _verify().outputs
    scale = MANIFEST.tensors("output")[0].scale
    (spec,) = MANIFEST.outputs
    plain = [value / 2**scale for value in STATEMENT["predicate"]["output"][0]["value"]]
    step = spec.postprocessing[0]
    multiply, add = [float(text) for text in step.multiply], [float(text) for text in step.add]
    assert output.values == tuple(value * a + b for value, a, b in zip(plain, multiply, add, strict=True))
    assert all(map(isfinite, output.values))
