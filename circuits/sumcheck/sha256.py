"""SHA-256 (FIPS 180-4) of many messages of one length, sixteen at a time in vector registers (section 12).

Calling hashlib for each leaf costs half a microsecond a call and would be most of a proof's time.
"""

from collections.abc import Callable
from math import isqrt
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .field import inlined, kernel
from .threads import spread

Hashes = NDArray[np.uint32]
LANES = 16
_u = np.uint32


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle - 1)
    return low


_ROUNDS = [_cube_root(prime << 96) & 0xFFFF_FFFF for prime in _primes(64)]
_START = np.array([isqrt(prime << 64) & 0xFFFF_FFFF for prime in _primes(8)], dtype=np.uint32)


def _compression(_typing: Any, _state: Any, _block: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        lanes, word = ir.VectorType(ir.IntType(32), LANES), ir.IntType(64)
        state, block = (builder.inttoptr(argument, lanes.as_pointer()) for argument in arguments)

        def constant(value: int) -> Any:
            return ir.Constant(lanes, [value] * LANES)

        def load(pointer: Any, index: int) -> Any:
            value = builder.load(builder.gep(pointer, [ir.Constant(word, index)]))
            value.align = 4
            return value

        def xor3(a: Any, b: Any, c: Any) -> Any:
            return builder.xor(builder.xor(a, b), c)

        def rotate(x: Any, n: int) -> Any:
            return builder.or_(builder.lshr(x, constant(n)), builder.shl(x, constant(32 - n)))

        w = [load(block, i) for i in range(16)]
        start = [load(state, i) for i in range(8)]
        a, b, c, d, e, f, g, h = start
        for t in range(64):
            if t >= 16:
                x, y = w[(t - 15) % 16], w[(t - 2) % 16]
                s0 = xor3(rotate(x, 7), rotate(x, 18), builder.lshr(x, constant(3)))
                s1 = xor3(rotate(y, 17), rotate(y, 19), builder.lshr(y, constant(10)))
                w[t % 16] = builder.add(builder.add(w[t % 16], s0), builder.add(w[(t - 7) % 16], s1))
            choice = builder.xor(g, builder.and_(e, builder.xor(f, g)))
            sum1 = builder.add(builder.add(h, xor3(rotate(e, 6), rotate(e, 11), rotate(e, 25))), choice)
            sum1 = builder.add(sum1, builder.add(w[t % 16], constant(_ROUNDS[t])))
            majority = builder.or_(builder.and_(a, b), builder.and_(c, builder.or_(a, b)))
            sum2 = builder.add(xor3(rotate(a, 2), rotate(a, 13), rotate(a, 22)), majority)
            a, b, c, d, e, f, g, h = builder.add(sum1, sum2), a, b, c, builder.add(d, sum1), e, f, g
        for i, (before, after) in enumerate(zip(start, (a, b, c, d, e, f, g, h), strict=True)):
            stored = builder.store(builder.add(before, after), builder.gep(state, [ir.Constant(word, i)]))
            stored.align = 4
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


# One compression in each lane: addresses of a state uint32[8, 16] and of a block uint32[16, 16].
_compress = cast("Callable[[int, int], None]", intrinsic(_compression))


@inlined
def _swapped(x: np.uint32) -> np.uint32:
    return (x << _u(24)) | ((x & _u(0xFF00)) << _u(8)) | ((x >> _u(8)) & _u(0xFF00)) | (x >> _u(24))


@inlined
def _load(data: Hashes, base: int, high: int, column: int, swap: bool, lanes: Hashes) -> None:
    """One word of each lane's message; lanes past the end repeat the last message. Branches stay outside the loops."""
    if base + LANES > high:
        for lane in range(LANES):
            lanes[lane] = data[min(base + lane, high - 1), column]
    else:
        for lane in range(LANES):
            lanes[lane] = data[base + lane, column]
    if swap:
        for lane in range(LANES):
            lanes[lane] = _swapped(lanes[lane])


@inlined
def _padding(at: int, prefix: np.uint32, total: int, blocks: int) -> np.uint32:
    """A word outside the rows' data: the prefix, the end mark, the length in bits, or zero."""
    if at == 0 and total > 0:
        return prefix
    if at == total:
        return _u(0x8000_0000)
    if at == blocks * 16 - 1:
        return _u(total * 32)
    return _u(0)


@kernel
def _hash(
    low: int,
    high: int,
    data: Hashes,
    swap: bool,
    prefix: np.uint32,
    prefixes: int,
    start: Hashes,
    out: Hashes,
) -> None:
    total = data.shape[1] + prefixes
    blocks = (total * 4 + 9 + 63) // 64
    state = np.empty((8, LANES), np.uint32)
    w = np.empty((16, LANES), np.uint32)
    for base in range(low, high, LANES):
        for i in range(8):
            state[i, :] = start[i]
        for block in range(blocks):
            for j in range(16):
                at = block * 16 + j
                if prefixes <= at < total:
                    _load(data, base, high, at - prefixes, swap, w[j])
                else:
                    w[j, :] = _padding(at, prefix, total, blocks)
            _compress(state.ctypes.data, w.ctypes.data)
        for lane in range(min(LANES, high - base)):
            for i in range(8):
                out[base + lane, i] = state[i, lane]


def hash_many(data: Hashes, *, prefix: bytes = b"", little_endian: bool = False) -> Hashes:
    """SHA-256 of each row's words, after an optional prefix of 4 bytes; results as words, shape [n, 8].

    Words of the rows stand for their big-endian bytes, or for their little-endian ones.
    """
    out = np.empty((len(data), 8), np.uint32)
    first = np.uint32(int.from_bytes(prefix, "big"))
    spread(
        _hash,
        len(data),
        data,
        little_endian,
        first,
        len(prefix) // 4,
        _START,
        out,
        worthwhile=1024,
        align=LANES,
    )
    return out


def as_bytes(digest: Hashes) -> bytes:
    """The 32 bytes of a row of `hash_many`."""
    return digest.astype(">u4").tobytes()
