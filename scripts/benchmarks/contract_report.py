"""The suite ``contract`` for people: a table of what matters, and one of everything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verinfer.verifier import files
from verinfer.verifier.evm.build import CODE_LIMIT
from verinfer.verifier.evm.costs import Rates

from .compiler_report import told

_DEPENDS = ("verify", "settle")
_HEAD = (
    "| model, instances | verifier | bytes | deploy | register | verify (Osaka) | settle (Osaka) | calldata"
    " | USD: deploy | USD: settle |"
)


def as_table(results: dict[str, Any]) -> str:
    """Markdown: gas of Prague with Osaka's in brackets, and USD at the rates that the results name."""
    rates = Rates(**results["rates"])
    return (
        "\n".join(
            [
                _heading(results),
                "",
                _HEAD,
                "|---|---|---|---|---|---|---|---|---|---|",
                *(_summary(name, case, form, one, rates) for name, case, form, one in _rows(results)),
                "",
                f"✗: more than the {CODE_LIMIT:,} bytes that a chain takes, measured without that limit. Calldata: to verify.",
                "",
                "| model, k | verifier | deploy a consumer | open a request | calldata to settle | proof | foreseen / measured |",
                "|---|---|---|---|---|---|---|",
                *(_detail(name, case, form, one) for name, case, form, one in _rows(results)),
                "",
                "Foreseen is what `verinfer contract build` says without a proof: to verify, to settle.",
            ]
        )
        + "\n"
    )


def write(results: dict[str, Any], folder: Path) -> None:
    """``contract.json`` and ``contract.md`` in `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / "contract.json", (json.dumps(results, indent=1) + "\n").encode())
    files.write_atomically(folder / "contract.md", as_table(results).encode())


def _heading(results: dict[str, Any]) -> str:
    machine, rates = results["machine"], results["rates"]
    return (
        f"ezkl {machine['packages']['ezkl']}, solc {results['solc']}; commit {told(results, 'commit')};"
        f" USD at {rates['gwei']:g} Gwei a gas and {rates['usd']:,g} USD a token."
    )


def _rows(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    for name, case in results["cases"].items():
        for form, one in case["forms"].items():
            yield name, case, form, one


def _summary(name: str, case: dict[str, Any], form: str, one: dict[str, Any], rates: Rates) -> str:
    gas = one["price"]
    register = f"{gas['register_vka']:,}" if "register_vka" in gas else ""
    both = " | ".join(f"{gas[what]:,} ({gas[f'{what}_osaka']:,})" for what in _DEPENDS)
    size = f"{one['runtime_bytes']:,}{'' if one['fits'] else ' ✗'}"
    return (
        f"| {name}, {case['instances']} | {form} | {size} | {gas['deploy']:,} | {register} | {both}"
        f" | {gas['verify_bytes']:,} | {rates.price(gas['deploy']):.2f} | {rates.price(gas['settle']):.2f} |"
    )


def _detail(name: str, case: dict[str, Any], form: str, one: dict[str, Any]) -> str:
    gas, foreseen = one["price"], one["foreseen"]
    shares = ", ".join(f"{foreseen[what] / gas[what]:.3f}" for what in _DEPENDS)
    return (
        f"| {name}, {case['logrows']} | {form} | {gas['consumer']:,} | {gas['request']:,}"
        f" | {one['settle_bytes']:,} | {case['proof_bytes']:,} | {shares} |"
    )
