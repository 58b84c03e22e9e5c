"""Reed-Solomon encoding (section 1): message values are coefficients; codewords are kept in bit-reversed order.

`2^lb` transforms of the message's size, one for each coset, give exactly that order and stay small (section 12).
"""

from functools import lru_cache

import numpy as np

from .field import P, Words, add, inlined, kernel, mul, root, sub
from .threads import spread

_1 = np.uint64(1)
_CACHED = 1 << 13  # coefficients that a block's transform keeps in the first-level cache
_RUN = 4096


@kernel
def _fill_twiddles(roots: Words, out: Words) -> None:
    half = 1
    for k in range(roots.shape[0]):
        out[half] = _1
        for j in range(1, half):
            out[half + j] = mul(out[half + j - 1], roots[k])
        half *= 2


@lru_cache(maxsize=32)
def _twiddles(bits: int) -> Words:
    """`out[h + j] = w^j`, w of order 2h, for h = 1, 2, 4, .., 2^(bits-1): contiguous for each stage."""
    out = np.ones(max(2, 1 << bits), np.uint64)
    _fill_twiddles(np.array([root(k + 1) for k in range(bits)], dtype=np.uint64), out)
    return out


@inlined
def _two_stages(a: Words, start: int, quarter: int, twiddles: Words) -> None:
    for j in range(quarter):
        i = start + j
        a0 = a[i]
        a1 = a[i + quarter]
        a2 = a[i + 2 * quarter]
        a3 = a[i + 3 * quarter]
        b0 = add(a0, a2)
        b1 = add(a1, a3)
        b2 = mul(sub(a0, a2), twiddles[2 * quarter + j])
        b3 = mul(sub(a1, a3), twiddles[3 * quarter + j])
        w = twiddles[quarter + j]
        a[i] = add(b0, b1)
        a[i + quarter] = mul(sub(b0, b1), w)
        a[i + 2 * quarter] = add(b2, b3)
        a[i + 3 * quarter] = mul(sub(b2, b3), w)


@inlined
def _transform(a: Words, twiddles: Words) -> None:
    """In place, natural to bit-reversed order: two stages at a time, cache-sized blocks to completion."""
    size = a.shape[0]
    half = size // 2
    while 2 * half > _CACHED:
        for start in range(0, size, 2 * half):
            _two_stages(a, start, half // 2, twiddles)
        half //= 4
    block = 2 * half
    for first in range(0, size, max(block, 1)):
        h = half
        while h >= 2:
            for start in range(first, first + block, 2 * h):
                _two_stages(a, start, h // 2, twiddles)
            h //= 4
        if h == 1:
            for start in range(first, first + block, 2):
                x = a[start]
                y = a[start + 1]
                a[start] = add(x, y)
                a[start + 1] = sub(x, y)


@kernel
def _encode_cosets(low: int, high: int, message: Words, shifts: Words, twiddles: Words, out: Words) -> None:
    size = message.shape[0]
    run = min(size, _RUN)
    powers = np.empty(run, np.uint64)
    for b in range(low, high):
        coset = out[b * size : (b + 1) * size]
        if shifts[b] == _1:
            coset[:] = message
        else:
            powers[0] = _1
            for j in range(1, run):
                powers[j] = mul(powers[j - 1], shifts[b])
            step = mul(powers[run - 1], shifts[b])
            base = _1
            for start in range(0, size, run):
                for j in range(run):
                    coset[start + j] = mul(message[start + j], mul(base, powers[j]))
                base = mul(base, step)
        _transform(coset, twiddles)


def reversed_bits(number: int, bits: int) -> int:
    """A number of that many bits, read backwards."""
    return int(format(number, f"0{bits}b")[::-1], 2) if bits else 0


def encode(message: Words, blowup_bits: int, out: Words | None = None) -> Words:
    """The codeword of a message of 2^v coefficients: `2^(v + blowup_bits)` symbols in bit-reversed order; in `out` if given."""
    size = len(message)
    bits = size.bit_length() - 1
    generator = root(bits + blowup_bits)
    cosets = range(1 << blowup_bits)
    shifts = np.array([pow(generator, reversed_bits(b, blowup_bits), P) for b in cosets], dtype=np.uint64)
    if out is None:
        out = np.empty(size << blowup_bits, np.uint64)
    enough = 1 if size >= 2048 else 1 << 62
    spread(_encode_cosets, len(shifts), message, shifts, _twiddles(bits), out, worthwhile=enough)
    return out
