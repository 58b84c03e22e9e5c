"""The card of a circuit: what it is, how well it agrees with the fp32 model, and what it costs here."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from verinfer.verifier import files
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.srs import Provenance

from .native import machine_memory
from .package import Measured
from .tune import Choice


def write_card(
    home: Path, manifest: Manifest, choice: Choice, measured: Measured, provenance: Provenance
) -> None:
    """Write ``card.json`` and ``card.md``."""
    card = describe(manifest, choice, measured, provenance, (home / "pk.key").stat().st_size)
    files.write_atomically(home / "card.json", json.dumps(card, indent=2).encode() + b"\n")
    files.write_atomically(home / "card.md", as_markdown(card).encode())


def describe(
    manifest: Manifest, choice: Choice, measured: Measured, provenance: Provenance, pk_bytes: int
) -> dict[str, Any]:
    """The card's facts; numbers are of this machine and of one proof, which the card says."""
    system = manifest.proof_system
    return {
        "model": manifest.model.to_json(),
        "circuit": manifest.digest,
        "task": manifest.task,
        "srs": provenance,
        "ezkl": system.version,
        "run_args": system.run_args.to_json(),
        "rows": choice.offer.settings["num_rows"],
        "candidates_tried": choice.offers,
        "fidelity": {
            "samples": choice.fidelity.samples,
            "agreement_with_fp32": choice.fidelity.agreement if manifest.task == "classification" else None,
            "largest_error": choice.fidelity.error,
        },
        "cost": {
            **measured.to_json(),
            "estimated_prove_seconds": round(choice.offer.cost.prove_seconds, 3),
            "pk_bytes": pk_bytes,
            "proof_bytes": system.proof_bytes,
        },
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_bytes": machine_memory(),
            "python": platform.python_version(),
        },
    }


def as_markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    model, cost, fidelity, machine = card["model"], card["cost"], card["fidelity"], card["machine"]
    agreement = fidelity["agreement_with_fp32"]
    lines = [
        f"# {model['name']} {model['version']}",
        "",
        f"Circuit `{card['circuit']}`  ",
        f"ONNX `{model['onnx']}`",
        "",
    ]
    if card["srs"] != "ceremony":
        lines += ["**INSECURE SRS**: made locally. Whoever made it can forge proofs; for trials only.", ""]
    lines += [
        "| what | value |",
        "|---|---|",
        f"| same label as fp32 | {'does not apply' if agreement is None else f'{agreement:.2%}'} |",
        f"| largest error against fp32 | {fidelity['largest_error']:.4g}, on {fidelity['samples']} samples |",
        f"| k, rows | {card['run_args']['logrows']}, {card['rows']} |",
        f"| prove | {cost['prove_ms'] / 1000:.2f} s, {cost['prove_peak_bytes'] / 1e6:.0f} MB |",
        f"| verify | {cost['verify_ms']} ms, its process included |",
        f"| proof, pk | {cost['proof_bytes']} B, {cost['pk_bytes'] / 1e6:.1f} MB |",
        "",
        f"Times are of one proof on {machine['cores']} cores ({machine['processor']}), child processes included.",
        "",
    ]
    return "\n".join(lines)
