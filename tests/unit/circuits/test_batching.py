"""A circuit of several samples: its identity, its answers, what a rebuild confirms, and what it costs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from verinfer.circuits import stages
from verinfer.circuits.batching import batch
from verinfer.circuits.calibrate import Reference, agree
from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package
from verinfer.circuits.prove import prover_for
from verinfer.circuits.reproduce import reproduce
from verinfer.verifier.errors import CouldNotCheck, Rejected, UsageError
from verinfer.verifier.model_spec import parse_spec
from verinfer.verifier.numbers import dequantise, quantise
from verinfer.verifier.preprocess import to_input


def _quiet(_phase: str, _share: float) -> None:
    """Progress that nobody sees."""


def test_each_row_is_the_models_answer(batch_package: Package, place: Workplace) -> None:
    """Four samples of one proof get what fp32 gives to each of them alone; another order of rows is another answer."""
    manifest = batch_package.manifest
    tensor, output = manifest.tensors("input")[0], manifest.tensors("output")[0]
    assert (manifest.samples, tensor.shape[0], output.shape[0]) == (4, 4, 4)
    with np.load(batch_package.path("samples.npz"), allow_pickle=False) as samples:
        raw = samples["habits"][:4].ravel().tolist()
    values = to_input(manifest.inputs[0], raw, 4)
    integers = [
        quantise(value, tensor.scale, bound=manifest.proof_system.bound, field="habits") for value in values
    ]
    found = prover_for(manifest).forward(batch_package, {"habits": integers}, place).outputs["body"]
    np.savez(
        place.directory / "four.npz", allow_pickle=False, habits=np.array(values, "<f4").reshape(4, 1, 3)
    )
    network = batch_package.path("network.onnx")
    fp32 = place.onnx("run_many", model=network, inputs=place.directory / "four.npz")
    wanted = [value for (row,) in fp32 for value in row]
    assert [dequantise(value, output.scale) for value in found] == pytest.approx(wanted, abs=0.1)


def test_a_rebuild_confirms_the_batch(batch_package: Package, quick: Path) -> None:
    """From the published network of one sample and the manifest alone."""
    found = reproduce(batch_package, quick / "network.onnx", spec=quick / "spec.json", on_progress=_quiet)
    assert found.circuit == batch_package.digest
    assert found.fidelity.samples == 32


def test_a_batch_of_another_size_is_another_circuit(batch_package: Package, quick: Path) -> None:
    """A manifest that claims eight rows for a circuit of four is not reproduced."""
    manifest = batch_package.manifest.model_copy(update={"batch": 8})
    claimed = replace(batch_package, bundle=replace(batch_package.bundle, manifest=manifest))
    with pytest.raises(Rejected) as caught:
        reproduce(claimed, quick / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.message.startswith("the wrapped ONNX")


def test_the_card_says_what_a_sample_costs(batch_package: Package, quick_package: Package) -> None:
    """Estimates for one, two and four samples in a proof; a circuit of one sample has none."""
    card = json.loads(batch_package.path("card.json").read_text())
    assert [price["batch"] for price in card["batch_prices"]] == [1, 2, 4]
    assert card["batch"] == 4
    assert "samples in a proof" in batch_package.path("card.md").read_text()
    assert "Price of a sample" in batch_package.path("card.html").read_text()
    single = json.loads(quick_package.path("card.json").read_text())
    assert (single["batch"], single["batch_prices"]) == (1, [])


def test_a_batch_needs_as_many_samples(quick: Path, tmp_path: Path) -> None:
    """What cannot be tried is not built."""
    out = tmp_path / "package"
    with pytest.raises(UsageError) as caught:
        compile_model(quick, out, srs=None, insecure_srs=True, on_progress=_quiet, batch=64)
    assert "there are 32" in caught.value.message
    assert not out.exists()


def test_a_batch_that_computes_something_else_is_refused(quick: Path, place: Workplace) -> None:
    """However it came about: what the network gives to each sample alone decides."""
    network = place.directory / "network.onnx"
    shutil.copyfile(quick / "network.onnx", network)
    spec = parse_spec((quick / "spec.json").read_bytes())
    samples = stages.read_samples(quick / "samples.npz", spec, place)
    outputs = stages.run_fp32(network, spec, samples, place)
    batch(network, Reference(spec, samples, outputs), 2, place)
    wrong = [[[value + 1.0 for value in tensor] for tensor in sample] for sample in outputs]
    with pytest.raises(CouldNotCheck) as caught:
        batch(network, Reference(spec, samples, wrong), 2, place)
    assert caught.value.code == "rewrite-differs"


def test_agreement_counts_rows() -> None:
    """Two samples in a pass, three classes: one of four labels differs."""
    expected = [[[0.0, 1.0, 2.0, 5.0, 1.0, 1.0]], [[9.0, 0.0, 0.0, 0.0, 3.0, 0.0]]]
    values = [[[0.0, 1.0, 2.0, 5.0, 1.0, 1.0]], [[9.0, 0.0, 0.0, 4.0, 3.0, 0.0]]]
    found = agree(values, expected, 2)
    assert (found.samples, found.agreement, found.error) == (4, 0.75, 4.0)
