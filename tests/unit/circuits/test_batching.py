"""A circuit of several samples: its identity, its answers, what a rebuild confirms, and what it costs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits import stages
from verinfer.circuits.batching import batch
from verinfer.circuits.calibrate import Reference, Samples, agree, good
from verinfer.circuits.cost import load_coefficients
from verinfer.circuits.estimate import as_text, estimate
from verinfer.circuits.model import read_model
from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package
from verinfer.circuits.provers import prover_for
from verinfer.circuits.reproduce import reproduce
from verinfer.circuits.targets import Targets
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, UsageError
from verinfer.verifier.model_spec import parse_spec
from verinfer.verifier.numbers import dequantise, quantise
from verinfer.verifier.preprocess import to_input

ZOO = Path(__file__).parents[3] / "models" / "zoo"


def _quiet(_phase: str, _share: float) -> None:
    """Progress that nobody sees."""


def test_each_row_is_the_models_answer(batch_package: Package, place: Workplace) -> None:
    """Two samples of one proof get what fp32 gives to each of them alone, in whatever order they stand."""
    manifest = batch_package.manifest
    tensor, output = manifest.tensors("input")[0], manifest.tensors("output")[0]
    assert (manifest.samples, tensor.shape[0], output.shape[0]) == (2, 2, 2)
    with np.load(batch_package.path("samples.npz"), allow_pickle=False) as samples:
        raw = samples["habits"][:2].ravel().tolist()
    values = to_input(manifest.inputs[0], raw, 2)
    integers = [
        quantise(value, tensor.scale, bound=manifest.proof_system.bound, field="habits") for value in values
    ]
    found = prover_for(manifest).forward(batch_package, {"habits": integers}, place).outputs["body"]
    np.savez(place.directory / "two.npz", allow_pickle=False, habits=np.array(values, "<f4").reshape(2, 1, 3))
    network = batch_package.path("network.onnx")
    fp32 = place.onnx("run_many", model=network, inputs=place.directory / "two.npz")
    wanted = [value for (row,) in fp32 for value in row]
    assert [dequantise(value, output.scale) for value in found] == pytest.approx(wanted, abs=0.1)
    turned = [integer for row in reversed(range(2)) for integer in integers[3 * row : 3 * row + 3]]
    other = prover_for(manifest).forward(batch_package, {"habits": turned}, place).outputs["body"]
    assert [other[2 * row : 2 * row + 2] for row in reversed(range(2))] == [
        found[2 * row : 2 * row + 2] for row in range(2)
    ]


def test_a_rebuild_confirms_the_batch(batch_package: Package, quick: Path) -> None:
    """From the published network of one sample and the manifest alone."""
    found = reproduce(batch_package, quick / "network.onnx", spec=quick / "spec.json", on_progress=_quiet)
    assert found.circuit == batch_package.digest
    assert found.fidelity.samples == 32
    assert found.meaning_compared


def test_an_auditor_may_have_fewer_samples_than_a_batch(
    batch_package: Package, quick: Path, tmp_path: Path
) -> None:
    """The one is shown twice, and counted once."""
    with np.load(quick / "samples.npz", allow_pickle=False) as samples:
        np.savez(tmp_path / "mine.npz", allow_pickle=False, habits=samples["habits"][:1])
    found = reproduce(
        batch_package, quick / "network.onnx", spec=None, samples=tmp_path / "mine.npz", on_progress=_quiet
    )
    assert (found.fidelity.samples, found.own_samples) == (1, True)


def test_a_batch_of_another_size_is_another_circuit(batch_package: Package, quick: Path) -> None:
    """A manifest that claims eight rows for a circuit of two is not reproduced."""
    manifest = batch_package.manifest.model_copy(update={"batch": 8})
    claimed = replace(batch_package, bundle=replace(batch_package.bundle, manifest=manifest))
    with pytest.raises(Rejected) as caught:
        reproduce(claimed, quick / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.message.startswith("the wrapped ONNX")


def test_the_card_says_what_a_sample_costs(batch_package: Package, quick_package: Package) -> None:
    """Estimates for one and two samples in a proof, of which the latter is the lower; a circuit of one sample has none."""
    card = json.loads(batch_package.path("card.json").read_text())
    single, chosen = card["batch_prices"]
    assert (single["batch"], chosen["batch"]) == (1, 2)
    assert chosen["seconds"] < single["seconds"]
    assert chosen["seconds"] * 2 == pytest.approx(card["cost"]["estimated_prove_seconds"], abs=0.001)
    assert card["batch"] == 2
    assert "samples in a proof" in batch_package.path("card.md").read_text()
    assert "Price of a sample" in batch_package.path("card.html").read_text()
    alone = json.loads(quick_package.path("card.json").read_text())
    assert (alone["batch"], alone["batch_prices"]) == (1, [])


def test_a_batch_needs_as_many_samples(quick: Path, place: Workplace) -> None:
    """What cannot be tried is not built, and it is said what would be."""
    with pytest.raises(UsageError) as caught:
        read_model(quick, place, 64)
    assert "take --batch 32 or less" in caught.value.message


def test_a_batch_that_computes_something_else_is_refused(quick: Path, place: Workplace) -> None:
    """However it came about: what the network gives to each sample alone decides."""
    network = place.directory / "network.onnx"
    shutil.copyfile(quick / "network.onnx", network)
    spec = parse_spec((quick / "spec.json").read_bytes())
    samples = stages.read_samples(quick / "samples.npz", spec, place)
    outputs = stages.run_fp32(network, spec, samples, place)
    batch(network, Reference(spec, samples, outputs), 2, place)
    # One number of one sample, beside others a thousand times as large.
    wrong = [[list(tensor) for tensor in sample] for sample in outputs]
    wrong[-1][0][1] += 0.001 * max(map(abs, wrong[-1][0]))
    with pytest.raises(CouldNotCheck) as caught:
        batch(network, Reference(spec, samples, wrong), 2, place)
    assert caught.value.code == "rewrite-differs"


def test_agreement_counts_rows() -> None:
    """Two samples in a pass, three classes: one of four labels differs."""
    expected = [[[0.0, 1.0, 2.0, 5.0, 1.0, 1.0]], [[9.0, 0.0, 0.0, 0.0, 3.0, 0.0]]]
    values = [[[0.0, 1.0, 2.0, 5.0, 1.0, 1.0]], [[9.0, 0.0, 0.0, 4.0, 3.0, 0.0]]]
    found = agree(values, expected, 2)
    assert (found.samples, found.agreement, found.error) == (4, 0.75, 4.0)


def test_one_number_is_a_label_of_no_batch() -> None:
    """A classification of a single score has no label to agree on, however many samples there are in a pass."""
    expected = [[[1.0, 2.0]], [[3.0, 4.0]]]
    spec = parse_spec((ZOO / "digits" / "spec.json").read_bytes())
    reference = Reference(spec, {}, expected, batch=2)
    apart = agree([[[1.0, 3.9]], [[3.0, 4.0]]], expected, 2)
    assert not good(apart, reference, Targets())
    assert good(agree(expected, expected, 2), reference, Targets())


def test_a_batch_is_estimated_as_one(quick: Path) -> None:
    """More samples take more rows, and each of them less time; of a few, whose blocks of columns are not full, hardly less."""
    single, eight = estimate(quick), estimate(quick, batch=8)
    assert eight.rows > single.rows
    assert eight.cost.prove_seconds < 0.8 * 8 * single.cost.prove_seconds
    assert f"{eight.cost.prove_seconds / 8:.3g} s" in as_text(eight, load_coefficients())


def test_a_huge_sample_hides_no_other_in_its_batch(place: Workplace) -> None:
    """An owner who chooses the samples cannot put one beside each other that makes its difference look small."""
    plain, off = (_linear(place.directory / f"{offset}.onnx", offset) for offset in (0.0, 0.01))
    spec = parse_spec((ZOO / "bmi" / "spec.json").read_bytes())
    samples: Samples = {"habits": [[1e6] * 3, [1.0] * 3, [1.0] * 3, [1.0] * 3]}
    single = Reference(spec, samples, stages.run_fp32(plain, spec, samples, place))
    first, together = batch(plain, single, 2, place)
    moved = [[list(tensor) for tensor in sample] for sample in single.outputs]
    moved[1][0][0] += 0.01
    with pytest.raises(CouldNotCheck) as caught:
        batch(plain, replace(single, outputs=moved), 2, place)
    assert caught.value.code == "rewrite-differs"

    second = place.directory / "second.onnx"
    place.onnx("batch", model=off, output=second, count=2)
    assert stages.same_function(first, first, together, place)
    assert not stages.same_function(first, second, together, place)


def test_outputs_of_other_sizes_than_declared_are_refused(place: Workplace) -> None:
    """Where ONNX's inference finds no size, the file's word stands until it is run."""
    path = _linear(place.directory / "network.onnx", 0.0, rows=3)
    spec = parse_spec((ZOO / "bmi" / "spec.json").read_bytes())
    with pytest.raises(Malformed) as caught:
        stages.run_fp32(path, spec, {"habits": [[1.0, 2.0, 3.0]]}, place)
    assert caught.value.code == "model-refused"


def _linear(path: Path, offset: float, rows: int = 1) -> Path:
    """The sum of the habits plus `offset`, twice, as the model ``bmi`` is declared; in truth with so many rows."""
    numbers: dict[str, Any] = {
        "w": np.ones((3, 2), np.float32),
        "b": np.full((3, 2), offset, np.float32),
        "f0": np.zeros(1, np.float32),
        "f1": np.ones(1, np.float32),
        "n": np.array([rows], np.float32),
        "zero": np.zeros(1, np.int64),
        "one": np.full((1, 2), offset, np.float32),
    }
    # How many rows the Slice leaves cannot be derived.
    hidden = [
        helper.make_node("Div", ["f1", "f0"], ["inf"]),
        helper.make_node("Min", ["inf", "n"], ["many"]),
        helper.make_node("Cast", ["many"], ["end"], to=TensorProto.INT64),
        helper.make_node("Slice", ["b", "zero", "end", "zero"], ["term"]),
    ]
    nodes = [
        *(hidden if rows > 1 else []),
        helper.make_node("MatMul", ["habits", "w"], ["sums"]),
        helper.make_node("Add", ["sums", "term" if rows > 1 else "one"], ["body"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("habits", TensorProto.FLOAT, (1, 3))],
        [helper.make_tensor_value_info("body", TensorProto.FLOAT, (1, 2))],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
