"""All linear layers in one equation, and all their products in one inner-product sumcheck (section 6.5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arena import Arena
from .description import bits
from .field import ONE, K, P, Words, add, from_signed, k_mul, k_scale, kernel, kmul, mul
from .functionals import WEIGHTS, WITNESS, Claim, Convolution, Equal, Flat, Functional, Pool, Rows, Term
from .layout import Block, Layout, Stage, column
from .rounds import inner, prove_product
from .tables import dot, eq_table
from .threads import spread
from .transcript import Transcript
from .witness import Witness, valid_cells

_0 = np.uint64(0)
_ALONE = 1 << 62  # never worth a second thread


def prove_linear(
    transcript: Transcript, layout: Layout, weights: Words, witness: Witness, arena: Arena
) -> list[Claim]:
    """Prove every accumulator; claims C5, C6, C7. Their values, and what is public in them, are the verifier's to compute."""
    star = transcript.challenges(b"zlin", max(stage.bits for stage in layout.stages))
    rho = transcript.challenge(b"rho")
    powers = [ONE]
    for _ in layout.stages[1:]:
        powers.append(k_mul(powers[-1], rho))
    with arena.scope():
        left, right = _stacks(layout, weights, witness, star, powers, arena)
        transcript.send_k(b"S", inner(left, right))
        point, a, b = prove_product(transcript, b"l", left, right, arena)
    transcript.send_k(b"lf", a, b)
    stages = [stage for stage in layout.stages if stage.weighted]
    return [
        [term for stage in layout.stages for term in _identity(layout, stage, star, powers[stage.index])],
        [_left_term(layout, stage, star, point, powers[stage.index]) for stage in stages],
        [_right_term(layout, stage, star, point) for stage in stages if stage.source >= 0],
    ]


def activation(layout: Layout, witness: Witness, source: int) -> Words:
    """What a layer's activation is in F, in its unpadded dimensions; of -1, the input."""
    if source < 0:
        return from_signed(witness.x)
    stage = layout.stages[source]
    cells = valid_cells(witness.cells[layout.witness[column("Y", 0, source)].cells], stage.out)
    if not stage.low:
        return np.ascontiguousarray(cells)
    # lo is negative: what falls below 0 wraps around p
    lowered = cells + np.uint64(P + stage.low)
    return np.where(cells >= np.uint64(-stage.low), cells - np.uint64(-stage.low), lowered)


def _stacks(
    layout: Layout, weights: Words, witness: Witness, star: Sequence[K], powers: Sequence[K], arena: Arena
) -> tuple[Words, Words]:
    """The stacked A and B, uint64[2^product_bits, 2] each."""
    left, right = (arena.elements(1 << layout.product_bits) for _ in range(2))
    left[:], right[:] = 0, 0
    activations: dict[int, Words] = {}
    for index, block in layout.products.items():
        stage = layout.stages[index]
        rows = eq_table(stage.output_point(star), k_scale(powers[index], stage.scale))
        matrix = weights[layout.weights[f"W{index}"].cells].reshape(-1, 1 << block.bits)
        _sum_rows(matrix[: stage.outputs], rows, left[block.cells])
        if stage.source not in activations:
            activations[stage.source] = activation(layout, witness, stage.source)
        _reduce(stage, activations[stage.source], star, right[block.cells])
    return left, right


def _reduce(stage: Stage, x: Words, star: Sequence[K], out: Words) -> None:
    """B of one layer: what its activations are at the output point's other coordinates, for each cell of the reduction."""
    point = stage.point(star)
    if stage.operation == "linear":
        _sum_rows(x, eq_table(point[0]), out[: x.shape[1]])
    elif stage.operation == "conv":
        k, stride, pad = (stage.layer[key] for key in ("k", "stride", "pad"))
        rows, columns = eq_table(point[1])[: stage.out[1]], eq_table(point[2])[: stage.out[2]]
        partial = np.empty((*stage.given[:2], k, 2), np.uint64)
        enough = 2 if x.size >= 1 << 12 else _ALONE
        spread(_contract_columns, len(x), x, columns, stride, pad, partial, worthwhile=enough)
        windows = out.reshape(-1, 1 << bits(k * k), 2)
        spread(_contract_rows, len(x), partial, rows, stride, pad, windows, worthwhile=enough)
    else:
        out[: x.size, 0] = x.reshape(-1)


def _sum_rows(matrix: Words, weights: Words, out: Words) -> None:
    """`out[i] = sum_o weights[o] matrix[o, i]`."""
    enough = 64 if matrix.size >= 1 << 13 else _ALONE
    spread(_sum_columns, matrix.shape[1], matrix, weights, out, worthwhile=enough)


def _identity(layout: Layout, stage: Stage, star: Sequence[K], power: K) -> list[Term]:
    """C5's terms of one layer: its columns, less what its accumulator adds besides products."""
    point = list(star[: stage.bits])
    shift = stage.layer.get("s", 0)
    heights = {"Y": 1 << shift, "N": -(1 << shift), "H": 1 << shift, "R": 1}
    terms = [
        Term(
            WITNESS,
            layout.witness[name],
            Equal(point),
            k_scale(power, heights[group] << number * layout.limb_bits),
        )
        for name, group, number, _ in stage.columns()
    ]
    minus = k_scale(power, -stage.scale)
    if "res" in stage.layer:
        shortcut = stage.layer["res"]
        block = layout.witness[column("Y", 0, shortcut["src"])]
        terms.append(Term(WITNESS, block, Equal(point), k_scale(minus, shortcut["c"])))
    if stage.weighted:
        inside = k_mul(minus, _spatial(stage, star))
        bias = Rows([], stage.output_point(star), stage.outputs)
        terms.append(Term(WEIGHTS, layout.weights[f"b{stage.index}"], bias, inside))
    elif stage.source >= 0:
        channels, rows, columns = stage.point(star)
        pool = Pool(channels, rows, columns, stage.layer["k"], stage.given, stage.out)
        terms.append(Term(WITNESS, _source_block(layout, stage), pool, minus))
    return terms


def _spatial(stage: Stage, star: Sequence[K]) -> K:
    """`valid~` over the dimensions that share a bias."""
    shared = {"conv": slice(1, None), "linear": slice(0, 1), "gemm": slice(0, 0)}[stage.operation]
    product = ONE
    for size, point in zip(stage.out[shared], stage.point(star)[shared], strict=True):
        product = k_mul(product, dot(np.ones(size, np.uint64), eq_table(point)[:size]))
    return product


def _source_block(layout: Layout, stage: Stage) -> Block:
    return layout.witness[column("Y", 0, stage.source)]


def _left_term(layout: Layout, stage: Stage, star: Sequence[K], point: Sequence[K], power: K) -> Term:
    block = layout.products[stage.index]
    rows = Rows(point[: block.bits], stage.output_point(star), stage.outputs)
    coefficient = k_mul(k_scale(power, stage.scale), block.selector(point))
    return Term(WEIGHTS, layout.weights[f"W{stage.index}"], rows, coefficient)


def _right_term(layout: Layout, stage: Stage, star: Sequence[K], point: Sequence[K]) -> Term:
    block = layout.products[stage.index]
    functional = _reduction(stage, star, point[: block.bits])
    return Term(WITNESS, _source_block(layout, stage), functional, block.selector(point))


def _reduction(stage: Stage, star: Sequence[K], low: Sequence[K]) -> Functional:
    """The functional on the source whose value is B's extension at `low`."""
    out = stage.point(star)
    match stage.operation:
        case "conv":
            layer = stage.layer
            window = bits(layer["k"] ** 2)
            return Convolution(
                low[:window],
                low[window:],
                out[1],
                out[2],
                layer["k"],
                layer["stride"],
                layer["pad"],
                stage.given,
                stage.out,
            )
        case "linear":
            return Equal([*low, *out[0]])
        case _ if len(stage.given) > 1:
            return Flat(low, stage.given)
        case _:
            return Equal(low)


@kernel
def _sum_columns(low: int, high: int, matrix: Words, weights: Words, out: Words) -> None:
    for i in range(low, high):
        out[i, 0] = _0
        out[i, 1] = _0
    for o in range(matrix.shape[0]):
        e0 = weights[o, 0]
        e1 = weights[o, 1]
        for i in range(low, high):
            cell = matrix[o, i]
            if cell != _0:
                out[i, 0] = add(out[i, 0], mul(cell, e0))
                out[i, 1] = add(out[i, 1], mul(cell, e1))


@kernel
def _contract_columns(
    low: int, high: int, x: Words, columns: Words, stride: int, pad: int, out: Words
) -> None:
    """`out[c, q, j] = sum_p columns[p] x[c, q, stride p + j - pad]`, shape [C, H, k, 2]."""
    for c in range(low, high):
        for q in range(x.shape[1]):
            for j in range(out.shape[2]):
                s0 = _0
                s1 = _0
                for p in range(columns.shape[0]):
                    r = stride * p + j - pad
                    if 0 <= r < x.shape[2]:
                        s0 = add(s0, mul(x[c, q, r], columns[p, 0]))
                        s1 = add(s1, mul(x[c, q, r], columns[p, 1]))
                out[c, q, j, 0] = s0
                out[c, q, j, 1] = s1


@kernel
def _contract_rows(
    low: int, high: int, partial: Words, rows: Words, stride: int, pad: int, out: Words
) -> None:
    """`out[c, k i + j] = sum_p rows[p] partial[c, stride p + i - pad, j]`."""
    k = partial.shape[2]
    for c in range(low, high):
        for i in range(k):
            for j in range(k):
                s0 = _0
                s1 = _0
                for p in range(rows.shape[0]):
                    q = stride * p + i - pad
                    if 0 <= q < partial.shape[1]:
                        x, y = kmul(partial[c, q, j, 0], partial[c, q, j, 1], rows[p, 0], rows[p, 1])
                        s0 = add(s0, x)
                        s1 = add(s1, y)
                out[c, k * i + j, 0] = s0
                out[c, k * i + j, 1] = s1
