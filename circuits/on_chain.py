"""What a card says of the circuit's contract: sizes and gas, from the description that ``verinfer contract build`` wrote.

A package does not change when a contract is built of it, so this part is added to a card when somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verinfer.verifier.errors import CouldNotCheck, UsageError
from verinfer.verifier.evm.costs import Rates, costs

NOTE = "Gas was measured in an EVM without a proof: 1 % off for verifying, 2 % for settling."


def read_contract(folder: Path, circuit: str) -> dict[str, Any]:
    """The description in a contract folder, checked as before a deployment.

    Raises `UsageError` if it is of another circuit, `CouldNotCheck` (``native-missing``), and what `open_contract` raises.
    """
    try:
        from verinfer.verifier.evm.descriptor import open_contract
    except ModuleNotFoundError as error:
        raise CouldNotCheck(
            "native-missing",
            f"To read a contract needs the package {error.name}: pip install 'verinfer[evm]'.",
        ) from error
    descriptor = open_contract(folder).descriptor
    if descriptor.circuit != circuit:
        raise UsageError("usage", f"{folder} is the contract of another circuit than the package's.")
    return descriptor.to_json()


def with_contract(
    card: Mapping[str, Any], descriptor: Mapping[str, Any], rates: Rates | None = None
) -> dict[str, Any]:
    """The card's facts with those of ``contract.json``, which must be of the same circuit; in USD too if there are rates."""
    facts = {
        "form": descriptor["form"],
        "code_hash": descriptor["code_hash"],
        "code_limit": descriptor["requires"]["code_limit"],
        "sizes": descriptor["sizes"],
        "price": descriptor["price"],
    }
    if rates is not None:
        facts["rates"] = {"gwei": rates.gwei, "usd": rates.usd}
    return {**card, "contract": facts}


def rows(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the card says of its contract, as labels and texts; empty where it has none."""
    found = card.get("contract")
    if not found:
        return []
    rates = Rates(**found["rates"]) if "rates" in found else None
    sizes = found["sizes"]
    made = [
        ("form", "one verifier for all circuits" if found["form"] == "reusable" else "a verifier of its own"),
        ("verifier", f"{sizes['Verifier']:,} of at most {found['code_limit']:,} bytes"),
        ("consumer", f"{sizes['InferenceConsumer']:,} bytes"),
    ]
    for cost in costs(found["price"], rates):
        usd = "" if cost.usd is None else f", {cost.usd:,.2f} USD"
        made.append((cost.label, f"{cost.gas:,} gas{usd}"))
    made.append(("calldata to verify", f"{found['price']['verify_bytes']:,} bytes"))
    if rates is not None:
        made.append(("USD at", f"{rates.gwei:g} Gwei a gas, {rates.usd:,g} USD a token"))
    return made


def as_markdown(card: Mapping[str, Any]) -> list[str]:
    """The same as lines of Markdown."""
    found = rows(card)
    if not found:
        return []
    return ["| on chain | |", "|---|---|", *(f"| {label} | {text} |" for label, text in found), "", NOTE, ""]
