from pathlib import Path

import pytest

from verinfer.circuits.cost import load_coefficients
from verinfer.circuits.estimate import as_text, estimate
from verinfer.verifier.errors import CouldNotCheck, Malformed


def test_an_estimate_says_what_a_circuit_takes(bmi: Path) -> None:
    """A folder and its bare ONNX file have one estimate; it is of the order of what compiling finds, and names layers."""
    found = estimate(bmi)
    assert found.to_json() == {
        **estimate(bmi / "network.onnx").to_json(),
        "layers": found.to_json()["layers"],
    }
    assert 1_000 < found.rows < 10_000
    assert 8 <= found.cost.logrows <= 13
    assert 0.05 < found.cost.prove_seconds < 10
    text = as_text(found, load_coefficients())
    assert "most costly" in text
    assert f"{found.rows:,}" in text
    assert f"{found.cost.verify_gas:,} gas" in text


def test_what_does_not_fit_is_refused_with_the_layers_to_blame(bmi: Path) -> None:
    """A stable code, and which layers cost most."""
    with pytest.raises(CouldNotCheck) as caught:
        estimate(bmi, memory=1_000_000)
    assert caught.value.code == "model-too-large"
    assert "gemm" in caught.value.message


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """Bad input gets the inspection's code, an absent file another."""
    path = tmp_path / "network.onnx"
    with pytest.raises(CouldNotCheck) as absent:
        estimate(tmp_path)
    assert absent.value.code == "file-missing"
    path.write_bytes(b"not a model")
    with pytest.raises(Malformed) as caught:
        estimate(path)
    assert caught.value.code == "model-refused"
