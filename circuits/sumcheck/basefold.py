"""BaseFold: both polynomials' values at one point, from the codewords behind their roots (section 6.7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arena import Arena
from .commitment import Committed
from .field import ONE, ZERO, K, Words, add, element, k_add, k_mul, kernel, kmul, mul
from .layout import Layout
from .merkle import Tree, tree
from .reed_solomon import encode
from .rounds import weighted_round
from .sha256 import hash_many
from .tables import eq_table, folded, suffix_tables
from .threads import spread, summed
from .transcript import Transcript

_0 = np.uint64(0)
_GRINDS = 1 << 12  # nonces tried at once


def prove_values(
    transcript: Transcript,
    layout: Layout,
    polynomials: Sequence[Committed],
    point: Sequence[K],
    values: Sequence[K],
    arena: Arena,
) -> None:
    """Prove that each polynomial's extension has its value at the last coordinates of a common point."""
    xi = transcript.challenge(b"xi")
    factors = (ONE, xi)
    with arena.scope():
        message, challenges = _fold_to_leaves(transcript, layout, polynomials, factors, point, values, arena)
        oracles = _fold_oracles(transcript, layout, message, point[len(challenges) :], arena)
        nonce = grind(transcript.squeeze_state(b"pow"), layout.description["pcs"]["pow_bits"])
        transcript.send(b"nonce", nonce.to_bytes(8, "big"))
        leaves = 1 << layout.leaves_bits + layout.blowup_bits
        indices = transcript.indices(layout.description["pcs"]["queries"], leaves)
        for polynomial in polynomials:
            transcript.append(polynomial.tree.opening(indices))
        for (_, folds), oracle in zip(layout.levels, oracles, strict=True):
            indices = sorted({index >> folds for index in indices})
            transcript.append(oracle.opening(indices))


def _fold_to_leaves(
    transcript: Transcript,
    layout: Layout,
    polynomials: Sequence[Committed],
    factors: Sequence[K],
    point: Sequence[K],
    values: Sequence[K],
    arena: Arena,
) -> tuple[Words, list[K]]:
    """Bind the first variables, down to `2^leaves_bits` entries: the combined message, and the challenges.

    The vectors are read twice and never folded: rounds run on what is left when the last variables are bound to the point.
    """
    turns = len(point) - layout.leaves_bits
    high = eq_table(point[turns:])
    rest = [
        _scaled(_sum_high(polynomial.cells, high), factor)
        for polynomial, factor in zip(polynomials, factors, strict=True)
    ]
    challenges: list[K] = []
    for turn in range(turns):
        weights = eq_table(point[turn + 1 : turns])
        zero, one = ZERO, ZERO
        for part, polynomial, factor, value in zip(rest, polynomials, factors, values, strict=True):
            if turn < len(point) - polynomial.bits:  # constant in this variable
                at_zero = at_one = k_mul(factor, value)
            else:
                at_zero, at_one = summed(spread(weighted_round, len(part) // 2, part, weights))
            zero, one = k_add(zero, at_zero), k_add(one, at_one)
        challenges.append(_exchange(transcript, zero, one))
        rest = [
            part if turn < len(point) - polynomial.bits else folded(part, challenges[-1])
            for part, polynomial in zip(rest, polynomials, strict=True)
        ]
    message = arena.elements(1 << layout.leaves_bits)
    message[:] = 0
    for polynomial, factor in zip(polynomials, factors, strict=True):
        low = eq_table(challenges[len(point) - polynomial.bits :], factor)
        spread(_add_low, len(message), polynomial.cells, low, message)
    return message, challenges


def _fold_oracles(
    transcript: Transcript, layout: Layout, message: Words, point: Sequence[K], arena: Arena
) -> list[Tree]:
    """Commit to the message, fold it, commit again, until it is short enough to be sent."""
    oracles: list[Tree] = []
    eq = suffix_tables(point, arena)
    at = 0
    for _, folds in layout.levels:
        oracles.append(tree(_encode_elements(message, layout.blowup_bits), 2 << folds))
        transcript.send(b"oracle", oracles[-1].root)
        for _ in range(folds):
            zero, one = summed(spread(weighted_round, len(message) // 2, message, eq[at]))
            message = folded(message, _exchange(transcript, zero, one))
            at += 1
    transcript.send_k(b"final", *(element(row) for row in message))
    return oracles


def _exchange(transcript: Transcript, zero: K, one: K) -> K:
    transcript.send_k(b"b", zero, one)
    return transcript.challenge(b"r")


def _encode_elements(message: Words, blowup_bits: int) -> Words:
    """The codeword of a message over K, coordinate by coordinate."""
    codewords = [encode(np.ascontiguousarray(message[:, i]), blowup_bits) for i in range(2)]
    return np.stack(codewords, axis=1)


def grind(state: bytes, zero_bits: int) -> int:
    """The first nonce with which the hash of the state begins with that many zero bits, at most 32."""
    words = np.frombuffer(state, ">u4")
    block = np.empty((_GRINDS, 10), np.uint32)
    block[:, :8] = words
    first = 0
    while True:
        nonces = np.arange(first, first + _GRINDS, dtype=np.uint64)
        block[:, 8] = nonces >> np.uint64(32)
        block[:, 9] = nonces & np.uint64(0xFFFF_FFFF)
        heads = hash_many(block, prefix=b"pow!")[:, 0].astype(np.uint64)
        found = np.flatnonzero(heads >> np.uint64(32 - zero_bits) == 0)
        if len(found):
            return first + int(found[0])
        first += _GRINDS


def _sum_high(cells: Words, high: Words) -> Words:
    """`sum_h cells[h, b] high[h]` for each b, the low variables."""
    parts = spread(_partial_sums, len(high), cells, high)
    total: Words = parts[0]
    for part in parts[1:]:
        _accumulate(part, total)
    return total


def _scaled(vector: Words, factor: K) -> Words:
    out = np.empty_like(vector)
    _scale(vector, np.array(factor, np.uint64), out)
    return out


@kernel
def _partial_sums(low: int, high: int, cells: Words, weights: Words) -> Words:
    size = cells.shape[0] // weights.shape[0]
    out = np.zeros((size, 2), np.uint64)
    for h in range(low, high):
        x = weights[h, 0]
        y = weights[h, 1]
        for b in range(size):
            cell = cells[h * size + b]
            out[b, 0] = add(out[b, 0], mul(cell, x))
            out[b, 1] = add(out[b, 1], mul(cell, y))
    return out


@kernel
def _accumulate(source: Words, target: Words) -> None:
    for i in range(source.shape[0]):
        target[i, 0] = add(target[i, 0], source[i, 0])
        target[i, 1] = add(target[i, 1], source[i, 1])


@kernel
def _scale(source: Words, factor: Words, out: Words) -> None:
    for i in range(source.shape[0]):
        out[i, 0], out[i, 1] = kmul(source[i, 0], source[i, 1], factor[0], factor[1])


@kernel
def _add_low(low: int, high: int, cells: Words, weights: Words, out: Words) -> None:
    """`out[h] += sum_b cells[h, b] weights[b]`."""
    size = weights.shape[0]
    for h in range(low, high):
        s0 = _0
        s1 = _0
        for b in range(size):
            cell = cells[h * size + b]
            s0 = add(s0, mul(cell, weights[b, 0]))
            s1 = add(s1, mul(cell, weights[b, 1]))
        out[h, 0] = add(out[h, 0], s0)
        out[h, 1] = add(out[h, 1], s1)
