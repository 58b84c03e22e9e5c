"""The committed model folders are what their specs say, and can be made again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from verinfer.models.cli import export as export_command
from verinfer.models.export import check, run_onnx, to_onnx
from verinfer.models.registry import DEFINITIONS
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, UsageError
from verinfer.verifier.model_spec import ModelSpec, parse_spec
from verinfer.verifier.preprocess import to_input, to_output
from verinfer.verifier.samples import read_sample

ZOO = Path(__file__).parents[3] / "models" / "zoo"
NAMES = sorted(DEFINITIONS)


def _spec(name: str) -> ModelSpec:
    return parse_spec((ZOO / name / "spec.json").read_bytes())


def _inputs(name: str) -> np.ndarray:
    spec = _spec(name).inputs[0]
    with np.load(ZOO / name / "samples.npz", allow_pickle=False) as samples:
        rows = [to_input(spec, sample.ravel().tolist()) for sample in samples[spec.name]]
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), *spec.shape[1:])


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_names_the_committed_model(name: str) -> None:
    """The spec's digest is that of the ONNX file beside it, and its name is the folder's."""
    spec = _spec(name)
    assert (spec.name, spec.onnx) == (name, sha256((ZOO / name / "network.onnx").read_bytes()))


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_model_is_as_accurate_as_its_spec_says(name: str) -> None:
    """Onnxruntime on every held-out sample gives the stated figure, to its last digit."""
    spec = _spec(name)
    outputs = run_onnx((ZOO / name / "network.onnx").read_bytes(), _inputs(name))
    with np.load(ZOO / name / "samples.npz", allow_pickle=False) as samples:
        expected = samples["expected"]
    if spec.task == "classification":
        measured = float(np.mean(outputs.argmax(axis=1) == expected))
    else:
        readable = [to_output(spec.outputs[0], row.ravel().tolist()) for row in outputs]
        measured = float(np.abs(np.asarray(readable) - expected).mean())
    assert len(expected) == spec.accuracy.samples
    assert measured == pytest.approx(float(spec.accuracy.value), abs=6e-5)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_outputs_are_of_order_one(name: str) -> None:
    """A circuit computes with few bits, so no model here needs large numbers."""
    inputs = _inputs(name)
    outputs = run_onnx((ZOO / name / "network.onnx").read_bytes(), inputs)
    assert max(np.abs(inputs).max(), np.abs(outputs).max()) < 32


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_file_holds_the_first_held_out_sample(name: str) -> None:
    """JSON, CSV and PNG are the same sample; a PNG has 256 grey levels, so it may be off by half of one."""
    spec = _spec(name).inputs[0]
    with np.load(ZOO / name / "samples.npz", allow_pickle=False) as samples:
        first = samples[spec.name][0].ravel()
    paths = sorted((ZOO / name).glob("sample.*"))
    assert len(paths) == 2
    for path in paths:
        values = read_sample(path, [spec])[spec.name]
        tolerance = 16 / 255 / 2 + 1e-9 if path.suffix == ".png" else 1e-6 * np.abs(first).max()
        assert np.abs(np.asarray(values) - first).max() <= tolerance


def test_exporting_again_gives_the_same_model(tmp_path: Path) -> None:
    """`verinfer export bmi` trains to the committed weights; bytes may differ on another processor, outputs may not."""
    result = CliRunner().invoke(export_command, ["bmi", "--out", str(tmp_path / "bmi"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["spec"]["name"] == "bmi"
    again, committed = ((home / "network.onnx").read_bytes() for home in (tmp_path / "bmi", ZOO / "bmi"))
    inputs = _inputs("bmi")
    assert np.abs(run_onnx(again, inputs) - run_onnx(committed, inputs)).max() < 1e-2


def test_two_exports_on_one_machine_are_equal(tmp_path: Path) -> None:
    """Nothing of the time or the run is in an exported file."""
    for home in ("a", "b"):
        assert (
            CliRunner().invoke(export_command, ["bmi", "--out", str(tmp_path / home), "--json"]).exit_code
            == 0
        )
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_export_that_computes_something_else_is_refused() -> None:
    """A changed weight, and a NaN, are found by the comparison with torch."""
    spec = _spec("bmi")
    layer = nn.Linear(3, 2)
    net = nn.Sequential(layer)
    data = to_onnx(net, spec.inputs[0], spec.outputs[0])
    samples = _inputs("bmi")[:8]
    assert check(data, net, samples) <= 1e-5
    for wrong in (0.001, float("nan")):
        with torch.no_grad():
            layer.bias.add_(wrong)
        with pytest.raises(CouldNotCheck) as caught:
            check(data, net, samples)
        assert caught.value.code == "export-differs"


def test_an_unknown_model_is_named() -> None:
    """The error lists the models that there are."""
    result = CliRunner().invoke(export_command, ["nonesuch"])
    assert isinstance(result.exception, UsageError)
    assert "digits" in result.exception.message


def test_the_csv_header_names_the_fields() -> None:
    """A spreadsheet row can be sent as it is, in any order of columns."""
    spec = _spec("breast_cancer").inputs[0]
    header, row = csv.reader((ZOO / "breast_cancer" / "sample.csv").read_text().splitlines())
    assert spec.raw.kind == "fields"
    assert header == list(spec.raw.fields)
    assert len(row) == 30
