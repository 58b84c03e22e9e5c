"""What is signed for a transaction at most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verinfer.verifier.errors import Rejected, UsageError
from verinfer.verifier.evm.fees import MOST_GAS, MOST_GWEI, Most, fees_of, gas_of, read_most

NUMBER = st.integers(0, 2**64 - 1)


@given(base=NUMBER, tip=NUMBER, estimate=NUMBER, wei=NUMBER, gas=st.integers(1, 2**64))
def test_nothing_beyond_the_limits_is_signed(base: int, tip: int, estimate: int, wei: int, gas: int) -> None:
    """Whatever a node names, it is refused, or the price and the gas are enough for it and within the limits."""
    most = Most(wei, gas)
    if base + tip > wei:
        with pytest.raises(Rejected) as caught:
            fees_of(base, tip, most)
        assert (caught.value.code, caught.value.field) == ("fee-too-high", "gwei")
    else:
        fees = fees_of(base, tip, most)
        assert fees.tip == tip
        assert base + tip <= fees.most <= wei
    if estimate > gas:
        with pytest.raises(Rejected) as caught:
            gas_of(estimate, most)
        assert (caught.value.code, caught.value.field) == ("fee-too-high", "gas")
    else:
        assert estimate <= gas_of(estimate, most) <= gas


@pytest.mark.parametrize(("base", "tip"), [(1, 9), (10, 0), (0, 10)])
def test_a_limit_is_the_last_price_that_is_paid(base: int, tip: int) -> None:
    """The tip counts; one wei more is refused, and the message says what was asked and what to do."""
    assert fees_of(base, tip, Most(10, 1)).most == 10
    with pytest.raises(Rejected, match=r"--most-gwei"):
        fees_of(base, tip, Most(9, 1))
    with pytest.raises(Rejected, match=r"2,000 Gwei .* 1,000 of it as a tip, and at most 10 may be paid"):
        fees_of(10**12, 10**12, read_most(MOST_GWEI, MOST_GAS))


def test_there_is_room_for_the_base_fee_to_rise() -> None:
    """Far from the limit the price may double before a transaction waits; near it, it may rise to the limit."""
    assert fees_of(100, 7, Most(1000, 1)).most == 207
    assert fees_of(100, 7, Most(150, 1)).most == 150
    assert gas_of(100_000, Most(1, 1_000_000)) == 110_000
    assert gas_of(100_000, Most(1, 105_000)) == 105_000


@pytest.mark.parametrize("gwei", [float("nan"), float("inf"), -float("inf"), -1e-9, 1e9])
def test_a_limit_that_limits_nothing_is_refused(gwei: float) -> None:
    """Nothing compares with what is no number, so that would allow everything."""
    with pytest.raises(UsageError, match="--most-gwei"):
        read_most(gwei, 1)


def test_a_limit_is_in_gwei() -> None:
    """A fraction of one is a price, too; nothing is one where gas is free."""
    assert read_most(0.25, 7) == Most(250_000_000, 7)
    assert fees_of(0, 0, read_most(0, 1)).most == 0
