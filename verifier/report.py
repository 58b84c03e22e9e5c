"""A verdict for people, and the same for machines."""

from __future__ import annotations

from typing import Any

from .verdict import CAVEATS, CLAIMS, Output, Verified
from .wire import format_time, printable

_SHOWN = 16
"""Samples of a batch in the first line."""


def as_text(verified: Verified) -> str:
    """A few lines: the answer, what is proven, what is not."""
    who = f"{verified.model.name} {verified.model.version}"
    lines = [f"VERIFIED  {who}: {answer(verified)}", ""]
    lines += [f"  receipt    {verified.statement_digest}", f"  issued     {format_time(verified.issued_at)}"]
    lines += [
        f"  runtime    {verified.runtime}; asked for mode {verified.mode}",
        f"  nonce      {verified.nonce}",
    ]
    for item in verified.inputs:
        if item.visibility != "public":
            lines.append(f"  input      {item.name} {item.visibility} {item.hash or ''}".rstrip())
    if verified.audience is not None:
        lines.append(f"  audience   {printable(verified.audience, most=1024)}")
    lines += ["", "What this shows:"]
    lines += [f"  + {claim}: {CLAIMS[claim]}" for claim in verified.claims]
    lines += ["", "What it does not show:"]
    lines += [f"  ! {caveat}: {CAVEATS[caveat]}" for caveat in verified.caveats]
    return "\n".join(lines)


def answer(verified: Verified) -> str:
    """The answer in one line: each sample's label, or its named values; of a large batch the first few."""
    if verified.labels is not None:
        samples = list(verified.labels)
    else:
        rows = [_rows(output, verified.samples) for output in verified.outputs]
        samples = ["; ".join(row) for row in zip(*rows, strict=True)]
    if len(samples) == 1:
        return samples[0]
    # Numbered, since a label may hold whatever stands between two.
    shown = " | ".join(f"{number}: {text}" for number, text in enumerate(samples[:_SHOWN], start=1))
    return shown if len(samples) <= _SHOWN else f"{shown} | … ({len(samples)} samples)"


def as_json(verified: Verified) -> dict[str, Any]:
    """The same facts for machines; floats are real JSON numbers here, since nothing hashes this."""
    return {
        "verdict": "verified",
        "statement_digest": verified.statement_digest,
        "model": verified.model.to_json(),
        "circuit": verified.circuit,
        "runtime": verified.runtime,
        "mode": verified.mode,
        "issuer": verified.issuer,
        "nonce": verified.nonce,
        "audience": verified.audience,
        "issued_at": format_time(verified.issued_at),
        "samples": verified.samples,
        "inputs": [
            {"name": item.name, "visibility": item.visibility, "hash": item.hash} for item in verified.inputs
        ],
        "labels": verified.labels,
        "outputs": [
            {"name": output.name, "shape": output.shape, "values": output.values, "fields": output.fields}
            for output in verified.outputs
        ],
        "evidence": verified.evidence,
        "claims": {claim: CLAIMS[claim] for claim in verified.claims},
        "caveats": {caveat: CAVEATS[caveat] for caveat in verified.caveats},
    }


def _rows(output: Output, samples: int) -> list[str]:
    """The named values of each sample."""
    size = len(output.values) // samples
    names = output.fields or [f"{output.name}[{index}]" for index in range(size)]
    return [
        ", ".join(
            f"{name} {value:.4g}"
            for name, value in zip(names, output.values[start : start + size], strict=True)
        )
        for start in range(0, len(output.values), size)
    ]
