"""The field and its extension: products of vectors against the definition, and lengths that do not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verinfer.verifier.sumcheck.field import ZERO, K, P, add, dot, dot_integers, mul, reverse_bits, scale

_WORD = st.integers(0, P - 1)
_ELEMENT = st.tuples(_WORD, _WORD)


@given(st.lists(st.tuples(_ELEMENT, _ELEMENT, st.integers(-(2**63), 2**63)), max_size=9))
def test_products_of_vectors_are_sums_of_products(rows: list[tuple[K, K, int]]) -> None:
    """With elements and with integers of any sign, of no entries too."""
    products = scaled = ZERO
    for left, right, factor in rows:
        products, scaled = add(products, mul(left, right)), add(scaled, scale(left, factor))
    lefts, rights, factors = ([row[at] for row in rows] for at in range(3))
    assert dot(lefts, rights) == products  # type: ignore[arg-type]  # a list for each column
    assert dot_integers(lefts, factors) == scaled  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(("longer", "shorter"), [(3, 2), (1, 0)])
def test_vectors_of_different_lengths_have_no_product(longer: int, shorter: int) -> None:
    """Nothing is left out of a sum unsaid, on either side."""
    long, short = [(1, 2)] * longer, [(3, 4)] * shorter
    for left, right in ((long, short), (short, long)):
        with pytest.raises(ValueError, match="elements"):
            dot(left, right)
        with pytest.raises(ValueError, match="elements"):
            dot_integers(left, [7] * len(right))


@given(st.integers(0, 32).flatmap(lambda width: st.tuples(st.integers(0, (1 << width) - 1), st.just(width))))
def test_bits_are_reversed_and_back(given_: tuple[int, int]) -> None:
    """Bit i goes to the place of bit width - 1 - i."""
    index, width = given_
    found = reverse_bits(index, width)
    assert all((found >> i & 1) == (index >> (width - 1 - i) & 1) for i in range(width))
    assert reverse_bits(found, width) == index
