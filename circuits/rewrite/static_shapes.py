"""Fixed dimensions: the batch, where it is free, becomes 1.

A circuit has one size. Exporters leave the batch open, as a named or nameless first dimension; any other free size is the owner's
to choose, so it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from verinfer.verifier.errors import Malformed


def static_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bind the one free dimension of the inputs to 1; raises `Malformed` (``model-refused``) where that is ambiguous.

    The outputs' free dimensions are left without a size: they follow from the inputs'.
    """
    initialised = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialised]
    free = _free(inputs)
    for symbol, (name, axis) in free.items():
        if axis != 0 and "batch" not in symbol.lower():
            raise _refusal(name, symbol, "only a batch can be set to 1 without asking")
    if len(free) > 1:
        (first, (_, _)), (second, (name, _)) = list(free.items())[:2]
        raise _refusal(name, second, f"there is {first} as well, and one of them alone can be the batch")
    if not free and _all_fixed(model):
        return model
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    for dim in _open_dimensions(bound.graph.input):
        dim.dim_value = 1
    # An exporter may call another size by the batch's name, so an output's size is found by running the model once.
    for dim in _open_dimensions(bound.graph.output):
        dim.Clear()
    bound.graph.ClearField("value_info")
    return bound


def _free(inputs: list[onnx.ValueInfoProto]) -> dict[str, tuple[str, int]]:
    """An input and an axis for each open size, by the size's name."""
    return {
        (dim.dim_param or f"dimension {axis}"): (value.name, axis)
        for value in inputs
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if dim.dim_value <= 0
    }


def _open_dimensions(values: Iterable[onnx.ValueInfoProto]) -> list[onnx.TensorShapeProto.Dimension]:
    return [dim for value in values for dim in value.type.tensor_type.shape.dim if dim.dim_value <= 0]


def _all_fixed(model: onnx.ModelProto) -> bool:
    return all(
        value.type.tensor_type.HasField("shape")
        and all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.output
        if value.type.HasField("tensor_type")
    )


def _refusal(name: str, symbol: str, why: str) -> Malformed:
    return Malformed(
        "model-refused",
        f"The model is refused: the input {name[:64]} leaves {symbol[:64]} open, and {why}; "
        "export it with every size but the batch fixed.",
    )
