"""Policies, manifests, settings, specs and bundles: each rule of a document has a document that breaks only this rule.

The bases are the vectors' own policy and bundle, which are valid.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from verinfer.verifier import dsse, keys, strict_json
from verinfer.verifier.bundle import BundleFolder, open_bundle, read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, VerinferError
from verinfer.verifier.manifest import parse_manifest
from verinfer.verifier.model_spec import parse_spec
from verinfer.verifier.policy import POLICY_PAYLOAD_TYPE, parse_policy, sign_policy
from verinfer.verifier.settings import canonical_settings, check_settings
from verinfer.verifier.srs import provenance

SHARED = Path(__file__).parents[2] / "vectors" / "shared"
ZOO = Path(__file__).parents[3] / "models" / "zoo"
POLICY = json.loads((SHARED / "policy.json").read_text())


def _called(manifest: bytes) -> str:
    """A bundle's name here: its model's, and how it hides inputs."""
    found = parse_manifest(manifest)
    return found.model.name if found.visibility == "public" else f"{found.model.name}-{found.visibility}"


BUNDLES = {
    _called((home / "manifest.json").read_bytes()): read_files(home)
    for home in (SHARED / "bundles").iterdir()
}
OWNER, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

X25519_SPKI = base64.b64encode(
    X25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()

Change = Callable[[Any], object]


def _changed(document: Any, change: Change) -> Any:
    document = copy.deepcopy(document)
    change(document)
    return document


def _first_issuer(**changes: str) -> Change:
    return lambda policy: policy["issuers"][0].update(changes)


POLICY_RULES: dict[str, Change] = {
    "unknown field": lambda policy: policy.update(note="x"),
    "missing field": lambda policy: policy.pop("revoked"),
    "no models": lambda policy: policy.update(models=[]),
    "no issuers": lambda policy: policy.update(issuers=[]),
    "nothing required": lambda policy: policy.update(require=[]),
    "unknown requirement": lambda policy: policy.update(require=["trust"]),
    "unknown relaxation": lambda policy: policy.update(relaxations=["allow_all"]),
    "requirement twice": lambda policy: policy.update(require=["proof", "proof"]),
    "model twice": lambda policy: policy["models"].append({**policy["models"][0], "name": "other"}),
    "model name twice": lambda policy: policy["models"].append({**policy["models"][0], "onnx": "0" * 64}),
    "issuer twice": lambda policy: policy["issuers"].append(policy["issuers"][0]),
    "serial zero": lambda policy: policy.update(serial=0),
    "age beyond counting": lambda policy: policy.update(max_age=10**11),
    "window backwards": _first_issuer(valid_from="2027-01-02T00:00:00Z", valid_until="2027-01-01T00:00:00Z"),
    "window empty": _first_issuer(valid_from="2027-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z"),
    "key is no key": _first_issuer(key="AAAA"),
    "key of another algorithm": _first_issuer(key=X25519_SPKI),
    "key with a space": lambda policy: policy["issuers"][0].update(key=policy["issuers"][0]["key"] + " "),
    "model checked otherwise": lambda policy: policy["models"][0]["circuits"][0].update(model_checked="yes"),
}


@pytest.mark.parametrize("rule", POLICY_RULES)
def test_a_policy_that_breaks_a_rule_is_malformed(rule: str) -> None:
    """Emptiness, repeats, unknown words and impossible windows are never trivially accepted."""
    with pytest.raises(Malformed) as caught:
        parse_policy(json.dumps(_changed(POLICY, POLICY_RULES[rule])).encode())
    assert caught.value.code == "policy-malformed"


def test_a_policy_is_trusted_for_what_was_checked() -> None:
    """Plain is local; signed by the pinned owner is the owner's; signed without a pinned owner says so."""
    plain = json.dumps(POLICY).encode()
    policy = parse_policy(plain).policy
    signed = sign_policy(policy, OWNER)
    assert parse_policy(plain).origin == "local"
    assert parse_policy(signed, owner=OWNER.public_key()).origin == "owner"
    assert parse_policy(signed).origin == "owner-not-pinned"
    assert parse_policy(signed, owner=OWNER.public_key()).policy == policy


def test_another_owners_policy_is_refused() -> None:
    """With a pinned owner neither a stranger's signature, a changed payload nor an unsigned policy will do."""
    policy = parse_policy(json.dumps(POLICY).encode()).policy
    mine = json.loads(sign_policy(policy, OWNER))
    lie = policy.model_copy(update={"serial": policy.serial + 1})
    changed = {**mine, "payload": json.loads(sign_policy(lie, OWNER))["payload"]}
    claimed = json.loads(sign_policy(policy, STRANGER))
    claimed["signatures"][0]["keyid"] = keys.key_id(OWNER.public_key())
    for document in (json.loads(sign_policy(policy, STRANGER)), claimed, changed, POLICY):
        with pytest.raises(Rejected) as caught:
            parse_policy(json.dumps(document).encode(), owner=OWNER.public_key())
        assert caught.value.code == "policy-signature-invalid"


def test_a_signature_over_another_type_is_no_policy() -> None:
    """The owner's signature on something else cannot be passed off as a policy."""
    envelope = dsse.sign(json.dumps(POLICY).encode(), "application/json", OWNER).canonical()
    with pytest.raises(Malformed) as caught:
        parse_policy(envelope, owner=OWNER.public_key())
    assert caught.value.code == "envelope-malformed"
    good = dsse.sign(json.dumps(POLICY).encode(), POLICY_PAYLOAD_TYPE, OWNER).canonical()
    assert parse_policy(good, owner=OWNER.public_key()).origin == "owner"


def _tensor(index: int, **changes: Any) -> Change:
    return lambda manifest: manifest["layout"][index].update(changes)


def _manifest_arg(**changed: Any) -> Change:
    return lambda manifest: manifest["proof_system"]["run_args"].update(changed)


def _rows(manifest: Any, index: int, count: int) -> list[int]:
    return [count, *manifest["layout"][index]["shape"][1:]]


def _hide(manifest: Any) -> None:
    """Say that nothing of the input is shown."""
    _manifest_arg(input_visibility="private")(manifest)
    _tensor(0, visibility="private")(manifest)


def _as_batch(manifest: Any, count: int) -> None:
    """Say that one proof covers `count` samples."""
    manifest["batch"] = count
    for index in (0, 2):
        manifest["layout"][index]["shape"] = _rows(manifest, index, count)


MANIFEST_RULES: dict[str, Change] = {
    "unknown field": lambda manifest: manifest.update(srs="ceremony"),
    "no challenge": lambda manifest: manifest["layout"].pop(1),
    "two challenges": lambda manifest: manifest["layout"].insert(1, manifest["layout"][1]),
    "challenge first": lambda manifest: manifest["layout"].insert(0, manifest["layout"].pop(1)),
    "challenge renamed": _tensor(1, name="nonce"),
    "challenge shorter": _tensor(1, shape=[1, 8]),
    "challenge as floats": _tensor(1, dtype="FP32"),
    "challenge scaled": _tensor(1, scale=7),
    "tensor unknown": _tensor(0, name="other"),
    "tensor repeated": _tensor(2, name="features"),
    "output named like the input": lambda manifest: (
        manifest["outputs"][0].update(name="features"),
        manifest["layout"][2].update(name="features"),
    ),
    "tensor reshaped": _tensor(2, shape=[2, 1]),
    "tensor retyped": _tensor(2, dtype="INT64"),
    "tensor private": _tensor(0, visibility="private"),
    "tensor sealed": _tensor(0, visibility="sealed"),
    "inputs private, tensor public": _manifest_arg(input_visibility="private"),
    "inputs hashed, tensor private": lambda manifest: (
        _manifest_arg(input_visibility="hashed")(manifest),
        _tensor(0, visibility="private")(manifest),
    ),
    "challenge private": lambda manifest: [
        change(manifest) for change in (_hide, _tensor(1, visibility="private"))
    ],
    "output private": lambda manifest: [
        change(manifest) for change in (_hide, _tensor(2, visibility="private"))
    ],
    "outputs private": _manifest_arg(output_visibility="private"),
    "parameters hashed": _manifest_arg(param_visibility="hashed"),
    "labels too few": lambda manifest: manifest.update(labels=["malignant"]),
    "labels absent": lambda manifest: manifest.pop("labels"),
    "labels for a regression": lambda manifest: manifest.update(task="regression"),
    "a batch of one": lambda manifest: manifest.update(batch=1),
    "a batch beyond reason": lambda manifest: _as_batch(manifest, 601),
    "a batch that no tensor has": lambda manifest: manifest.update(batch=4),
    "rows without a batch": lambda manifest: [
        _tensor(index, shape=_rows(manifest, index, 4))(manifest) for index in (0, 2)
    ],
    "a batch of the inputs only": lambda manifest: (
        manifest.update(batch=4),
        _tensor(0, shape=_rows(manifest, 0, 4))(manifest),
    ),
    "a batch of tensors that have other rows": lambda manifest: manifest.update(
        batch=4,
        outputs=[{**manifest["outputs"][0], "shape": [2, 1]}],
        layout=[
            {**tensor, "shape": {"input": [4, 30], "output": [4, 1]}.get(tensor["role"], tensor["shape"])}
            for tensor in manifest["layout"]
        ],
    ),
    "limb does not fit": lambda manifest: manifest["proof_system"]["run_args"].update(
        decomp_base=2, decomp_legs=15
    ),
    "bound beyond counting": lambda manifest: manifest["proof_system"]["run_args"].update(decomp_legs=65),
    "a table of millions": _manifest_arg(lookup_range=[-(1 << 20), 1 << 20]),
    "a table the wrong way round": _manifest_arg(lookup_range=[5, 4]),
    "digits that are not unique": _manifest_arg(decomp_base=65537),
    "a bound beyond whole floats": _manifest_arg(decomp_base=1 << 18, decomp_legs=3),
    "hundreds of columns": _manifest_arg(num_inner_cols=65),
    "inputs of absurd scale": _manifest_arg(input_scale=65),
    "weights of absurd scale": _manifest_arg(param_scale=-65),
    "hardly ever rebased": _manifest_arg(scale_rebase_multiplier=1001),
    "parameters private": lambda manifest: manifest["proof_system"]["run_args"].update(
        param_visibility="private"
    ),
    "a rewrite with numbers that is no lowering": lambda manifest: manifest["rewrites"].append(
        {"name": "fold", "weights": [1], "fractions": [1], "paired": [0]}
    ),
    "a lowering without numbers": lambda manifest: manifest["rewrites"].append({"name": "fixed-point"}),
    "a lowering with some numbers": lambda manifest: manifest["rewrites"].append(
        {"name": "fixed-point", "weights": [1], "fractions": [1]}
    ),
    "a product neither paired nor not": lambda manifest: manifest["rewrites"].append(
        {"name": "fixed-point", "weights": [1], "fractions": [1], "paired": [2]}
    ),
    "another proof system": lambda manifest: manifest["proof_system"].update(name="trust-me"),
    "another quantisation": lambda manifest: manifest.update(quantisation="bankers"),
    "a quantisation that clamps": lambda manifest: manifest.update(
        quantisation="binary64-half-away-from-zero-clamped"
    ),
    "no wrapped network": lambda manifest: manifest.pop("wrapped_onnx"),
    "a scale below none": _tensor(0, scale=-1),
}


@pytest.mark.parametrize("rule", MANIFEST_RULES)
def test_a_manifest_that_breaks_a_rule_is_malformed(rule: str) -> None:
    """Whoever wrote it: a manifest whose parts do not fit together is never used."""
    base = json.loads(BUNDLES["breast_cancer"]["manifest.json"])
    data = strict_json.canonical(_changed(base, MANIFEST_RULES[rule]))
    with pytest.raises(Malformed) as caught:
        parse_manifest(data)
    assert caught.value.code == "manifest-malformed"


def test_a_manifest_hides_inputs_and_nothing_else() -> None:
    """The counterpart of the rules: run args and layout say the same, of inputs alone."""
    base = json.loads(BUNDLES["breast_cancer"]["manifest.json"])
    _hide(base)
    manifest = parse_manifest(strict_json.canonical(base))
    assert manifest.visibility == "private"
    assert [tensor.visibility for tensor in manifest.layout] == ["private", "public", "public"]


def test_a_batch_has_rows_in_every_tensor() -> None:
    """What is said of one sample holds for each row; the challenge is one for all."""
    base = json.loads(BUNDLES["breast_cancer"]["manifest.json"])
    _as_batch(base, 4)
    manifest = parse_manifest(strict_json.canonical(base))
    assert (manifest.batch, manifest.samples) == (4, 4)
    assert manifest.tensors("input")[0].shape == (4, *manifest.inputs[0].shape[1:])


def test_tensors_stand_in_the_models_order() -> None:
    """Two outputs of one shape cannot change names by changing places."""
    base = json.loads(BUNDLES["bmi"]["manifest.json"])
    second = {**base["outputs"][0], "name": "other"}
    base["outputs"].append(second)
    base["layout"].append({**base["layout"][2], "name": "other"})
    assert parse_manifest(strict_json.canonical(base)).outputs[1].name == "other"
    base["layout"][2], base["layout"][3] = base["layout"][3], base["layout"][2]
    with pytest.raises(Malformed):
        parse_manifest(strict_json.canonical(base))


def test_a_manifest_has_one_spelling() -> None:
    """A blank or another order of keys would be another digest for the same identity."""
    data = BUNDLES["bmi"]["manifest.json"]
    for other in (data + b"\n", json.dumps(json.loads(data)).encode()):
        with pytest.raises(Malformed) as caught:
            parse_manifest(other)
        assert caught.value.code == "manifest-malformed"


def _run_arg(**changes: Any) -> Change:
    return lambda settings: settings["run_args"].update(changes)


SETTINGS_RULES: dict[str, Change] = {
    "range checks off": _run_arg(ignore_range_check_inputs_outputs=True),
    "range checks off, as a number": _run_arg(ignore_range_check_inputs_outputs=1),
    "parameters private": _run_arg(param_visibility="Private"),
    "inputs private": _run_arg(input_visibility="Private"),
    "another base": _run_arg(decomp_base=2),
    "another k": _run_arg(logrows=20),
    "run args gone": lambda settings: settings.pop("run_args"),
    "run args a list": lambda settings: settings.update(run_args=[]),
    "another version": lambda settings: settings.update(version="23.0.4"),
    "another output scale": lambda settings: settings.update(model_output_scales=[1]),
    "another input scale": lambda settings: settings.update(model_input_scales=[1, 0]),
    "an output scale hidden in the run args": lambda settings: (
        settings["run_args"].update(model_output_scales=settings["model_output_scales"]),
        settings.update(model_output_scales=[1]),
    ),
    "another shape": lambda settings: settings.update(model_instance_shapes=[[1, 3], [1, 16], [2, 1]]),
    "hashed inputs": lambda settings: settings.update(module_sizes={"polycommit": [], "poseidon": [1, [1]]}),
    "sizes not numbers": lambda settings: settings.update(num_rows="9"),
    "sizes true": lambda settings: settings.update(num_rows=True),
    "range checks not a list": lambda settings: settings.update(required_range_checks={}),
    "sizes not rounded": lambda settings: settings.update(num_rows=settings["num_rows"] - 1),
    "with a timestamp": lambda settings: settings.update(timestamp=1),
    "a field that EZKL does not write": lambda settings: settings.update(model="other"),
    "a run arg that EZKL does not write": _run_arg(seed=1),
    "a field gone": lambda settings: settings.pop("num_shuffles"),
    "checks of another mode": lambda settings: settings.update(check_mode="SAFE"),
    "fewer blinding factors": lambda settings: settings.update(num_blinding_factors=0),
    "rebased at another scale": _run_arg(rebase_scale=7),
    "another epsilon": _run_arg(epsilon=0.1),
    "the run args' own check of another mode": _run_arg(check_mode="SAFE"),
    "logarithms bounded": _run_arg(bounded_log_lookup=True),
    "whole constants rebased": _run_arg(rebase_frac_zero_constants=True),
    "a larger batch": _run_arg(variables=[["batch_size", 2]]),
    "a challenge of floats": lambda settings: settings.update(input_types=["F32", "F32"]),
}


@pytest.mark.parametrize("rule", SETTINGS_RULES)
def test_settings_that_differ_from_the_manifest_are_malformed(rule: str) -> None:
    """EZKL accepts all of these; a manifest that readers take scales and bounds from does not."""
    content = BUNDLES["bmi"]
    data = strict_json.canonical(_changed(json.loads(content["settings.json"]), SETTINGS_RULES[rule]))
    with pytest.raises(Malformed) as caught:
        check_settings(data, parse_manifest(content["manifest.json"]))
    assert caught.value.code == "settings-malformed"


HASHED_RULES: dict[str, Change] = {
    "inputs public": _run_arg(input_visibility="Public"),
    "inputs private": _run_arg(input_visibility="Private"),
    "a hash that is no instance": _run_arg(
        input_visibility={"Hashed": {"hash_is_public": False, "outlets": []}}
    ),
    "a hash of something else": _run_arg(
        input_visibility={"Hashed": {"hash_is_public": True, "outlets": [0]}}
    ),
    "a hash fewer": lambda settings: settings["module_sizes"].update(poseidon=[1439, [1]]),
    "a hash more": lambda settings: settings["module_sizes"].update(poseidon=[1439, [3]]),
    "no hashes": lambda settings: settings["module_sizes"].update(poseidon=[0, [0]]),
    "hashes twice": lambda settings: settings["module_sizes"].update(poseidon=[1439, [2, 2]]),
    "rows below zero": lambda settings: settings["module_sizes"].update(poseidon=[-1, [2]]),
    "rows beyond any circuit": lambda settings: settings["module_sizes"].update(poseidon=[1 << 27, [2]]),
    "rows as a text": lambda settings: settings["module_sizes"].update(poseidon=["1439", [2]]),
    "rows true": lambda settings: settings["module_sizes"].update(poseidon=[True, [2]]),
    "rows alone": lambda settings: settings["module_sizes"].update(poseidon=[1439]),
    "commitments": lambda settings: settings["module_sizes"].update(polycommit=[1]),
    "no sizes": lambda settings: settings.update(module_sizes=[]),
    "the input shown": lambda settings: settings["model_instance_shapes"].insert(0, [1, 3]),
    "the challenge not shown": lambda settings: settings["model_instance_shapes"].pop(0),
    "the challenge not an output": lambda settings: settings["model_output_scales"].pop(0),
}


@pytest.mark.parametrize("rule", HASHED_RULES)
def test_settings_that_hash_otherwise_than_the_manifest_are_malformed(rule: str) -> None:
    """What is hashed, how often, and what is shown besides follows from the manifest."""
    content = BUNDLES["bmi-hashed"]
    check_settings(content["settings.json"], parse_manifest(content["manifest.json"]))
    data = strict_json.canonical(_changed(json.loads(content["settings.json"]), HASHED_RULES[rule]))
    with pytest.raises(Malformed) as caught:
        check_settings(data, parse_manifest(content["manifest.json"]))
    assert caught.value.code == "settings-malformed"


def test_canonical_settings_do_not_depend_on_the_run() -> None:
    """Times, the order of two arrays, and a row more or less make no difference; doing it twice changes nothing."""
    data = BUNDLES["bmi"]["settings.json"]
    value = json.loads(data)
    assert canonical_settings(data) == data
    value["timestamp"] = 1
    value["num_rows"] -= 1
    value["required_range_checks"].reverse()
    assert canonical_settings(json.dumps(value).encode()) == data


@pytest.mark.parametrize("settings", [b"[]", b"{}", b'{"required_range_checks": [], "required_lookups": 1}'])
def test_what_are_no_settings_are_malformed(settings: bytes) -> None:
    """Any JSON gives settings or an error with the code."""
    with pytest.raises(Malformed) as caught:
        canonical_settings(settings)
    assert caught.value.code == "settings-malformed"


def _input(**changes: Any) -> Change:
    return lambda spec: spec["inputs"][0].update(changes)


SPEC_RULES: dict[str, Change] = {
    "division by zero": _input(preprocessing=[{"op": "affine", "subtract": ["0"], "divide": ["0.0"]}]),
    "a list of another length": _input(
        preprocessing=[{"op": "affine", "subtract": ["0", "1"], "divide": ["1"]}]
    ),
    "no numbers": _input(preprocessing=[{"op": "affine", "subtract": [], "divide": ["1"]}]),
    "a number that is infinite": _input(
        preprocessing=[{"op": "affine", "subtract": ["1e999"], "divide": ["1"]}]
    ),
    "a number that is a float": _input(preprocessing=[{"op": "affine", "subtract": [0.5], "divide": ["1"]}]),
    "fields of another number": _input(raw={"kind": "fields", "fields": ["a"]}),
    "an image of another size": _input(raw={"kind": "image", "width": 3, "height": 2, "maximum": 16}),
    "an unknown kind": _input(raw={"kind": "sound"}),
    "an output like an input": lambda spec: spec["outputs"][0].update(name="features"),
    "output fields of another number": lambda spec: spec["outputs"][0].update(fields=["a", "b", "c"]),
    "output steps of another length": lambda spec: spec["outputs"][0].update(
        postprocessing=[{"op": "affine", "multiply": ["1", "1", "1"], "add": ["0"]}]
    ),
    "a label too many": lambda spec: spec["labels"].append("third"),
    "a regression with labels": lambda spec: spec.update(task="regression"),
    "a classification without": lambda spec: spec.pop("labels"),
    "a title with a line break": lambda spec: spec.update(title="good\nVERIFIED"),
}


@pytest.mark.parametrize("rule", SPEC_RULES)
def test_a_spec_that_breaks_a_rule_is_malformed(rule: str) -> None:
    """A spec whose parts do not fit together is refused before anything is computed with it."""
    base = json.loads((ZOO / "breast_cancer" / "spec.json").read_text())
    with pytest.raises(Malformed) as caught:
        parse_spec(json.dumps(_changed(base, SPEC_RULES[rule])).encode())
    assert caught.value.code in ("spec-malformed", "json-invalid")


def test_a_bundle_that_is_not_there_could_not_be_checked(tmp_path: Path) -> None:
    """A missing folder and a missing file are no verdict, each with its own code."""
    folder = BundleFolder(tmp_path)
    with pytest.raises(CouldNotCheck) as caught:
        folder.read("0" * 64)
    assert caught.value.code == "bundle-missing"
    (tmp_path / ("0" * 64)).mkdir()
    with pytest.raises(CouldNotCheck) as caught:
        folder.read("0" * 64)
    assert caught.value.code == "file-missing"


def test_a_bundle_is_the_pinned_one() -> None:
    """A whole and honest bundle of another circuit is refused by its name."""
    with pytest.raises(Rejected) as caught:
        open_bundle(BUNDLES["bmi"], sha256(BUNDLES["breast_cancer"]["manifest.json"]))
    assert caught.value.code == "bundle-mismatch"


@pytest.mark.parametrize("cut", [b"", bytes(516), b"\x01\x00\x00\x00", b"\x02\x00\x00\x00" + bytes(512)])
def test_what_is_no_cut_is_malformed(cut: bytes) -> None:
    """Neither another length nor another k is a k=1 cut."""
    with pytest.raises(Malformed) as caught:
        provenance(cut)
    assert caught.value.code == "srs-malformed"


def test_a_local_cut_is_not_the_ceremonys() -> None:
    """Provenance is found in the bytes."""
    assert provenance(BUNDLES["bmi"]["kzg1.srs"]) == "insecure-local"


PEM = {
    "empty": b"",
    "text": b"hello",
    "another kind": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("name", PEM)
def test_what_is_no_key_is_malformed(tmp_path: Path, name: str) -> None:
    """Keys are read strictly, private and public."""
    path = tmp_path / "key.pem"
    path.write_bytes(PEM[name])
    for read in (keys.read_public, keys.read_private):
        with pytest.raises(Malformed) as caught:
            read(path)
        assert caught.value.code == "key-malformed"


def test_a_key_of_another_algorithm_is_malformed(tmp_path: Path) -> None:
    """Only Ed25519 signs here."""
    private = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Malformed):
        keys.read_private(path)
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(Malformed):
        keys.read_public(path)


def test_a_made_key_is_private_and_kept(tmp_path: Path) -> None:
    """First use makes the key with mode 0600, the next use reads it."""
    path = tmp_path / "key.pem"
    first = keys.load_or_make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.key_id(keys.load_or_make(path).public_key()) == keys.key_id(first.public_key())


def test_errors_carry_declared_codes_only() -> None:
    """An error with a code that nobody documented cannot be made."""
    with pytest.raises(KeyError):
        VerinferError("no-such-code")
