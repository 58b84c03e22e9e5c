from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from verinfer.circuits.package import Package
from verinfer.service.schemas import InputTensor
from verinfer.service.tensors import quantise, read_inputs
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.manifest import Manifest


@pytest.fixture
def manifest(bmi_package: Package) -> Manifest:
    """Of a model that takes ``habits``, FP32 [1, 3]."""
    return bmi_package.manifest


@pytest.fixture
def integers(manifest: Manifest) -> Manifest:
    """The same, but its input is INT64 at scale 0."""
    layout = tuple(
        tensor.model_copy(update={"dtype": "INT64", "scale": 0}) if tensor.role == "input" else tensor
        for tensor in manifest.layout
    )
    inputs = tuple(spec.model_copy(update={"dtype": "INT64"}) for spec in manifest.inputs)
    return manifest.model_copy(update={"layout": layout, "inputs": inputs})


def tensor(data: list[Any], **changes: Any) -> InputTensor:
    """The input ``habits`` of a request."""
    return InputTensor(**{"name": "habits", "shape": [1, 3], "datatype": "FP32", "data": data, **changes})


@pytest.mark.parametrize("data", [[1, 2.5, -3], [[1, 2.5, -3]]])
def test_values_may_be_flat_or_nested(manifest: Manifest, data: list[Any]) -> None:
    """Both forms of the protocol give the same numbers."""
    assert read_inputs([tensor(data)], manifest) == {"habits": [1.0, 2.5, -3.0]}


def test_fp32_is_rounded_before_it_is_quantised(manifest: Manifest) -> None:
    """A value means the binary32 number that its datatype says, not the longer one that JSON can write."""
    read = read_inputs([tensor([0.1, 16777217, 0])], manifest)["habits"]
    assert read == [struct.unpack("<f", struct.pack("<f", 0.1))[0], 16777216.0, 0.0]


def test_quantising_uses_the_circuits_scale(manifest: Manifest) -> None:
    """Half away from zero at the scale of the manifest."""
    scale = manifest.tensors("input")[0].scale
    half = math.ldexp(0.5, -scale)
    assert quantise({"habits": [1.0, half, -half]}, manifest) == {"habits": (1 << scale, 1, -1)}


def test_integers_stay_exact(integers: Manifest) -> None:
    """An INT64 input takes whole numbers, however they are written."""
    values = read_inputs([tensor([2**53 - 1, 2.0, -3], datatype="INT64")], integers)
    assert values == {"habits": [2**53 - 1, 2, -3]}


BAD: dict[str, tuple[list[InputTensor], str, str]] = {
    "unknown": ([tensor([1, 2, 3]), tensor([1], name="weight")], "input-unknown", "weight"),
    "the challenge": (
        [tensor([1, 2, 3]), tensor([1], name="verinfer_challenge")],
        "input-unknown",
        "verinfer_challenge",
    ),
    "twice": ([tensor([1, 2, 3]), tensor([1, 2, 3])], "request-malformed", "habits"),
    "datatype": ([tensor([1, 2, 3], datatype="FP64")], "dtype-mismatch", "habits"),
    "shape": ([tensor([1, 2, 3], shape=[3])], "shape-mismatch", "habits"),
    "negative shape": ([tensor([1, 2, 3], shape=[-1, 3])], "shape-mismatch", "habits"),
    "too few": ([tensor([1, 2])], "shape-mismatch", "habits"),
    "too many": ([tensor([1, 2, 3, 4])], "shape-mismatch", "habits"),
    "empty": ([tensor([])], "shape-mismatch", "habits"),
    "nested otherwise": ([tensor([[1], [2], [3]])], "shape-mismatch", "habits"),
    "half nested": ([tensor([[1, 2], 3])], "shape-mismatch", "habits"),
    "nested deeper": ([tensor([[[1], [2], [3]]])], "value-not-number", "habits[0]"),
    "nan": ([tensor([1, math.nan, 3])], "value-not-finite", "habits[1]"),
    "infinity": ([tensor([1, 2, math.inf])], "value-not-finite", "habits[2]"),
    "minus infinity": ([tensor([-math.inf, 2, 3])], "value-not-finite", "habits[0]"),
    "an integer beyond floats": ([tensor([1, 10**400, 3])], "value-not-finite", "habits[1]"),
    "beyond binary32": ([tensor([1, 1e39, 3])], "value-out-of-range", "habits[1]"),
    "text": ([tensor([1, "2", 3])], "value-not-number", "habits[1]"),
    "bool": ([tensor([1, True, 3])], "value-not-number", "habits[1]"),
    "null": ([tensor([1, None, 3])], "value-not-number", "habits[1]"),
    "object": ([tensor([1, {"a": 1}, 3])], "value-not-number", "habits[1]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tensors_are_refused_by_name_and_index(manifest: Manifest, case: str) -> None:
    """The first thing that is wrong is named exactly."""
    given, code, field = BAD[case]
    with pytest.raises(VerinferError) as caught:
        read_inputs(given, manifest)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_missing_input_is_named(manifest: Manifest) -> None:
    """A model's input that no tensor is for."""
    with pytest.raises(VerinferError) as caught:
        read_inputs([], manifest)
    assert (caught.value.code, caught.value.field) == ("input-missing", "habits")


@pytest.mark.parametrize("value", [1.5, 2**53, -(2**53), 1e300, math.nan])
def test_bad_integers(integers: Manifest, value: float) -> None:
    """What an integer tensor cannot hold exactly is refused, not truncated."""
    with pytest.raises(VerinferError) as caught:
        read_inputs([tensor([0, value, 0], datatype="INT64")], integers)
    assert caught.value.code.startswith("value-")
    assert caught.value.field == "habits[1]"


def test_a_value_beyond_the_circuit_is_named(manifest: Manifest) -> None:
    """The largest integer that the circuit holds passes, the next one does not."""
    scale, bound = manifest.tensors("input")[0].scale, manifest.proof_system.bound
    assert quantise({"habits": [math.ldexp(bound - 1, -scale), 0.0, 0.0]}, manifest)["habits"][0] == bound - 1
    with pytest.raises(VerinferError) as caught:
        quantise({"habits": [0.0, 0.0, -math.ldexp(bound, -scale)]}, manifest)
    assert (caught.value.code, caught.value.field) == ("value-out-of-range", "habits[2]")
