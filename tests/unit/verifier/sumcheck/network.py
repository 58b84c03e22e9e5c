"""Integer networks for tests: descriptions with their static widths, random ones, and what they compute, in plain Python.

Follows section 3 of the specification directly and uses nothing of the verifier.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from typing import Any

Json = dict[str, Any]
Tensor = list[int]
Change = Callable[[int, Tensor], Tensor]

FEW = {"log_blowup": 2, "queries": 24, "pow_bits": 0, "fold": 2, "final_bits": 2, "leaf_bits": 1}
"""Parameters for quick proofs, worth 16 bits."""
FULL = {"log_blowup": 2, "queries": 124, "pow_bits": 16, "fold": 3, "final_bits": 5, "leaf_bits": 3}
"""Those that the specification recommends."""


@dataclass(frozen=True)
class Network:
    """A description and its weights, unpadded and row-major, by the names of the specification."""

    description: Json
    weights: Mapping[str, Tensor]

    @property
    def canon(self) -> bytes:
        return canon(self.description)


@dataclass(frozen=True)
class Trace:
    """What a layer computed."""

    dims: tuple[int, ...]
    acc: Tensor
    out: Tensor


def canon(description: Json) -> bytes:
    """The bytes of a description."""
    return json.dumps(description, sort_keys=True, separators=(",", ":")).encode()


def source(layers: Sequence[Json], index: int) -> int:
    """The layer that a layer consumes, -1 for the input."""
    return int(layers[index].get("src", index - 1))


def shapes(description: Json) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The unpadded input and output dimensions of each layer."""
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for index, layer in enumerate(description["layers"]):
        before = source(description["layers"], index)
        given = tuple(description["in_dims"]) if before < 0 else found[before][1]
        match layer["op"]:
            case "conv":
                reach = 2 * layer["pad"] - layer["k"]
                made = (layer["cout"], *((size + reach) // layer["stride"] + 1 for size in given[1:]))
            case "pool":
                made = (given[0], given[1] // layer["k"], given[2] // layer["k"])
            case "linear":
                made = (given[0], layer["nout"])
            case _:
                made = (layer["nout"],)
        found.append((given, made))
    return found


def run(network: Network, x: Tensor, change: Change = lambda _index, out: out) -> list[Trace]:
    """Every layer's accumulators and activations; a liar may `change` what a layer gives to those after it."""
    layers = network.description["layers"]
    traces: list[Trace] = []
    for index, (layer, (given, made)) in enumerate(zip(layers, shapes(network.description), strict=True)):
        before = source(layers, index)
        values = x if before < 0 else traces[before].out
        acc = _accumulate(layer, given, made, values, network.weights, index)
        if "res" in layer:
            added = traces[layer["res"]["src"]].out
            acc = [a + layer["res"]["c"] * b for a, b in zip(acc, added, strict=True)]
        out = acc if "final" in layer else [clamp(layer, rescaled(layer, value)) for value in acc]
        traces.append(Trace(made, acc, change(index, out)))
    return traces


def rescaled(layer: Json, acc: int) -> int:
    """q, before clamping."""
    return int((layer["M"] * acc + (1 << (layer["s"] - 1))) >> layer["s"])


def clamp(layer: Json, q: int) -> int:
    """The activation."""
    return int(min(max(q, layer["lo"]), layer["lo"] + (1 << layer["a"]) - 1))


def _accumulate(
    layer: Json,
    given: tuple[int, ...],
    made: tuple[int, ...],
    x: Tensor,
    weights: Mapping[str, Tensor],
    index: int,
) -> Tensor:
    if layer["op"] in {"gemm", "linear"}:
        matrix, bias = weights[f"W{index}"], weights[f"b{index}"]
        size = len(matrix) // len(bias)
        return [
            bias[o] + sum(matrix[o * size + i] * x[start + i] for i in range(size))
            for start in range(0, len(x), size)
            for o in range(len(bias))
        ]
    _, height, width = given
    k = layer["k"]

    def cell(c: int, row: int, column: int) -> int:
        inside = 0 <= row < height and 0 <= column < width
        return x[(c * height + row) * width + column] if inside else 0

    window = [(a, b) for a in range(k) for b in range(k)]
    spots = [(o, ph, pw) for o in range(made[0]) for ph in range(made[1]) for pw in range(made[2])]
    if layer["op"] == "pool":
        return [sum(cell(o, ph * k + a, pw * k + b) for a, b in window) for o, ph, pw in spots]
    stride, pad = layer["stride"], layer["pad"]
    filters, bias = weights[f"W{index}"], weights[f"b{index}"]
    return [
        bias[o]
        + sum(
            filters[((o * given[0] + c) * k + a) * k + b]
            * cell(c, stride * ph + a - pad, stride * pw + b - pad)
            for c in range(given[0])
            for a, b in window
        )
        for o, ph, pw in spots
    ]


def complete(description: Json, weights: Mapping[str, Tensor]) -> Network:
    """The network with the widths that follow from its weights: ``wb``, ``bb``, and each layer's ``nb`` and ``hb``."""

    def width(kind: str) -> int:
        cells = [cell for name, tensor in weights.items() if name[0] == kind for cell in tensor]
        return max(2, *(1 + (cell if cell >= 0 else ~cell).bit_length() for cell in cells))

    whole = {**description, "wb": width("W"), "bb": width("b")}
    whole["layers"] = [dict(layer) for layer in description["layers"]]

    def reach(before: int) -> tuple[int, int]:
        if before < 0:
            return 0, (1 << whole["in_bits"]) - 1
        low = whole["layers"][before]["lo"]
        return low, low + (1 << whole["layers"][before]["a"]) - 1

    for index, layer in enumerate(whole["layers"]):
        if "final" in layer:
            continue
        low, high = reach(source(whole["layers"], index))
        if layer["op"] == "pool":
            least, most = layer["k"] ** 2 * low, layer["k"] ** 2 * high
        else:
            bias = weights[f"b{index}"]
            size = len(weights[f"W{index}"]) // len(bias)
            rows = [weights[f"W{index}"][o * size : (o + 1) * size] for o in range(len(bias))]
            ups = [sum(w for w in row if w > 0) for row in rows]
            downs = [sum(w for w in row if w < 0) for row in rows]
            least = min(b + u * low + d * high for b, u, d in zip(bias, ups, downs, strict=True))
            most = max(b + u * high + d * low for b, u, d in zip(bias, ups, downs, strict=True))
        if "res" in layer:
            ends = [layer["res"]["c"] * end for end in reach(layer["res"]["src"])]
            least, most = least + min(ends), most + max(ends)
        top = layer["lo"] + (1 << layer["a"]) - 1
        layer["nb"] = max(0, layer["lo"] - rescaled(layer, least)).bit_length()
        layer["hb"] = max(0, rescaled(layer, most) - top).bit_length()
    return Network(whole, weights)


def random_weights(description: Json, random: Random, bits: int = 4) -> dict[str, Tensor]:
    """Weights and biases of so many bits, for a description that need not be complete."""
    weights: dict[str, Tensor] = {}
    most = 1 << (bits - 1)
    for index, (layer, (given, made)) in enumerate(
        zip(description["layers"], shapes(description), strict=True)
    ):
        if layer["op"] == "pool":
            continue
        rows = made[1] if layer["op"] == "linear" else made[0]
        size = {"conv": given[0] * layer.get("k", 1) ** 2, "linear": given[-1]}.get(layer["op"], prod(given))
        weights[f"W{index}"] = [random.randrange(-most, most) for _ in range(rows * size)]
        weights[f"b{index}"] = [random.randrange(-most * 4, most * 4) for _ in range(rows)]
    return weights


def random_input(description: Json, random: Random) -> Tensor:
    """An admissible input; one in three is all zeros and maxima, where layers saturate."""
    most = (1 << description["in_bits"]) - 1
    cells = prod(description["in_dims"])
    if random.randrange(3) == 0:
        return [random.choice((0, most)) for _ in range(cells)]
    return [random.randint(0, most) for _ in range(cells)]


def network(
    layers: Sequence[Json],
    in_dims: Sequence[int],
    *,
    seed: int = 1,
    pcs: Json = FEW,
    t: int = 5,
    in_bits: int = 4,
) -> Network:
    """A network with random weights from the layers' descriptions without ``nb`` and ``hb``."""
    description = {
        "proto": "verinfer-sc/1",
        "t": t,
        "in_dims": list(in_dims),
        "in_bits": in_bits,
        "layers": list(layers),
        "pcs": dict(pcs),
    }
    return complete(description, random_weights(description, Random(seed)))  # noqa: S311 - reproducible tests


def activation(*, s: int = 4, a: int = 4, lo: int = 0, m: int = 1) -> Json:
    """The keys of a layer that is not final."""
    return {"M": m, "s": s, "a": a, "lo": lo}


def random_network(seed: int) -> Network:
    """A small network of any shape: odd sizes, strides, residuals, shortcuts, signed activations, every kind of parameters."""
    random = Random(seed)  # noqa: S311 - reproducible tests
    t = random.randint(5, 7)
    start = random.choice(
        [[random.randint(2, 6)], _sizes(random, 4, 5), [random.randint(2, 3), *_sizes(random, 5, 5)]]
    )
    layers: list[Json] = []
    for _ in range(random.randint(0, 3)):
        made = [dims for _, dims in shapes({"layers": layers, "in_dims": start})]
        layer: Json = {}
        given = made[-1] if made else tuple(start)
        if len(layers) >= 2 and random.random() < 0.3:
            layer["src"] = random.randrange(len(layers) - 1)
            given = made[layer["src"]]
        layer |= _random_operation(random, given)
        a = random.randint(1, t)
        layer |= activation(
            s=random.randint(1, 9), a=a, lo=random.choice((0, -1 << (a - 1))), m=random.choice((1, 3, 99))
        )
        layers.append(layer)
        _maybe_residual(random, layers, start)
    made = [dims for _, dims in shapes({"layers": layers, "in_dims": start})]
    layers.append({"op": "gemm", "nout": random.randint(1, 4)})
    if random.random() < 0.5:
        layers[-1] = _random_operation(random, made[-1] if made else tuple(start), weighted=not made)
    layers[-1]["final"] = 1
    _maybe_residual(random, layers, start)
    pcs = {
        "log_blowup": random.randint(1, 4),
        "queries": 6,
        "pow_bits": 0,
        "fold": random.randint(1, 4),
        "final_bits": random.randint(1, 4),
        "leaf_bits": random.randint(0, 3),
    }
    return network(layers, start, seed=seed, pcs=pcs, t=t, in_bits=random.randint(1, 5))


def _sizes(random: Random, *most: int) -> list[int]:
    return [random.randint(2, size) for size in most]


def _random_operation(random: Random, given: tuple[int, ...], *, weighted: bool = False) -> Json:
    if len(given) == 1:
        return {"op": "gemm", "nout": random.randint(1, 5)}
    if len(given) == 2:
        return {"op": random.choice(("linear", "linear", "gemm")), "nout": random.randint(1, 4)}
    if random.random() < 0.3 and not weighted:
        return {"op": "pool", "k": random.randint(1, min(given[1:]))}
    k = random.randint(1, min(3, *given[1:]))
    stride, pad = random.randint(1, 2), random.randrange(k)
    return {"op": "conv", "k": k, "stride": stride, "pad": pad, "cout": random.randint(1, 3)}


def _maybe_residual(random: Random, layers: list[Json], start: list[int]) -> None:
    made = [dims for _, dims in shapes({"layers": layers, "in_dims": start})]
    alike = [index for index, dims in enumerate(made[:-1]) if dims == made[-1]]
    if alike and random.random() < 0.7:
        layers[-1]["res"] = {"src": random.choice(alike), "c": random.choice((-7, 1, 20))}
