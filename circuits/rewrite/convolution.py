"""Conv as a static Gather (im2col) and a MatMul, so that Freivalds' argument checks the product.

Applies to 1-D and 2-D convolutions with constant weights: pads, strides, dilations, groups.
A static Gather costs no cells; where a window reaches into padding it picks an appended zero.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from .graph import Array, Graph, Shape, optional_input, rewrite_nodes
from .windows import Windows, flatten, windows


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
    if seen is None or not graph.has_room(prod(shape[:2]) * seen.positions.size):
        return False
    out = node.output[0]
    groups = shape[1] // weights.shape[1]
    flat, index = flatten(graph, node.input[0], shape, columns_index(shape, seen, groups), out)
    product = _multiply(graph, flat, index, weights.reshape(groups, weights.shape[0] // groups, -1), out)
    if bias is not None:
        added = graph.new_constant(bias.reshape(groups, 1, -1) if groups > 1 else bias, f"{out}.bias")
        product = graph.emit("Add", [product, added], graph.fresh(f"{out}.sum"))
    # [groups, batch·positions, channels] to [batch, groups·channels, positions]
    batch = shape[0]
    split = (groups, batch, len(seen.positions), weights.shape[0] // groups)
    split_name = graph.reshape(product, split, graph.fresh(f"{out}.split"))
    turned = graph.emit("Transpose", [split_name], graph.fresh(f"{out}.turned"), perm=[1, 0, 3, 2])
    graph.reshape(turned, (batch, weights.shape[0], *seen.shape), out)
    return True


def _multiply(graph: Graph, flat: str, index: Array, weights: Array, out: str) -> str:
    """Write the products [groups, batch·positions, channels] of gathered columns and weights [groups, channels, terms]."""
    turned = weights.transpose(0, 2, 1)
    if turned.shape[2] == 1 or len(turned) == 1:
        parts = [(index, turned)] if len(turned) > 1 else [(index[0], turned[0])]
    else:
        # One product for all groups costs several times as much: Freivalds' argument is not made for batches.
        parts = list(zip(index, turned, strict=True))
    products = []
    for picked, matrix in parts:
        where = graph.new_constant(picked, f"{out}.index")
        columns = graph.emit("Gather", [flat, where], graph.fresh(f"{out}.columns"), axis=0)
        right = graph.new_constant(matrix, f"{out}.weights")
        products.append(graph.emit("MatMul", [columns, right], graph.fresh(f"{out}.product")))
    if len(products) == 1:
        return products[0]
    stacked = graph.emit("Concat", products, graph.fresh(f"{out}.stacked"), axis=0)
    return graph.reshape(stacked, (*index.shape[:2], turned.shape[2]), graph.fresh(f"{out}.products"))


def columns_index(shape: Shape, seen: Windows, groups: int) -> Array:
    """Flat positions of what each product takes: [groups, batch·outputs, channels·kernel]; -1 for padding."""
    batch, channels = shape[:2]
    plane = np.arange(batch * channels).reshape(batch, groups, 1, channels // groups, 1) * prod(shape[2:])
    positions = seen.positions[None, None, :, None, :]
    index = np.where(positions < 0, -1, plane + positions)
    return index.transpose(1, 0, 2, 3, 4).reshape(groups, batch * len(seen.positions), -1)
