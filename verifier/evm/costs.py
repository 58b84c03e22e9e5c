"""The words and the money of a contract's table of costs; knows neither an EVM nor a compiler, so that any table can use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..errors import UsageError

_GWEI = 1e-9

LABELS = {
    "deploy": "deploy the verifier",
    "register_vka": "register the circuit",
    "verify": "verify, Prague",
    "verify_osaka": "verify, Osaka",
    "consumer": "deploy a consumer",
    "request": "open a request",
    "settle": "settle it, Prague",
    "settle_osaka": "settle it, Osaka",
}
"""What costs gas, by its field in `price.Price`, in the order of a table."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What gas costs: Gwei per gas, and USD per token."""

    gwei: float
    usd: float

    def price(self, gas: int) -> float:
        """USD for so much gas."""
        return gas * self.gwei * _GWEI * self.usd


def read_rates(gwei: float | None, usd: float | None) -> Rates | None:
    """The rates that were given, if they were; raises `UsageError` for one without the other."""
    if (gwei is None) != (usd is None):
        raise UsageError("usage", "--gas-price and --token-price belong together.")
    return None if gwei is None or usd is None else Rates(gwei, usd)


@dataclass(frozen=True, slots=True)
class Cost:
    """A row of the table; `usd` only where rates are known."""

    label: str
    gas: int
    usd: float | None


def costs(price: Mapping[str, int], rates: Rates | None) -> Iterator[Cost]:
    """The rows of a price, given by field; what a contract does not need is left out."""
    for field, label in LABELS.items():
        if field in price:
            gas = price[field]
            yield Cost(label, gas, rates.price(gas) if rates else None)
