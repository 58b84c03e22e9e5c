"""A lowered network is the same function, its twin the same integers, and its proofs cannot lie about an operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper

from verinfer.circuits import offers, stages
from verinfer.circuits.lowering import Trial, read_sites
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.plan import Plan, Sites
from verinfer.circuits.rewrite.fixed_point import lower
from verinfer.circuits.rewrite.sites import find_sites
from verinfer.circuits.srs import make_insecure
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.instances import from_field_hex, to_field_hex

from .networks import NETWORKS, Arrays, network

SCALE, BOUND = 5, 2000
COARSE = {"root", "erf", "states", "attention"}
"""Networks with products of two tensors, which have twice the bits: they must stay within small tables."""
SAMPLES = np.random.default_rng(3).uniform(-1.5, 1.5, (24, 1, 4)).astype(np.float32)


def _plan(sites: Sites, fraction: int = 5) -> Plan:
    return Plan(
        SCALE,
        tuple(item.exponent(6) for item in sites.products),
        (fraction,) * len(sites.values),
        (False,) * len(sites.products),
    )


def _args(plan: Plan) -> dict[str, Any]:
    trial = Trial(plan, 0, 0, -BOUND, BOUND, None)  # type: ignore[arg-type]  # how well it does is not asked
    return offers.run_args_of(plan, (trial.low, trial.high), offers.Form(columns=1, freivalds=True), 12)


def _integers(sample: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    scaled = sample.astype(np.float64) * 2.0**SCALE
    return np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)


class _Lowered:
    """One network, lowered and wrapped in a place of its own."""

    def __init__(self, name: str, place: Workplace) -> None:
        self.place, self.given = place, place.directory / "network.onnx"
        self.given.write_bytes(NETWORKS[name].SerializeToString())
        sites = read_sites(self.given, place)
        assert sites is not None
        self.plan = _plan(sites, 4 if name in COARSE else 5)
        self.wrapped = place.directory / "wrapped.onnx"
        rewrites = offers.Rewrites(plan=self.plan).to_json()
        stages.rewrite_and_wrap(self.given, rewrites, SCALE, self.wrapped, place)

    def fields(self, sample: npt.NDArray[np.float32]) -> list[list[str]]:
        values = [to_field_hex(int(value)) for value in _integers(sample).ravel()]
        return [values, [to_field_hex(limb) for limb in range(16)]]

    def forward(self, samples: npt.NDArray[np.float32]) -> list[list[int]] | None:
        path = self.place.directory / "inputs.json"
        path.write_text(json.dumps([self.fields(sample) for sample in samples]))
        found = self.place.ezkl(
            "forward_many",
            model=self.wrapped,
            run_args=_args(self.plan),
            inputs=path,
            directory=self.place.directory,
        )
        return None if found is None else [[from_field_hex(text) for text in item[0]] for item in found]

    def simulated(self, samples: npt.NDArray[np.float32]) -> tuple[list[list[int]], dict[str, list[int]]]:
        path = self.place.directory / "samples.npz"
        np.savez(path, x=samples)
        (found,) = self.place.simulate(
            "simulate", model=self.given, plans=[self.plan.to_json()], inputs=path, most=99, margin=1.0
        )
        fraction = found["fractions"][0]
        outputs = [[round(value * 2.0**fraction) for value in item[0]] for item in found["outputs"]]
        return outputs, found["ranges"]


@pytest.fixture(scope="module")
def lower_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], _Lowered]:
    """A network by its name, lowered for the first test that asks for it."""

    @cache
    def made(name: str) -> _Lowered:
        return _Lowered(name, Workplace(directory=tmp_path_factory.mktemp(name), limits=heavy_limits()))

    return made


@pytest.fixture
def lowered(lower_once: Callable[[str], _Lowered], name: str) -> _Lowered:
    """The lowered network that the test names."""
    return lower_once(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_lowered_network_computes_the_same_in_fp32(name: str, lowered: _Lowered) -> None:
    """To 1e-4 of the largest output, by onnxruntime; a comparison right at its threshold may fall either way."""
    given, wrapped = (
        onnxruntime.InferenceSession(path.read_bytes()) for path in (lowered.given, lowered.wrapped)
    )
    blank = np.zeros((1, 16), np.int64)
    wanted = np.stack([given.run(None, {"x": sample})[0] for sample in SAMPLES])
    found = np.stack(
        [wrapped.run(["y"], {"x": sample, "verinfer_challenge": blank})[0] for sample in SAMPLES]
    )
    differ = np.abs(found - wanted).max(axis=(1, 2)) > 1e-4 * np.abs(wanted).max()
    compares = any(
        node.op_type in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
        for node in NETWORKS[name].graph.node
    )
    # A step is as steep as the fraction is fine: within 2^-SCALE of a threshold it is a ramp.
    assert differ.mean() <= (0.35 if compares else 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_twin_computes_what_ezkl_computes(lowered: _Lowered) -> None:
    """Integer by integer: what is searched on is what is built."""
    outputs, _ = lowered.simulated(SAMPLES)
    assert lowered.forward(SAMPLES) == outputs


@pytest.mark.parametrize("name", ["relu"])
def test_a_value_beyond_the_tables_is_refused_in_the_forward_pass(lowered: _Lowered) -> None:
    """EZKL makes a witness of it all the same, and proving that never ends, so the refusal must come first."""
    assert lowered.forward(np.full((1, 1, 4), 400.0, np.float32)) is None


def test_what_cannot_be_lowered_is_said_to_be_so(place: Workplace) -> None:
    """A network with any other operator has no sites; nothing of it is guessed."""
    model = onnx.ModelProto()
    model.CopyFrom(NETWORKS["relu"])
    model.graph.node[2].op_type = "Softplus"
    path = place.directory / "other.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_sites(path, place) is None


# ReLU and Tanh are in "residual", Softmax and products of two tensors in "attention".
@pytest.mark.parametrize("name", ["gate", "residual", "greater", "normal", "erf", "attention"])
def test_a_forged_witness_does_not_verify(lowered: _Lowered) -> None:
    """The honest proof of each lowered operator verifies; with one output changed by one, EZKL proves and nobody believes it."""
    place = lowered.place
    home, args = place.directory, _args(lowered.plan)
    circuit = stages.make_circuit(lowered.wrapped, args, home, place)
    srs = make_insecure(12)
    vk, pk = stages.make_keys(circuit, srs, home, place, uncompressed=False)
    data, witness, proof = (home / part for part in ("data.json", "witness.json", "proof.json"))
    data.write_text(json.dumps({"input_data": lowered.fields(SAMPLES[0])}))
    place.ezkl(
        "gen_witness", data=data, compiled=circuit.compiled, witness=witness, tables=args["lookup_range"]
    )

    def verifies() -> bool:
        place.ezkl("prove", witness=witness, compiled=circuit.compiled, pk=pk, proof=proof, srs=srs.path)
        try:
            verdict: bool = place.ezkl("verify", proof=proof, settings=circuit.settings, vk=vk, srs=srs.path)
        except ChildFailed:
            return False
        return verdict

    assert verifies()
    _change(witness)
    assert not verifies()


def _change(witness: Path) -> None:
    """Add one to the first output, wherever the witness holds it."""
    made = json.loads(witness.read_text())
    honest = made["outputs"][0][0]
    lie = to_field_hex(from_field_hex(honest) + 1)
    made["outputs"][0][0] = lie
    made["pretty_elements"] = None
    witness.write_text(json.dumps(made))


def test_a_bias_that_is_added_often_is_another_constant_each_time() -> None:
    """EZKL's importer merges equal constants, and quantises one that is used twice wrongly: an LSTM adds one at each step."""
    steps = 40
    nodes: list[onnx.NodeProto] = []
    arrays: Arrays = {"w": np.eye(4, dtype=np.float32) * 0.5, "b": np.full(4, 900.0, np.float32)}
    for step in range(steps):
        taken = "x" if step == 0 else f"r{step - 1}"
        given = "y" if step == steps - 1 else f"r{step}"
        nodes += [
            helper.make_node("MatMul", [taken, "w"], [f"p{step}"]),
            helper.make_node("Add", [f"p{step}", "b"], [f"h{step}"]),
            helper.make_node("Relu", [f"h{step}"], [given]),
        ]
    model = network(nodes, arrays, 4, 4)
    sites = find_sites(model)
    assert sites is not None
    lowered = lower(model, _plan(sites))
    added = {name for node in lowered.graph.node if node.op_type == "Add" for name in node.input}
    biases = [tensor.raw_data for tensor in lowered.graph.initializer if tensor.name in added]
    assert len(biases) == steps
    assert len(set(biases)) == steps
