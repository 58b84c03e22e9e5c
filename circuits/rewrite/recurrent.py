"""LSTM, GRU and RNN as their steps, one after the other, in MatMul, Add, Mul, Sigmoid and Tanh.

The inputs of all steps are multiplied at once, since one product of many rows is cheaper in a circuit than many of one row.
A node with peepholes, clipping, lengths of its own or unusual activations is left as it is.

Source: ONNX operator specifications of LSTM, GRU and RNN; Hochreiter and Schmidhuber (1997), Cho et al. (2014).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from .graph import Array, Graph, attribute, optional_input, rewrite_nodes

MOST_STEPS = 128
"""A longer sequence makes a graph too large to read, and a circuit too large to prove."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@dataclass(frozen=True, slots=True)
class _Layer:
    """One direction: weights ready to multiply from the right, [., gates·H]; biases [1, gates·H]; names of the first state."""

    graph: Graph
    hint: str
    hidden: int
    weights: Array
    recurrent: Array
    input_bias: Array
    recurrent_bias: Array
    start: str
    cell: str
    activation: str
    reset_after: bool
    shared: dict[tuple[str, int, int], str]

    def emit(self, operator: str, *inputs: str) -> str:
        """Write a node with a fresh name."""
        return self.graph.emit(operator, inputs, self.graph.fresh(f"{self.hint}.step"))

    def constant(self, part: str, first: int, count: int) -> str:
        """So many gates of the weights or biases, from gate `first` on: one FP32 constant for all steps."""
        columns = slice(first * self.hidden, (first + count) * self.hidden)
        value: Array = getattr(self, part)[:, columns]
        return self._once(part, first, count, value.astype(np.float32))

    def columns(self, name: str, first: int, count: int) -> str:
        """So many gates of [B, gates·H], from gate `first` on."""
        places = np.arange(first * self.hidden, (first + count) * self.hidden, dtype=np.int64)
        chosen = self._once("columns", first, count, places)
        return self.graph.emit("Gather", [name, chosen], self.graph.fresh(f"{self.hint}.gates"), axis=1)

    def _once(self, part: str, first: int, count: int, value: Array) -> str:
        key = (part, first, count)
        if key not in self.shared:
            self.shared[key] = self.graph.new_constant(value, f"{self.hint}.{part}")
        return self.shared[key]


_Step = Callable[[_Layer, str, str, str], tuple[str, str]]
"""Takes a layer, a step's inputs already multiplied, [B, gates·H], and the states h and c; gives the next states."""


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Unroll every recurrent node that has a static length and nothing unusual."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    step = _STEPS.get(node.op_type)
    if step is None or not _is_usual(graph, node):
        return False
    length, batch, _ = graph.shape(node.input[0]) or (0, 0, 0)
    directions = _directions(node)
    hint = next(name for name in node.output if name)
    sides: list[tuple[list[str], str]] = []
    for number, backwards in enumerate(directions):
        layer = _layer(graph, node, number, batch, hint)
        order = range(length - 1, -1, -1) if backwards else range(length)
        states, cell = _unroll(layer, node.input[0], order, step)
        sides.append((states[::-1] if backwards else states, cell))
    lasts = [states[0] if back else states[-1] for (states, _), back in zip(sides, directions, strict=True)]
    whole = [[states[time] for states, _ in sides] for time in range(length)]
    hidden = attribute(node, "hidden_size", 0)
    _stack(graph, _optional_output(node, 0), whole, (length, len(sides), batch, hidden))
    _stack(graph, _optional_output(node, 1), [lasts], (len(sides), batch, hidden))
    _stack(graph, _optional_output(node, 2), [[cell for _, cell in sides]], (len(sides), batch, hidden))
    return True


def _is_usual(graph: Graph, node: onnx.NodeProto) -> bool:
    shape = graph.shape(node.input[0])
    if shape is None or len(shape) != 3 or not 0 < shape[0] <= MOST_STEPS:
        return False
    if any(graph.constant(name) is None for name in node.input[1:4] if name):
        return False
    if optional_input(node, 4) or optional_input(node, 7):
        return False
    if attribute(node, "clip", 0.0) or attribute(node, "input_forget", 0) or attribute(node, "layout", 0):
        return False
    usual = _ACTIVATIONS[node.op_type] * len(_directions(node))
    given = _activations(node)
    return given in ([], usual) or (node.op_type == "RNN" and set(given) == {"Relu"})


def _activations(node: onnx.NodeProto) -> list[str]:
    return [name.decode() for name in attribute(node, "activations", [])]


def _directions(node: onnx.NodeProto) -> list[bool]:
    """For each direction whether it runs backwards."""
    return {"reverse": [True], "bidirectional": [False, True]}.get(
        attribute(node, "direction", "forward"), [False]
    )


def _layer(graph: Graph, node: onnx.NodeProto, number: int, batch: int, hint: str) -> _Layer:
    hidden, gates = attribute(node, "hidden_size", 0), _GATES[node.op_type]
    weights, recurrent = (graph.constant(name) for name in node.input[1:3])
    assert weights is not None
    assert recurrent is not None
    bias = graph.constant(optional_input(node, 3))
    biases = np.zeros((2, gates * hidden)) if bias is None else bias[number].reshape(2, -1)
    return _Layer(
        graph=graph,
        hint=hint,
        hidden=hidden,
        weights=weights[number].T,
        recurrent=recurrent[number].T,
        input_bias=biases[:1],
        recurrent_bias=biases[1:],
        start=_first_state(graph, optional_input(node, 5), number, (batch, hidden), hint),
        cell=_first_state(graph, optional_input(node, 6), number, (batch, hidden), hint),
        activation="Relu" if "Relu" in _activations(node) else "Tanh",
        reset_after=bool(attribute(node, "linear_before_reset", 0)),
        shared={},
    )


def _first_state(graph: Graph, name: str, number: int, shape: tuple[int, int], hint: str) -> str:
    """The first state of a direction, [B, H]; empty where it is zero, which spares a product."""
    value = graph.constant(name)
    if not name or (value is not None and not value.any()):
        return ""
    which = graph.new_constant(np.array([number], np.int64), f"{hint}.direction")
    chosen = graph.emit("Gather", [name, which], graph.fresh(f"{hint}.start"), axis=0)
    return graph.reshape(chosen, shape, graph.fresh(f"{hint}.start"))


def _unroll(layer: _Layer, given: str, order: range, step: _Step) -> tuple[list[str], str]:
    """The states after each step, in the order of the steps, and the last cell."""
    graph, hint = layer.graph, layer.hint
    length, batch, width = graph.shape(given) or (0, 0, 0)
    rows = graph.reshape(given, (length * batch, width), graph.fresh(f"{hint}.rows"))
    gates = layer.weights.shape[1] // layer.hidden
    product = layer.emit("MatMul", rows, layer.constant("weights", 0, gates))
    product = layer.emit("Add", product, layer.constant("input_bias", 0, gates))
    state, cell, states = layer.start, layer.cell, []
    for time in order:
        places = np.arange(time * batch, (time + 1) * batch, dtype=np.int64)
        which = graph.new_constant(places, f"{hint}.time")
        now = graph.emit("Gather", [product, which], graph.fresh(f"{hint}.now"), axis=0)
        state, cell = step(layer, now, state, cell)
        states.append(state)
    return states, cell


def _before(layer: _Layer, now: str, state: str, gates: int) -> str:
    """The first `gates` gates of a step before their activation, [B, gates·H]."""
    part = now if gates * layer.hidden == layer.weights.shape[1] else layer.columns(now, 0, gates)
    if state:
        part = layer.emit("Add", part, layer.emit("MatMul", state, layer.constant("recurrent", 0, gates)))
    if not layer.recurrent_bias[:, : gates * layer.hidden].any():
        return part
    return layer.emit("Add", part, layer.constant("recurrent_bias", 0, gates))


def _lstm(layer: _Layer, now: str, state: str, cell: str) -> tuple[str, str]:
    """Gates in ONNX's order: input, output, forget, cell."""
    gates = _before(layer, now, state, 4)
    open_ = layer.emit("Sigmoid", layer.columns(gates, 0, 3))
    new = layer.emit("Tanh", layer.columns(gates, 3, 1))
    put = layer.emit("Mul", layer.columns(open_, 0, 1), new)
    if cell:
        put = layer.emit("Add", layer.emit("Mul", layer.columns(open_, 2, 1), cell), put)
    return layer.emit("Mul", layer.columns(open_, 1, 1), layer.emit("Tanh", put)), put


def _gru(layer: _Layer, now: str, state: str, _: str) -> tuple[str, str]:
    """Gates in ONNX's order: update, reset, hidden."""
    open_ = layer.emit("Sigmoid", _before(layer, now, state, 2))
    update, reset = layer.columns(open_, 0, 1), layer.columns(open_, 1, 1)
    hidden = layer.columns(now, 2, 1)
    bias, weights = (layer.constant(part, 2, 1) for part in ("recurrent_bias", "recurrent"))
    if layer.reset_after:
        old = layer.emit("Add", layer.emit("MatMul", state, weights), bias) if state else bias
        hidden = layer.emit("Add", hidden, layer.emit("Mul", reset, old))
    else:
        if state:
            hidden = layer.emit("Add", hidden, layer.emit("MatMul", layer.emit("Mul", reset, state), weights))
        hidden = layer.emit("Add", hidden, bias)
    new = layer.emit("Tanh", hidden)
    difference = layer.emit("Sub", state, new) if state else layer.emit("Neg", new)
    return layer.emit("Add", new, layer.emit("Mul", update, difference)), ""


def _rnn(layer: _Layer, now: str, state: str, _: str) -> tuple[str, str]:
    return layer.emit(layer.activation, _before(layer, now, state, 1)), ""


_STEPS: dict[str, _Step] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _optional_output(node: onnx.NodeProto, index: int) -> str:
    """The name of an output, empty if it is left out."""
    return node.output[index] if index < len(node.output) else ""


def _stack(graph: Graph, output: str, parts: list[list[str]], shape: tuple[int, ...]) -> None:
    """Write states of [B, H], by time and direction, as one tensor."""
    if not output:
        return
    flat = [name for row in parts for name in row]
    rows = flat[0] if len(flat) == 1 else graph.emit("Concat", flat, graph.fresh(f"{output}.all"), axis=0)
    graph.reshape(rows, shape, output)
