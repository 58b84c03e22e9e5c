"""What a contract is and costs, for people and for machines; and an answer from a chain in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import numbers, preprocess
from ..manifest import Manifest
from .costs import LABELS, Rates, costs
from .descriptor import Descriptor


def as_text(made: Descriptor, folder: Path, rates: Rates | None, *, done: str = "BUILT") -> str:
    """The contract in a few lines, and its table of gas."""
    lines = [f"{done}  {folder}: {made.model.name} {made.model.version}, {made.form} verifier", ""]
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
    for cost in costs(made.price.to_json(), rates):
        usd = "" if cost.usd is None else f"{cost.usd:>12.2f}"
        lines.append(f"  {cost.label:<22}{cost.gas:>12,}{usd}")
    lines.append(f"  {'calldata to verify':<22}{made.price.verify_bytes:>12,} bytes")
    return "\n".join(lines)


def as_json(made: Descriptor, folder: Path, rates: Rates | None) -> dict[str, Any]:
    """The descriptor, where it is, and the prices in USD if there are rates."""
    result = {"folder": str(folder), **made.to_json()}
    if rates is not None:
        price = made.price.to_json()
        result["usd"] = {field: rates.price(price[field]) for field in LABELS if field in price}
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
