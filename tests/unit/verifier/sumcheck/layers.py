"""The slow prover's linear layers: one equation for all of them, and one sum of products (specification, 6.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from verinfer.verifier.sumcheck.field import ONE, ZERO, K, P, add, mul, scale, sub, total

from . import dense
from .codes import Terms, W, X, applied, place, weighed
from .dense import bits
from .network import Json, Tensor, source
from .sending import Sending


class Layers(Sending):
    """A network's layers, and where their columns and weights lie."""

    description: Json
    layers: list[Json]
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]
    t: int
    widths: dict[str, int]
    """Bits of a cell, by column."""
    offsets: Mapping[str | int, int]
    weight_offsets: Mapping[str | int, int]
    weights: list[int]

    @property
    def weighted(self) -> list[int]:
        return [index for index, layer in enumerate(self.layers) if layer["op"] != "pool"]

    def nu(self, index: int) -> int:
        return sum(map(bits, self.shapes[index][1]))

    def channels(self, index: int) -> int:
        made = self.shapes[index][1]
        return made[1] if self.layers[index]["op"] == "linear" else made[0]

    def reduction(self, index: int) -> tuple[int, ...]:
        given = self.shapes[index][0]
        match self.layers[index]["op"]:
            case "conv":
                return given[0], self.layers[index]["k"] ** 2
            case "linear":
                return given[1:]
            case _:
                return (prod(given),)

    def names(self, group: str, index: int) -> list[tuple[int, str]]:
        """A layer's columns of one group, by the number of the limb."""
        found = [(number, f"{group}{number}.{index}") for number in range(16)]
        return [(number, name) for number, name in found if name in self.widths]

    def product_sum(self, value: K, needed: K) -> K:
        """S; `needed` is the one with which the linear equation holds."""
        return value

    def linear(self, cells: list[int], x: Tensor, y: Tensor) -> list[tuple[Terms, K]]:
        """Step 8."""
        where = self.transcript.challenges(b"zlin", max(map(self.nu, range(len(self.layers)))))
        rho = self.transcript.challenge(b"rho")
        reductions = {index: sum(map(bits, self.reduction(index))) for index in self.weighted}
        offsets, size = place(reductions.items())
        left, right = [ZERO] * (1 << size), [ZERO] * (1 << size)
        powers = [ONE]
        for _ in self.layers:
            powers.append(mul(powers[-1], rho))
        for index, kappa in reductions.items():
            high = dense.every(self.row_point(index, where))[: self.channels(index)]
            start, width = self.weight_offsets[f"W{index}"], 1 << kappa
            factor = scale(powers[index], self.layers[index].get("M", 1))
            for low in range(width):
                rows = self.weights[start + low : start + width * self.channels(index) : width]
                row = total(scale(weight, cell) for weight, cell in zip(high, rows, strict=True))
                left[offsets[index] + low] = mul(factor, row)
            operands = self.operands(index, self.activation(cells, x, source(self.layers, index)), where)
            right[offsets[index] : offsets[index] + width] = operands
        terms, constant = self.equation(x, y, where, powers)
        true = total(mul(a, b) for a, b in zip(left, right, strict=True))
        value = self.product_sum(true, sub(self.total_of(terms, cells), constant))
        self.send_k(b"S", [value])
        point, (a, b), _ = self.rounds(b"l", [left, right], mul, value, None)
        self.send_k(b"lf", [a, b])
        row_terms: Terms = []
        operand_terms: Terms = []
        public = ZERO
        for index, kappa in reductions.items():
            chosen = dense.equal(point[kappa:], offsets[index] >> kappa)
            weights = dense.rows(point[:kappa], self.row_point(index, where), self.channels(index))
            factor = mul(scale(powers[index], self.layers[index].get("M", 1)), chosen)
            row_terms.append(weighed(W, self.weight_offsets[f"W{index}"], weights, factor))
            reading = self.reading(index, point[:kappa], where)
            known = self.read(operand_terms, source(self.layers, index), chosen, reading, x)
            public = add(public, known)
        return [(terms, add(value, constant)), (row_terms, a), (operand_terms, sub(b, public))]

    def output_parts(self, index: int, where: Sequence[K]) -> list[Sequence[K]]:
        return dense.parts(self.shapes[index][1], where[: self.nu(index)])

    def row_point(self, index: int, where: Sequence[K]) -> Sequence[K]:
        """The coordinates of a weighted layer's output channels."""
        return self.output_parts(index, where)[1 if self.layers[index]["op"] == "linear" else 0]

    def activation(self, cells: list[int], x: Tensor, before: int) -> list[int]:
        """What a layer consumes, padded."""
        if before < 0:
            return dense.padded(tuple(self.description["in_dims"]), x)
        start = self.offsets[f"Y0.{before}"]
        column = cells[start : start + (1 << self.nu(before))]
        return [cell + low for cell, low in zip(column, self.floor(before), strict=True)]

    def floor(self, before: int) -> list[int]:
        """Lo on a layer's valid cells."""
        dims = self.shapes[before][1]
        return dense.padded(dims, [self.layers[before]["lo"]] * prod(dims))

    def operands(self, index: int, activation: list[int], where: Sequence[K]) -> list[K]:
        """B: what a layer's weights are multiplied with, summed for the output point."""
        layer, (given, made) = self.layers[index], self.shapes[index]
        parts = self.output_parts(index, where)
        match layer["op"]:
            case "linear":
                width = 1 << bits(given[1])
                times = dense.every(parts[0])
                return [
                    total(scale(time, cell) for time, cell in zip(times, activation[i::width], strict=True))
                    for i in range(width)
                ]
            case "conv":
                k, stride, pad = layer["k"], layer["stride"], layer["pad"]
                window = bits(k * k)
                found = [ZERO] * (1 << (window + bits(given[0])))
                plane = 1 << (bits(given[1]) + bits(given[2]))
                down, across = dense.every(parts[1]), dense.every(parts[2])
                for kh, kw, ph, pw in dense.cells((k, k, made[1], made[2])):
                    row, column = stride * ph + kh - pad, stride * pw + kw - pad
                    if 0 <= row < given[1] and 0 <= column < given[2]:
                        weight = mul(down[ph], across[pw])
                        for c in range(1 << bits(given[0])):
                            cell = activation[c * plane + (row << bits(given[2]) | column)]
                            spot = c << window | (kh * k + kw)
                            found[spot] = add(found[spot], scale(weight, cell))
                return found
            case _ if len(given) > 1:
                flat = [activation[dense.place(given, cell)] for cell in dense.cells(given)]
                return [(cell % P, 0) for cell in dense.padded((len(flat),), flat)]
            case _:
                return [(cell % P, 0) for cell in activation]

    def reading(self, index: int, low: Sequence[K], where: Sequence[K]) -> list[K]:
        """The functional of what a layer consumes whose value is B's extension at `low`."""
        layer, (given, made) = self.layers[index], self.shapes[index]
        parts = self.output_parts(index, where)
        match layer["op"]:
            case "linear":
                return dense.every([*low, *parts[0]])
            case "conv":
                window = bits(layer["k"] ** 2)
                return dense.windows(low[:window], low[window:], parts[1], parts[2], layer, given, made)
            case _ if len(given) > 1:
                return dense.flattened(low, given)
            case _:
                return dense.every(low)

    def read(self, terms: Terms, before: int, coefficient: K, reading: list[K], x: Tensor) -> K:
        """Add ``coefficient · <reading, activation>`` to the terms; what is public of it is given instead."""
        if before < 0:
            return mul(coefficient, applied(reading, self.activation([], x, before)))
        terms.append(weighed(X, self.offsets[f"Y0.{before}"], reading, coefficient))
        return mul(coefficient, applied(reading, self.floor(before)))

    def equation(self, x: Tensor, y: Tensor, where: Sequence[K], powers: list[K]) -> tuple[Terms, K]:
        """C5's terms, and Kc."""
        terms: Terms = []
        constant = ZERO
        for index, layer in enumerate(self.layers):
            given, made = self.shapes[index]
            here = dense.every(where[: self.nu(index)])
            valid = dense.padded(made, [1] * prod(made))
            power = powers[index]
            if "final" in layer:
                constant = sub(constant, mul(power, applied(here, dense.padded(made, y))))
            else:
                for group, sign, shift in (
                    ("Y", 1, layer["s"]),
                    ("N", -1, layer["s"]),
                    ("H", 1, layer["s"]),
                    ("R", 1, 0),
                ):
                    for number, name in self.names(group, index):
                        coefficient = scale(power, sign << (shift + number * self.t))
                        terms.append(weighed(X, self.offsets[name], here, coefficient))
                rounding = (1 << (layer["s"] - 1)) - (layer["lo"] << layer["s"])
                constant = add(constant, scale(mul(power, applied(here, valid)), rounding))
            factor = scale(power, -layer.get("M", 1))
            if "res" in layer:
                times = scale(factor, layer["res"]["c"])
                constant = sub(constant, self.read(terms, layer["res"]["src"], times, here, x))
            if layer["op"] == "pool":
                pooled = dense.pooled(where[: self.nu(index)], layer["k"], given, made)
                constant = sub(constant, self.read(terms, source(self.layers, index), factor, pooled, x))
            else:
                high = self.row_point(index, where)
                channels = 1 if layer["op"] == "linear" else 0
                for number, (part, size) in enumerate(
                    zip(self.output_parts(index, where), made, strict=True)
                ):
                    if number != channels:
                        factor = mul(factor, total(dense.every(part)[:size]))
                bias = dense.rows((), high, self.channels(index))
                terms.append(weighed(W, self.weight_offsets[f"b{index}"], bias, factor))
        return terms, constant

    def total_of(self, terms: Terms, cells: list[int]) -> K:
        """What the terms sum to."""
        polynomials = (self.weights, cells)
        return total(
            applied(weights, polynomials[which][start : start + len(weights)])
            for which, start, weights in terms
        )
