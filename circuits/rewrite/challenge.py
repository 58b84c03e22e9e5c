"""The last change of a network, after all rules: the challenge, and the salt of hashed inputs.

The challenge is an INT64 input that nothing consumes (design, section 1). Where inputs are public, so are its limbs.
Where they are hidden EZKL hides it with them, so it is handed through as the first output.
A hashed input becomes [1, values and salt limbs] under its old name, and is cut apart at once: EZKL hashes input tensors
whole, so that the hash is of both.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from verinfer.verifier.digest import CHALLENGE_LIMBS, CHALLENGE_NAME, SALT_LIMBS

if TYPE_CHECKING:
    from verinfer.verifier.manifest import Visibility

RESERVED = "verinfer_"
"""How the names begin that a given network must not have."""

CHALLENGE_OUTPUT = f"{CHALLENGE_NAME}_output"


def add_challenge(model: onnx.ModelProto, inputs: Visibility) -> None:
    """Add the challenge to `model`, whose shapes are static, and the salt where `inputs` are hashed."""
    graph = model.graph
    if inputs == "hashed":
        # An initializer may be listed as an input, whose default it is.
        constants = {tensor.name for tensor in graph.initializer}
        for index in [at for at, value in enumerate(graph.input) if value.name not in constants]:
            _salt(graph, index)
    limbs = helper.make_tensor_value_info(CHALLENGE_NAME, TensorProto.INT64, [1, CHALLENGE_LIMBS])
    graph.input.append(limbs)
    if inputs != "public":
        graph.node.append(helper.make_node("Identity", [CHALLENGE_NAME], [CHALLENGE_OUTPUT]))
        shown = helper.make_tensor_value_info(CHALLENGE_OUTPUT, TensorProto.INT64, [1, CHALLENGE_LIMBS])
        graph.output.insert(0, shown)


def _salt(graph: onnx.GraphProto, index: int) -> None:
    given = graph.input[index]
    kind, shape = given.type.tensor_type, [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    count, values = prod(shape), f"{RESERVED}values_{index}"
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == given.name:
                node.input[place] = values
    indices, sizes, row = (f"{RESERVED}{part}_{index}" for part in ("places", "shape", "row"))
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.arange(count, dtype=np.int64), indices),
            numpy_helper.from_array(np.array(shape, dtype=np.int64), sizes),
        ]
    )
    graph.node.insert(0, helper.make_node("Gather", [given.name, indices], [row], axis=1))
    graph.node.insert(1, helper.make_node("Reshape", [row, sizes], [values]))
    given.CopyFrom(helper.make_tensor_value_info(given.name, kind.elem_type, [1, count + SALT_LIMBS]))
