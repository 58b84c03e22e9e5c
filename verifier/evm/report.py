"""What a contract is and costs, for people and for machines; and an answer from a chain in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import numbers, preprocess
from ..manifest import Manifest
from .descriptor import Descriptor

_GWEI = 1e-9

_ROWS = {
    "deploy": "deploy the verifier",
    "register_vka": "register the circuit",
    "verify": "verify, Prague",
    "verify_osaka": "verify, Osaka",
    "consumer": "deploy a consumer",
    "request": "open a request",
    "settle": "settle it, Prague",
    "settle_osaka": "settle it, Osaka",
}


@dataclass(frozen=True, slots=True)
class Rates:
    """What gas costs: Gwei per gas, and USD per token."""

    gwei: float
    usd: float

    def price(self, gas: int) -> float:
        """USD for so much gas."""
        return gas * self.gwei * _GWEI * self.usd


def as_text(made: Descriptor, folder: Path, rates: Rates | None) -> str:
    """The contract in a few lines, and its table of gas."""
    lines = [f"BUILT  {folder}: {made.model.name} {made.model.version}, {made.form} verifier", ""]
    if made.srs != "ceremony":
        lines += ["  INSECURE SRS: whoever made it can forge proofs; for trials only", ""]
    facts = {
        "circuit": made.circuit,
        "code hash": made.code_hash,
        "VKA digest": made.vka_digest,
        "instances": f"{made.inputs} of input, 16 of the challenge, {made.outputs} of output",
        "bytes": ", ".join(f"{name} {size:,}" for name, size in made.sizes.items()),
        "chain": f"{made.requires.evm_version} or newer; precompiles "
        + ", ".join(f"{number:#04x}" for number in made.requires.precompiles),
    }
    lines += [f"  {name:<12} {value}" for name, value in facts.items() if value is not None]
    lines += ["", f"  {'':<22}{'gas':>12}{'USD':>12}" if rates else f"  {'':<22}{'gas':>12}"]
    for field, label in _ROWS.items():
        gas = getattr(made.price, field)
        if gas is not None:
            usd = f"{rates.price(gas):>12.2f}" if rates else ""
            lines.append(f"  {label:<22}{gas:>12,}{usd}")
    lines.append(f"  {'calldata to verify':<22}{made.price.verify_bytes:>12,} bytes")
    return "\n".join(lines)


def as_json(made: Descriptor, folder: Path, rates: Rates | None) -> dict[str, Any]:
    """The descriptor, where it is, and the prices in USD if there are rates."""
    result = {"folder": str(folder), **made.to_json()}
    if rates is not None:
        gas = {field: getattr(made.price, field) for field in _ROWS}
        result["usd"] = {field: rates.price(each) for field, each in gas.items() if each is not None}
    return result


def answer_text(manifest: Manifest, answer: Sequence[int]) -> str:
    """A settled answer as its label, or its named values; of a batch, of each sample."""
    texts, start = [], 0
    for tensor, spec in zip(manifest.tensors("output"), manifest.outputs, strict=True):
        values = [numbers.dequantise(value, tensor.scale) for value in answer[start : start + tensor.size]]
        read = preprocess.to_output(spec, values)
        if manifest.labels is not None and start == 0:
            labels, _ = preprocess.to_labels(manifest.labels, read)
            texts.append(" | ".join(labels))
        else:
            names = (
                spec.fields or [f"{spec.name}[{index}]" for index in range(len(read))]
            ) * manifest.samples
            texts.append(", ".join(f"{name} {value:.4g}" for name, value in zip(names, read, strict=False)))
        start += tensor.size
    return "; ".join(texts)
