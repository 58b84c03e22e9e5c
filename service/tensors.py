"""From the tensors of a request to the numbers that a model takes: names, datatypes, shapes, then every value.

The first thing that is wrong is refused, naming the tensor, and for a value its flat index, as in ``x[3]``.
An FP32 value is first rounded to binary32, as its datatype says, and only then quantised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeVar

from verinfer.verifier import numbers
from verinfer.verifier.digest import salt_limbs
from verinfer.verifier.errors import UsageError
from verinfer.verifier.manifest import Manifest, Tensor
from verinfer.verifier.quantise import to_integers

from .errors import Refused
from .schemas import InputTensor

Values = dict[str, list[float] | list[int]]
"""Flat values by tensor name."""

N = TypeVar("N", int, float)


def read_inputs(given: Sequence[InputTensor], manifest: Manifest) -> Values:
    """Flat values by input name, as numbers of each tensor's datatype.

    Raises `UsageError` (``input-missing``, ``input-unknown``, ``dtype-mismatch``, ``shape-mismatch``, ``value-…``) or
    `Refused` (``request-malformed``, ``value-not-number``).
    """
    by_name: dict[str, InputTensor] = {}
    for tensor in given:
        if tensor.name in by_name:
            raise Refused(
                "request-malformed", f"The input {tensor.name[:64]} is given twice.", field=tensor.name
            )
        by_name[tensor.name] = tensor
    specs = {tensor.name: tensor for tensor in manifest.tensors("input")}
    for name in by_name:
        if name not in specs:
            raise UsageError(
                "input-unknown", f"The model has no input {name[:64]}; it has {', '.join(specs)}.", field=name
            )
    for name in specs:
        if name not in by_name:
            raise UsageError("input-missing", f"The input {name} is absent.", field=name)
    return {name: _read(by_name[name], spec) for name, spec in specs.items()}


def quantise(
    values: Mapping[str, Sequence[float | int]], manifest: Manifest, salt: str | None = None
) -> dict[str, tuple[int, ...]]:
    """The integers that the circuit takes, with the limbs of `salt` behind them where it hashes its inputs.

    Raises `UsageError` (``value-out-of-range``).
    """
    return {
        tensor.name: (
            *to_integers(manifest, tensor, values[tensor.name]),
            *(() if salt is None else salt_limbs(salt, tensor.name)),
        )
        for tensor in manifest.tensors("input")
    }


def _read(given: InputTensor, spec: Tensor) -> list[float] | list[int]:
    name = spec.name
    if given.datatype != spec.dtype:
        raise UsageError("dtype-mismatch", f"{name} is {spec.dtype}, not {given.datatype[:16]}.", field=name)
    if tuple(given.shape) != spec.shape:
        raise UsageError("shape-mismatch", f"{name} has the shape {list(spec.shape)}.", field=name)
    flat = _flatten(given.data, spec.shape, name)
    for index, value in enumerate(flat):
        # A bool is an int to Python, and nothing of the kind here.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused("value-not-number", f"{name}[{index}] is not a number.", field=f"{name}[{index}]")
    if spec.dtype == "INT64":
        return _each(flat, name, lambda value, field: numbers.as_dtype([value], "INT64", field=field)[0])
    return _each(flat, name, lambda value, field: numbers.as_dtype([value], "FP32", field=field)[0])


def _each(flat: Sequence[Any], name: str, read: Callable[[Any, str], N]) -> list[N]:
    return [read(value, f"{name}[{index}]") for index, value in enumerate(flat)]


def _flatten(data: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    """The elements in row-major order; `data` is flat, or nested exactly as `shape` says."""
    if not any(isinstance(item, list) for item in data):
        if len(data) != prod(shape):
            message = f"{name} has {prod(shape)} elements, not {len(data)}."
            raise UsageError("shape-mismatch", message, field=name)
        return data
    level: list[Any] = [data]
    for size in shape:
        if not all(isinstance(item, list) and len(item) == size for item in level):
            raise UsageError(
                "shape-mismatch", f"The data of {name} is not nested as {list(shape)}.", field=name
            )
        level = [element for item in level for element in item]
    return level
