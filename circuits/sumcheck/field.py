"""The field of verinfer-sc/1 (section 1): Goldilocks F, and K = F[X]/(X^2 - 7).

Inside kernels an element of F is a `uint64` below p and one of K two of them. Between kernels a vector over F is
`uint64[n]`, one over K `uint64[n, 2]`, and a single element of K is a pair of Python integers.
Every constant a kernel uses is a `uint64`: numba makes a float of a sum of `uint64` and a plain integer (section 14).
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .kernel_cache import use_cache

use_cache()  # before the first kernel, and every module with kernels imports this one

P = 0xFFFF_FFFF_0000_0001
GENERATOR = 7
HALF = (P + 1) // 2

Words = NDArray[np.uint64]
K = tuple[int, int]
ZERO: K = (0, 0)
ONE: K = (1, 0)

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile for calls from Python: without the interpreter's lock, kept in the cache directory."""
    return cast("Function", numba.njit(nogil=True, cache=True)(function))


def inlined(function: Function) -> Function:
    """Compile for calls from kernels only, always inlined by LLVM."""
    return cast("Function", numba.njit(nogil=True, forceinline=True)(function))


def _wide_product(_typing: Any, _a: Any, _b: Any) -> Any:
    number_types: Any = types  # numba's types have no types
    signature = number_types.UniTuple(types.uint64, 2)(types.uint64, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return context.make_tuple(builder, signature.return_type, (high, builder.trunc(product, word)))

    return signature, generate


# Both halves (high, low) of a 64 x 64 bit product: one instruction.
_multiply_wide = cast(
    "Callable[[np.uint64, np.uint64], tuple[np.uint64, np.uint64]]", intrinsic(_wide_product)
)

_P = np.uint64(P)
_EPSILON = np.uint64(0xFFFF_FFFF)  # 2^64 mod p
_32 = np.uint64(32)
_7 = np.uint64(7)


@inlined
def add(a: np.uint64, b: np.uint64) -> np.uint64:
    """`a + b` in F."""
    r = a + b
    if r < a:
        r += _EPSILON
    if r >= _P:
        r -= _P
    return r


@inlined
def sub(a: np.uint64, b: np.uint64) -> np.uint64:
    """`a - b` in F."""
    r = a - b
    if a < b:
        r += _P
    return r


@inlined
def mul(a: np.uint64, b: np.uint64) -> np.uint64:
    """`a * b` in F: 2^64 = 2^32 - 1 and 2^96 = -1 mod p."""
    high, low = _multiply_wide(a, b)
    top = high >> _32
    r = low - top
    if low < top:
        r -= _EPSILON
    middle = (high & _EPSILON) * _EPSILON
    r += middle
    if r < middle:
        r += _EPSILON
    if r >= _P:
        r -= _P
    return r


@inlined
def kmul(a0: np.uint64, a1: np.uint64, b0: np.uint64, b1: np.uint64) -> tuple[np.uint64, np.uint64]:
    """`(a0 + a1 X)(b0 + b1 X)` in K."""
    return add(mul(a0, b0), mul(_7, mul(a1, b1))), add(mul(a0, b1), mul(a1, b0))


def k_add(a: K, b: K) -> K:
    """`a + b` in K."""
    return (a[0] + b[0]) % P, (a[1] + b[1]) % P


def k_sub(a: K, b: K) -> K:
    """`a - b` in K."""
    return (a[0] - b[0]) % P, (a[1] - b[1]) % P


def k_mul(a: K, b: K) -> K:
    """`a * b` in K."""
    return (a[0] * b[0] + 7 * a[1] * b[1]) % P, (a[0] * b[1] + a[1] * b[0]) % P


def k_scale(a: K, factor: int) -> K:
    """`factor * a` for an integer, of either sign."""
    return a[0] * factor % P, a[1] * factor % P


def k_inverse(a: K) -> K:
    """`1 / a`; `ValueError` of zero."""
    norm = pow(a[0] * a[0] - 7 * a[1] * a[1], -1, P)
    return a[0] * norm % P, -a[1] * norm % P


def k_sum(values: Iterable[K]) -> K:
    """The sum of elements of K."""
    total = ZERO
    for value in values:
        total = k_add(total, value)
    return total


def between(a: K, b: K, r: K) -> K:
    """`(1 - r) a + r b`."""
    return k_add(a, k_mul(r, k_sub(b, a)))


def quadratic(t0: K, t1: K, leading: K, r: K) -> K:
    """The quadratic through `t(0)`, `t(1)` with that leading coefficient, at `r` (section 6.1)."""
    return k_add(t0, k_mul(r, k_add(k_sub(k_sub(t1, t0), leading), k_mul(r, leading))))


def root(order_bits: int) -> int:
    """A generator of the subgroup of order `2^order_bits`."""
    return pow(GENERATOR, (P - 1) >> order_bits, P)


def eq_bits(number: int, point: Iterable[K]) -> K:
    """`eq` of the bits of a number, lowest first, with a point."""
    product = ONE
    for i, z in enumerate(point):
        product = k_mul(product, z if number >> i & 1 else k_sub(ONE, z))
    return product


def words(values: Iterable[K]) -> Words:
    """A vector over K from its elements, shape [n, 2]."""
    return np.array(list(values), dtype=np.uint64).reshape(-1, 2)


def element(row: Any) -> K:
    """An element of K from a row of a vector or a kernel's pair."""
    return int(row[0]), int(row[1])


def from_signed(values: NDArray[np.int64]) -> Words:
    """Signed integers as elements of F, any shape."""
    unsigned = values.astype(np.uint64)
    return np.where(values < 0, unsigned + _P, unsigned)
