"""A verdict for people, and the same for machines."""

from __future__ import annotations

from typing import Any

from .verdict import CAVEATS, CLAIMS, Output, Verified
from .wire import format_time, printable


def as_text(verified: Verified) -> str:
    """A few lines: the answer, what is proven, what is not."""
    who = f"{verified.model.name} {verified.model.version}"
    lines = [f"VERIFIED  {who}: {answer(verified)}", ""]
    lines += [f"  receipt    {verified.statement_digest}", f"  issued     {format_time(verified.issued_at)}"]
    lines += [
        f"  runtime    {verified.runtime}; asked for mode {verified.mode}",
        f"  nonce      {verified.nonce}",
    ]
    if verified.audience is not None:
        lines.append(f"  audience   {printable(verified.audience, most=1024)}")
    lines += ["", "What this shows:"]
    lines += [f"  + {claim}: {CLAIMS[claim]}" for claim in verified.claims]
    lines += ["", "What it does not show:"]
    lines += [f"  ! {caveat}: {CAVEATS[caveat]}" for caveat in verified.caveats]
    return "\n".join(lines)


def answer(verified: Verified) -> str:
    """The answer in one line: the label, or the named values."""
    if verified.label is not None:
        return verified.label
    return "; ".join(_values(output) for output in verified.outputs)


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
        "label": verified.label,
        "outputs": [
            {"name": output.name, "shape": output.shape, "values": output.values, "fields": output.fields}
            for output in verified.outputs
        ],
        "evidence": verified.evidence,
        "claims": {claim: CLAIMS[claim] for claim in verified.claims},
        "caveats": {caveat: CAVEATS[caveat] for caveat in verified.caveats},
    }


def _values(output: Output) -> str:
    names = output.fields or [f"{output.name}[{index}]" for index in range(len(output.values))]
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, output.values, strict=True))
