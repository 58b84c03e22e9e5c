"""From an ONNX graph to stages, and from stages to integers whose error is what rounding explains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from verinfer.circuits.sumcheck import reference
from verinfer.circuits.sumcheck.choose import admissible
from verinfer.circuits.sumcheck.description import canon
from verinfer.circuits.sumcheck.network import INPUT, Network, Reals, compute
from verinfer.circuits.sumcheck.prover import Prover, setup
from verinfer.circuits.sumcheck.quantise import Quantised, build, input_numbers, plan
from verinfer.circuits.sumcheck.ranges import observe
from verinfer.verifier.errors import Malformed, Rejected, UsageError
from verinfer.verifier.sumcheck.check import check

from .graphs import examples, fp32, graph, node, read

EXAMPLES = examples()


@pytest.fixture(scope="module", params=EXAMPLES)
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Network, Any, Reals]:
    """Each network of ``graphs``: its stages, the model, and inputs of both signs."""
    shape, nodes, constants = EXAMPLES[request.param]
    model = graph(shape, nodes, constants)
    inputs = np.random.default_rng(1).normal(size=(24, *shape[1:])).astype(np.float32).astype(np.float64)
    return read(model, tmp_path_factory.mktemp(request.param)), model, inputs


def _outputs(network: Network, inputs: Reals) -> Reals:
    return np.concatenate([chunk[-1].reshape(len(chunk[-1]), -1) for chunk in compute(network, inputs)])


def test_stages_compute_what_the_graph_does(example: tuple[Network, Any, Reals]) -> None:
    """Stages give onnxruntime's outputs, whatever kernel, padding, shortcut or moving of cells the graph has."""
    network, model, inputs = example
    assert np.allclose(_outputs(network, inputs), fp32(model, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [6, 9, 12])
def test_integers_are_as_far_from_reals_as_rounding_explains(
    example: tuple[Network, Any, Reals], bits: int
) -> None:
    """Each cell of each layer is within the sum of all roundings before it, at borders and below zero as well."""
    network, _, inputs = example
    network = admissible(network, float(inputs.min()))
    observed, widths = observe(network, inputs), [bits] * len(network.stages)
    made = build(network, observed, bits, bits, widths)
    steps = reference.trace_many(made.description, made.weights, made.admit(inputs))
    scales = [numbers.scale for numbers in plan(network, observed, bits, widths)]
    (exact,) = compute(network, inputs)
    x = made.admit(inputs) - made.input_zero
    integers = [step.out for step in steps]
    errors: list[Reals] = []
    for index, (stage, layer) in enumerate(zip(network.stages, made.description["layers"], strict=True)):
        unit = np.ldexp(scales[index], -layer.get("s", 0))
        given, before = _source(stage.source, x, integers, errors, made)
        error = _carried(network, index, np.abs(given.astype(np.float64)), before, unit)
        if stage.add is not None:
            added, further = _source(stage.add, x, integers, errors, made)
            error = error + further + unit / 2 * np.abs(added)
        if "final" not in layer:
            error = error + scales[index] / 2
        found = integers[index] * scales[index]
        assert (np.abs(found - exact[index]) <= error * (1 + 1e-9) + 1e-12).all(), f"layer {index}"
        errors.append(error)


def _source(
    index: int, x: Any, integers: list[Any], errors: list[Reals], made: Quantised
) -> tuple[Any, Reals]:
    """A layer's integers, and how far they may be from the reals."""
    if index == INPUT:
        return x, np.full(x.shape, np.ldexp(0.5, -made.input_scale))
    return integers[index], errors[index]


def _carried(network: Network, index: int, given: Reals, before: Reals, unit: float) -> Reals:
    """What a stage makes of errors before it, and adds by rounding its weights and bias to multiples of `unit`."""
    stage = network.stages[index]
    alone: dict[str, Any] = {"source": INPUT, "add": None, "low": -np.inf, "high": np.inf}
    if stage.weights is None:
        return _alone(network, index, before, alone)
    assert stage.bias is not None
    absolute = {"weights": np.abs(stage.weights), "bias": np.zeros_like(stage.bias)}
    rounded = {"weights": np.full_like(stage.weights, unit / 2), "bias": np.full_like(stage.bias, unit / 2)}
    return _alone(network, index, before, alone | absolute) + _alone(network, index, given, alone | rounded)


def _alone(network: Network, index: int, inputs: Reals, changes: dict[str, Any]) -> Reals:
    """The outputs of one stage, changed so, for these inputs."""
    stage = network.stages[index]
    one = Network(network.dims(stage.source), (replace(stage, **changes),))
    (found,) = compute(one, inputs)
    return found[0]


def test_more_bits_are_closer(example: tuple[Network, Any, Reals]) -> None:
    """The outputs' largest error shrinks with bits, by far more than half over three of them."""
    network, model, inputs = example
    network, wanted = admissible(network, float(inputs.min())), fp32(model, inputs)
    observed, found = observe(network, inputs), []
    for bits in (6, 9, 12):
        made = build(network, observed, bits, bits, [bits] * len(network.stages))
        outputs = made.real(reference.run_many(made.description, made.weights, made.admit(inputs)))
        found.append(np.abs(outputs.reshape(wanted.shape) - wanted).max() / np.ptp(wanted))
    assert found[0] > 3 * found[1] > 9 * found[2]
    assert found[2] < 0.01


def test_what_is_imported_is_proven(example: tuple[Network, Any, Reals]) -> None:
    """Shortcuts, branches, signed activations and all: the verifier takes the proof, of no other output."""
    network, _, inputs = example
    network = admissible(network, float(inputs.min()))
    made = build(network, observe(network, inputs), 8, 9, [8] * len(network.stages))
    key, x = setup(made.description, made.weights), made.admit(inputs[0])
    proof = Prover(key).prove(x, bytes(32))
    statement = (canon(made.description), key.root, bytes(32), x.ravel().tolist())
    y = proof.y.ravel().tolist()
    check(*statement, y, proof.data)
    with pytest.raises(Rejected):
        check(*statement, [y[0] - 1, *y[1:]], proof.data)


def test_examples_hold_every_feature(tmp_path: Path) -> None:
    """What the tests above range over: each operation, shortcuts, earlier sources, signed activations, ceilings, strides."""
    networks = [admissible(read(graph(*parts), tmp_path), -1.0) for parts in EXAMPLES.values()]
    stages = [(index, stage) for network in networks for index, stage in enumerate(network.stages)]
    assert {stage.op for _, stage in stages} == {"conv", "gemm", "linear", "pool"}
    for has in (
        lambda _, stage: stage.add is not None,
        lambda index, stage: stage.source not in (index - 1, INPUT),
        lambda _, stage: stage.low == -np.inf,
        lambda _, stage: stage.high < np.inf,
        lambda _, stage: stage.stride > 1,
        lambda _, stage: stage.pad > 0,
    ):
        assert any(has(index, stage) for index, stage in stages)


def test_parts_that_are_never_negative_need_no_sign(tmp_path: Path) -> None:
    """What is put side by side behind a ReLU, or a pool of one, keeps all its bits; with one signed part all are signed."""
    stages = read(graph(*EXAMPLES["parts"]), tmp_path).stages
    lows = {name: [stage.low for stage in stages if stage.name == name] for name in ("c0", "h")}
    assert lows == {"c0": [-np.inf, -np.inf, 0.0], "h": [0.0, 0.0]}


def test_a_padded_layer_does_not_read_signed_inputs_itself(tmp_path: Path) -> None:
    """Zero padding is the real 0, not the least input: a copy of the input stands before it, and none where none is needed."""
    network = read(_one_conv([1, 1, 1, 1]), tmp_path)
    assert len(admissible(network, -1.0).stages) == len(network.stages) + 1
    assert len(admissible(network, 0.0).stages) == len(network.stages)
    assert len(admissible(read(_one_conv([0] * 4), tmp_path), -1.0).stages) == 1
    network = admissible(network, -1.0)
    inputs = np.full((2, 1, 4, 4), -1.0)
    observed = observe(network, inputs)
    made = build(network, observed, 12, 12, [12, 12])
    outputs = made.real(reference.run_many(made.description, made.weights, made.admit(inputs)))
    assert (
        np.abs(outputs[0, 0] - [[-4, -6, -6, -4], [-6, -9, -9, -6], [-6, -9, -9, -6], [-4, -6, -6, -4]]).max()
        < 0.01
    )


def _one_conv(edges: list[int]) -> onnx.ModelProto:
    return graph((1, 1, 4, 4), [node("Conv", ["x", "w"], ["y"], pads=edges)], {"w": np.ones((1, 1, 3, 3))})


def test_inputs_beyond_the_range_saturate(example: tuple[Network, Any, Reals]) -> None:
    """Every finite input has an output: what is beyond the range counts as its end. What is not finite is refused."""
    network, _, inputs = example
    network = admissible(network, float(inputs.min()))
    made = build(network, observe(network, inputs), 8, 8, [8] * len(network.stages))
    for factor in (-1e30, 1e30):
        given = made.admit(inputs * factor)
        assert set(np.unique(given)) == {0, 2 ** made.description["in_bits"] - 1}
        reference.run_many(made.description, made.weights, given)
    inputs[0].flat[0] = np.nan
    with pytest.raises(UsageError) as refused:
        made.admit(inputs[0])
    assert refused.value.code == "value-not-finite"


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-2.0, 2.0), (3.0, 5.0), (0.0, 0.0), (-1e-6, 1e6), (-7.0, -5.0)]
)
def test_inputs_are_rounded_as_everywhere_else(low: float, high: float) -> None:
    """Inputs are bits after the point, half away from zero, of at most 16 bits, and the whole range fits."""
    numbers = input_numbers(low, high, 16)
    assert numbers.bits <= 16
    made = Quantised({"in_bits": numbers.bits}, {}, numbers.scale, numbers.zero, 0)
    step = 2.0**-numbers.scale
    values = np.array([low, high, 0.0, step / 2, step * 0.49])
    found = made.admit(values) - numbers.zero
    assert np.abs(found[:3] * step - values[:3]).max() <= step / 2
    assert found[2:].tolist() == [0, 1, 0]


REFUSED: dict[str, tuple[str, list[onnx.NodeProto]]] = {
    "pool": ("maximum", [node("MaxPool", ["x"], ["y"], name="pool", kernel_shape=[2, 2])]),
    "curve": ("tables of functions", [node("Sigmoid", ["x"], ["y"], name="curve")]),
    "square": ("products of two activations", [node("Conv", ["x", "x"], ["y"], name="square")]),
    "hard": ("clips from 0 up", [node("Clip", ["x", "low"], ["y"], name="hard")]),
    "top": ("does not have", [node("Floor", ["x"], ["y"], name="top")]),
    "both": ("side by side", [node("Concat", ["x", "x"], ["y"], name="both", axis=2)]),
    "rest": ("constant", [node("Concat", ["x", "rest"], ["y"], name="rest", axis=1)]),
    "turn": (
        "moved",
        [node("Relu", ["x"], ["r"]), node("Transpose", ["r"], ["y"], name="turn", perm=[0, 1, 3, 2])],
    ),
    "map": ("for each cell", [node("Add", ["x", "map"], ["y"], name="map")]),
    "mean": (
        "different numbers",
        [node("AveragePool", ["x"], ["y"], name="mean", kernel_shape=[2, 2], pads=[1, 1, 1, 1])],
    ),
    "far": ("square form", [node("Conv", ["x", "far"], ["y"], name="far", dilations=[16, 16], pads=[16] * 4)]),
    "late": ("ceil_mode", [
        node("AveragePool", ["x"], ["y"], name="late", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_proven_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """The error is ``model-unsupported``, and says which node is in the way, and what it would take."""
    why, nodes = REFUSED[name]
    constants = {
        "low": -1.0,
        "map": np.arange(16.0).reshape(4, 4),
        "far": np.ones((1, 1, 2, 2)),
        "rest": np.ones((1, 1, 4, 4)),
    }
    with pytest.raises(Malformed, match=why) as refused:
        read(graph((1, 1, 4, 4), nodes, constants), tmp_path)
    assert refused.value.code == "model-unsupported"
    assert f"the node {name} ({nodes[-1].op_type})" in str(refused.value)
