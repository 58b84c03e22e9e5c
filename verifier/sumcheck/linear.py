"""The linear layers, biases, residuals and rescalings of all layers, in one equation at one point (specification, section 6.5).

With powers of rho for the layers, ``sum rho^l {columns - M·C·residual - M·pooling - M·bias} = S + constant``,
where S is the sum of the weighted layers' products ``M <A, B>``: A their weights at a row, B what these are multiplied with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .description import Description, Layer
from .field import ONE, ZERO, K, add, mul, scale, sub
from .functionals import (
    Claim,
    Equal,
    Flattened,
    Pooled,
    Reading,
    Rows,
    Term,
    Windows,
    selector,
    tensor_at,
)
from .layout import Layout
from .messages import Messages
from .multilinear import Point, bits, padded_bits, split, valid
from .refusal import Step, require
from .rounds import sumcheck

Tensor = Sequence[int]
"""Unpadded, row-major."""


@dataclass(slots=True)
class _Equation:
    """A claim under construction: what is committed goes to the terms, what is public to the constant."""

    terms: list[Term] = field(default_factory=list)
    constant: K = ZERO

    def subtract(self, value: K) -> None:
        """Move a public part of the terms' side to the other."""
        self.constant = sub(self.constant, value)

    def claim(self, value: K) -> Claim:
        """That the terms sum to `value` and the constant."""
        return Claim(tuple(self.terms), add(value, self.constant))


@dataclass(frozen=True, slots=True)
class _Network:
    """What the layers' terms refer to."""

    description: Description
    places: Layout
    x: Tensor
    y: Tensor
    weights: int
    witness: int

    def add_activation(self, equation: _Equation, source: int, coefficient: K, reading: Reading) -> None:
        """Add ``coefficient · <reading, activation>``.

        A layer's activation is its column, and its lowest value on valid cells; the network's input is public.
        """
        if source < 0:
            equation.subtract(mul(coefficient, reading.on_input(self.x)))
            return
        block = self.places.columns[source].activation.block
        equation.terms.append(Term(self.witness, block, coefficient, reading))
        if lowest := self.description.lowest(source):
            equation.subtract(scale(mul(coefficient, reading.on_valid()), lowest))


def check(
    messages: Messages,
    description: Description,
    places: Layout,
    x: Tensor,
    y: Tensor,
    *,
    weights: int,
    witness: int,
) -> list[Claim]:
    """Step 8, with the numbers of the two polynomials; the claims make `y` the output for `x`. Raises `Rejected`."""
    network = _Network(description, places, x, y, weights, witness)
    longest = max(padded_bits(layer.outputs) for layer in description.layers)
    where = messages.transcript.challenges(b"zlin", longest)
    rho = messages.transcript.challenge(b"rho")
    claimed = messages.element(b"S")
    product, point = sumcheck(messages, b"l", claimed, places.products.bits)
    left, right = messages.pair(b"lf")
    require(mul(left, right) == product, Step.INNER_PRODUCT, "the products do not sum to what is claimed")
    whole, rows, operands = _Equation(), [], _Equation()
    power = ONE
    for index, layer in enumerate(description.layers):
        here = where[: padded_bits(layer.outputs)]
        _add_accumulator(network, whole, index, layer, here, power)
        if layer.weighted:
            rows.append(_row(network, index, layer, here, power, point))
            _add_operand(network, operands, index, layer, here, point)
        power = mul(power, rho)
    return [
        whole.claim(claimed),
        Claim(tuple(rows), left),
        operands.claim(right),
    ]


def _add_accumulator(
    network: _Network, equation: _Equation, index: int, layer: Layer, here: Point, power: K
) -> None:
    """A layer's own part of the equation, without its product: columns or output, residual, pooling or bias."""
    if layer.rescaling is None:
        factor = 1
        equation.subtract(mul(power, tensor_at(layer.outputs, network.y, here)))
    else:
        factor = layer.rescaling.factor
        _add_columns(network, equation, index, layer, here, power)
    scaled = scale(power, -factor)
    if layer.residual is not None:
        source = layer.residual.source
        times = scale(scaled, layer.residual.factor)
        network.add_activation(equation, source, times, Equal(here, layer.outputs))
    if layer.weighted:
        block = network.places.biases[index]
        channels, spatial = _parts(layer, here)
        bias = Rows((), channels, layer.channels)
        equation.terms.append(Term(network.weights, block, mul(scaled, spatial), bias))
    else:
        pooled = Pooled(here, layer.kernel, layer.inputs, layer.outputs)
        network.add_activation(equation, layer.source, scaled, pooled)


def _add_columns(
    network: _Network, equation: _Equation, index: int, layer: Layer, here: Point, power: K
) -> None:
    """``2^s (Y - N + H) + R``, which is ``M·acc + 2^(s-1) - 2^s lo`` on valid cells."""
    rescaling = layer.rescaling
    assert rescaling is not None  # the caller's case
    columns, shift = network.places.columns[index], rescaling.shift
    cells = Equal(here, layer.outputs)
    for sign, start, limbs in (
        (1, shift, (columns.activation,)),
        (-1, shift, columns.below),
        (1, shift, columns.above),
        (1, 0, columns.remainder),
    ):
        for limb in limbs:
            weight = scale(power, sign << (start + limb.position))
            equation.terms.append(Term(network.witness, limb.block, weight, cells))
    rounding = (rescaling.lowest << shift) - (1 << (shift - 1))
    equation.subtract(scale(mul(power, valid(layer.outputs, here)), rounding))


def _row(network: _Network, index: int, layer: Layer, here: Point, power: K, point: Point) -> Term:
    """A weighted layer's part of the inner product's left operand: its weights at the output point."""
    stacked = network.places.products.blocks[index]
    factor = 1 if layer.rescaling is None else layer.rescaling.factor
    coefficient = scale(mul(power, selector(stacked, point)), factor)
    channels, _ = _parts(layer, here)
    rows = Rows(point[: stacked.bits], channels, layer.channels)
    return Term(network.weights, network.places.weights[index], coefficient, rows)


def _add_operand(
    network: _Network, equation: _Equation, index: int, layer: Layer, here: Point, point: Point
) -> None:
    """A weighted layer's part of the right operand: what its weights are multiplied with, summed for the output point."""
    stacked = network.places.products.blocks[index]
    low = point[: stacked.bits]
    parts = split(layer.outputs, here)
    reading: Reading
    match layer.operation:
        case "conv":
            window = bits(layer.kernel**2)
            reading = Windows(
                low[:window],
                low[window:],
                rows=parts[1],
                columns=parts[2],
                kernel=layer.kernel,
                stride=layer.stride,
                pad=layer.pad,
                inputs=layer.inputs,
                outputs=layer.outputs,
            )
        case "linear":
            reading = Equal((*low, *parts[0]), layer.inputs)
        case _ if len(layer.inputs) > 1:
            reading = Flattened(low, layer.inputs)
        case _:
            reading = Equal(low, layer.inputs)
    network.add_activation(equation, layer.source, selector(stacked, point), reading)


def _parts(layer: Layer, here: Point) -> tuple[Point, K]:
    """The output point's channel coordinates, and which share of the cells of a channel are valid there."""
    parts = split(layer.outputs, here)
    match layer.operation:
        case "linear":
            return parts[1], valid(layer.outputs[:1], parts[0])
        case "conv":
            spatial = layer.outputs[1:]
            return parts[0], valid(spatial, here[: padded_bits(spatial)])
        case _:
            return parts[0], ONE
