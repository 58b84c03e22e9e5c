"""What a transaction may cost at most, whatever the node asks: the price of a gas, and how much gas.

A node estimates the gas, and names the base fee and a tip; who lies about them could have all of an account's ether burnt.
So both have a limit that the caller knows, beyond which nothing is signed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Rejected, UsageError

MOST_GWEI = 10.0
MOST_GAS = 8_000_000
"""More than the largest contract that a chain takes needs to be deployed."""

_GWEI = 10**9
_HIGHEST_GWEI = 1e6


@dataclass(frozen=True, slots=True)
class Most:
    """The most that may be signed for: wei for a gas, and gas."""

    wei: int
    gas: int


@dataclass(frozen=True, slots=True)
class Fees:
    """What is signed for a gas, in wei: the tip, and the most that is paid with it (EIP-1559)."""

    tip: int
    most: int


def read_most(gwei: float, gas: int) -> Most:
    """The limits that were given; raises `UsageError` for a price that is no number, or none that anybody pays."""
    # Not a number is not within them, either.
    if not 0 <= gwei <= _HIGHEST_GWEI:
        raise UsageError("usage", f"--most-gwei takes a number from 0 to {_HIGHEST_GWEI:,.0f}.")
    return Most(round(gwei * _GWEI), gas)


def gas_of(estimate: int, most: Most) -> int:
    """The gas to sign for; raises `Rejected` (``fee-too-high``)."""
    if estimate > most.gas:
        raise Rejected(
            "fee-too-high",
            f"The node says that the transaction takes {estimate:,} gas, and at most {most.gas:,} may be used, so nothing was "
            "signed. Is the contract the right one? Then give --most-gas; or ask another node.",
            field="gas",
        )
    # More than the estimate: a call inside gets 63 64ths of what is left.
    return min(estimate * 11 // 10, most.gas)


def fees_of(base: int, tip: int, most: Most) -> Fees:
    """The fees to sign for, where the node names `base` and `tip`, in wei for a gas; raises `Rejected` (``fee-too-high``)."""
    if base + tip > most.wei:
        raise Rejected(
            "fee-too-high",
            f"The node asks {_gwei(base + tip)} Gwei for a gas, {_gwei(tip)} of it as a tip, and at most {_gwei(most.wei)} may "
            "be paid, so nothing was signed. Compare with what gas costs elsewhere; then give --most-gwei, or ask another node.",
            field="gwei",
        )
    # The base fee may rise until a block takes the transaction.
    return Fees(tip, min(2 * base + tip, most.wei))


def _gwei(wei: int) -> str:
    return f"{wei / _GWEI:,.9g}"
