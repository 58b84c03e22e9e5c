"""Conv as a static Gather (im2col) and a MatMul, so that Freivalds' argument checks the product.

Applies to 1-D and 2-D convolutions with constant weights: pads, strides, dilations, groups.
A static Gather costs no cells; where a window reaches into padding it picks an appended zero.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from .graph import Array, Graph, Shape, optional_input, rewrite_nodes
from .windows import Windows, windows

MOST_INDICES = 1 << 21
"""Above this a convolution stays as it is: its indices would outweigh what a model may hold."""


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every convolution that can be."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type != "Conv":
        return False
    shape, weights = graph.shape(node.input[0]), graph.constant(node.input[1])
    bias_name = optional_input(node, 2)
    bias = graph.constant(bias_name) if bias_name else None
    if shape is None or weights is None or len(shape) not in (3, 4) or (bias_name and bias is None):
        return False
    seen = windows(node, shape[2:], weights.shape[2:])
    if seen is None or prod(shape[:2]) * seen.positions.size > MOST_INDICES:
        return False
    out = node.output[0]
    groups = shape[1] // weights.shape[1]
    columns = pick(graph, node.input[0], shape, columns_index(shape, seen, groups), out)
    product = graph.emit(
        "MatMul", [columns, _weights(graph, weights, groups, out)], graph.fresh(f"{out}.product")
    )
    if bias is not None:
        added = graph.new_constant(bias.reshape(groups, 1, -1) if groups > 1 else bias, f"{out}.bias")
        product = graph.emit("Add", [product, added], graph.fresh(f"{out}.sum"))
    # [groups,] batch·positions, channels to batch, groups·channels, positions
    batch, many = shape[0], weights.shape[0] // groups
    split = graph.reshape(product, (groups, batch, len(seen.positions), many), graph.fresh(f"{out}.split"))
    turned = graph.emit("Transpose", [split], graph.fresh(f"{out}.turned"), perm=[1, 0, 3, 2])
    graph.reshape(turned, (batch, weights.shape[0], *seen.shape), out)
    return True


def columns_index(shape: Shape, seen: Windows, groups: int) -> Array:
    """Flat positions of what each product takes: [groups,] batch·outputs, channels·kernel; -1 for padding."""
    batch, channels = shape[:2]
    plane = np.arange(batch * channels).reshape(batch, groups, 1, channels // groups, 1) * prod(shape[2:])
    positions = seen.positions[None, None, :, None, :]
    index = np.where(positions < 0, -1, plane + positions)
    index = index.transpose(1, 0, 2, 3, 4).reshape(groups, batch * len(seen.positions), -1)
    return index if groups > 1 else index[0]


def pick(graph: Graph, name: str, shape: Shape, index: Array, hint: str) -> str:
    """Write what gathers `index` from a tensor's flat values, with a zero for -1; gives a name."""
    flat = graph.reshape(name, (prod(shape),), graph.fresh(f"{hint}.flat"))
    if (index < 0).any():
        zero = graph.new_constant(np.zeros(1, dtype=np.float32), f"{hint}.zero")
        flat = graph.emit("Concat", [flat, zero], graph.fresh(f"{hint}.padded"), axis=0)
        index = np.where(index < 0, prod(shape), index)
    where = graph.new_constant(index.astype(np.int64), f"{hint}.index")
    return graph.emit("Gather", [flat, where], graph.fresh(f"{hint}.columns"), axis=0)


def _weights(graph: Graph, weights: Array, groups: int, hint: str) -> str:
    split = weights.reshape(groups, weights.shape[0] // groups, -1).transpose(0, 2, 1)
    return graph.new_constant(split if groups > 1 else split[0], f"{hint}.weights")
