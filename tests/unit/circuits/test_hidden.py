"""Circuits that hide their inputs: the same function of a salted input, what a rebuild confirms, and what they cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.cost import load_coefficients, predict
from verinfer.circuits.estimate import estimate
from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package
from verinfer.circuits.profile import profile
from verinfer.circuits.provers import prover_for
from verinfer.circuits.reproduce import reproduce
from verinfer.verifier.digest import CHALLENGE_NAME
from verinfer.verifier.errors import CouldNotCheck, UsageError

HIDDEN = ["hashed", "private"]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.fixture(params=HIDDEN)
def package(request: pytest.FixtureRequest) -> Package:
    """One that hashes its input, and one that shows nothing of it."""
    found: Package = request.getfixturevalue(f"{request.param}_package")
    return found


def test_a_wrapped_network_shows_the_challenge_and_nothing_of_the_input(package: Package) -> None:
    """The challenge comes out as it goes in, before the model's outputs, and touches nothing else."""
    graph = onnx.load(package.path("wrapped.onnx")).graph
    consumers = [node for node in graph.node if CHALLENGE_NAME in node.input]
    assert [(node.op_type, list(node.output)) for node in consumers] == [("Identity", [graph.output[0].name])]
    assert [value.name for value in graph.output[1:]] == [item.name for item in package.manifest.outputs]
    assert [value.name for value in graph.input] == ["habits", CHALLENGE_NAME]
    width = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    assert width == (3 + 16 if package.manifest.visibility == "hashed" else 3)


def test_the_salt_changes_no_answer(hashed_package: Package) -> None:
    """Behind the values anything may stand; the network computes what the given one does of the values."""
    given, wrapped = (
        onnxruntime.InferenceSession(hashed_package.path(name)) for name in ("network.onnx", "wrapped.onnx")
    )
    random = np.random.default_rng(1)
    values = random.normal(size=(1, 3)).astype(np.float32)
    limbs = np.arange(16, dtype=np.int64).reshape(1, 16)
    (wanted,) = given.run(None, {"habits": values})
    for salt in (np.zeros((1, 16), np.float32), random.normal(size=(1, 16)).astype(np.float32)):
        fed = {"habits": np.concatenate([values, salt], axis=1), CHALLENGE_NAME: limbs}
        shown, answer = wrapped.run(None, fed)
        assert shown.tolist() == limbs.tolist()
        np.testing.assert_allclose(answer, wanted, rtol=1e-5)


def test_a_rebuild_confirms_what_is_hidden(package: Package, quick: Path) -> None:
    """`reproduce` wraps, hashes and sets up again as the manifest says, and gives its digest."""
    found = reproduce(package, quick / "network.onnx", spec=None, on_progress=lambda _phase, _share: None)
    assert (found.circuit, found.fidelity.samples) == (package.digest, 32)


def test_a_pass_that_gives_something_else_with_the_challenge_is_not_proven(
    package: Package, place: Workplace
) -> None:
    """A hidden challenge needs a second forward pass, which must give what the first one did."""
    prover = prover_for(package.manifest)
    inputs = {"habits": (1, 2, 3, *[4] * 16) if package.manifest.visibility == "hashed" else (1, 2, 3)}
    witness = prover.forward(package, inputs, place)
    lie = replace(witness, outputs={"body": (1, 2)})
    with pytest.raises(CouldNotCheck) as caught:
        prover.prove(package, lie, bytes([7] * 32), place, lambda _phase, _share: None)
    assert caught.value.code == "circuit-inconsistent"


def test_an_unusual_input_is_told_with_its_layer(package: Package, place: Workplace) -> None:
    """The salt behind the values does not hide where they leave the circuit's range."""
    salt = (4,) * 16 if package.manifest.visibility == "hashed" else ()
    largest = package.manifest.proof_system.bound - 1
    with pytest.raises(UsageError) as caught:
        prover_for(package.manifest).forward(package, {"habits": (*[largest] * 3, *salt)}, place)
    assert caught.value.code == "value-out-of-range"
    assert "(unknown)" not in caught.value.message


def test_weights_that_are_listed_as_inputs_get_no_salt(place: Workplace) -> None:
    """An older file names its initializers among its inputs; only what a client sends is salted, each tensor apart."""
    value = helper.make_tensor_value_info
    inputs = [value("x", FLOAT, [1, 3]), value("n", INT64, [1, 2]), value("w", FLOAT, [3, 2])]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Cast", ["n"], ["f"], to=FLOAT),
        helper.make_node("Add", ["h", "f"], ["y"]),
    ]
    weights = [numpy_helper.from_array(np.ones((3, 2), np.float32), "w")]
    graph = helper.make_graph(nodes, "g", inputs, [value("y", FLOAT, [1, 2])], weights)
    given, wrapped = place.directory / "given.onnx", place.directory / "wrapped.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), given)
    place.onnx("wrap", model=given, output=wrapped, inputs="hashed")
    salted = onnx.load(wrapped).graph
    sizes = {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in salted.input
        if item.name != CHALLENGE_NAME
    }
    assert sizes == {"x": [1, 19], "n": [1, 18], "w": [3, 2]}
    fed = place.directory / "fed.npz"
    np.savez(
        fed,
        allow_pickle=False,
        x=np.ones((2, 1, 3), np.float32),
        n=np.ones((2, 1, 2), np.int64),
        **{CHALLENGE_NAME: np.zeros((2, 1, 16), np.int64)},
    )
    assert place.onnx("compare", first=given, second=wrapped, inputs=fed) == 0


def test_a_profile_names_the_hash(hashed_package: Package, place: Workplace) -> None:
    """Its rows are often what a small circuit's size follows from; the outputs are checked with the last node."""
    args = hashed_package.manifest.ezkl.run_args.to_json()
    layers = profile(hashed_package.path("wrapped.onnx"), args, place)
    settings = json.loads(hashed_package.path("verify/settings.json").read_bytes())
    assert (layers[-1].operator, layers[-1].cells) == ("POSEIDON", settings["module_sizes"]["poseidon"][0])
    assert layers[-2].name.endswith(", outputs")
    assert "challenge" in {layer.name for layer in layers}


def test_the_cost_of_a_hash_is_known_beforehand(hashed_package: Package, quick: Path) -> None:
    """Poseidon's columns and its rows, which no further column makes fewer, are in every estimate."""
    settings = json.loads(hashed_package.path("verify/settings.json").read_bytes())
    found = predict(settings, load_coefficients())
    assert found.vk_bytes == len(hashed_package.bundle.files["vk.key"])
    assert found.pk_bytes == pytest.approx(hashed_package.path("pk.key").stat().st_size, rel=0.02)
    assert found.proof_bytes == pytest.approx(hashed_package.manifest.ezkl.proof_bytes, rel=0.05)
    plain, hashed = estimate(quick), estimate(quick, inputs="hashed")
    assert 1 << hashed.cost.logrows > settings["module_sizes"]["poseidon"][0]
    assert hashed.cost.pk_bytes > plain.cost.pk_bytes


def test_the_card_says_what_is_hidden(package: Package) -> None:
    """As a fact, and with the caveat that hiding is not all."""
    card = json.loads(package.path("card.json").read_bytes())
    assert card["inputs"] == package.manifest.visibility
    assert any("may confirm it by a proof" in caveat for caveat in card["caveats"])
