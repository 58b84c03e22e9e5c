"""The card of a circuit: what it is, how well it agrees with the fp32 model, and what it costs here.

Facts are ``card.json``; ``card.md`` and ``card.html`` (`card_page`) are made of nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from verinfer.verifier import files
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.srs import Provenance

from . import gas
from .accuracy import Accuracy, compare, read_truth
from .calibrate import Fidelity, Reference
from .card_page import page
from .native import Workplace, heavy_limits, machine_memory
from .package import Measured
from .prices import Price
from .profile import profile
from .tune import Choice, Point


def write_card(
    home: Path,
    manifest: Manifest,
    reference: Reference,
    choice: Choice,
    measured: Measured,
    provenance: Provenance,
    prices: Sequence[Price],
) -> None:
    """Write ``card.json``, ``card.md`` and ``card.html`` for the files of a package in `home`."""
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="card.") as aside:
        place = Workplace(directory=Path(aside), limits=heavy_limits())
        truth = read_truth(home / "samples.npz", place) if manifest.task == "classification" else None
        layers = profile(home / "wrapped.onnx", manifest.ezkl.run_args.to_json(), place)
    card = {
        **describe(manifest, choice, measured, provenance, (home / "pk.key").stat().st_size),
        "accuracy": _accuracy(truth, reference, choice.fidelity).to_json(),
        "frontier": [asdict(point) for point in _frontier(choice, measured)],
        "layers": [layer.to_json() for layer in layers],
        "batch_prices": [asdict(price) for price in prices],
    }
    files.write_atomically(home / "card.json", json.dumps(card, indent=2).encode() + b"\n")
    files.write_atomically(home / "card.md", as_markdown(card).encode())
    files.write_atomically(home / "card.html", page(card).encode())


def describe(
    manifest: Manifest, choice: Choice, measured: Measured, provenance: Provenance, pk_bytes: int
) -> dict[str, Any]:
    """The card's facts; numbers are of this machine and of one proof, which the card says."""
    system = manifest.ezkl
    return {
        "model": manifest.model.to_json(),
        "circuit": manifest.digest,
        "task": manifest.task,
        "batch": manifest.samples,
        "inputs": manifest.visibility,
        "srs": provenance,
        "ezkl": system.version,
        "run_args": system.run_args.to_json(),
        "selectors": system.selectors or "compressed",
        "rewrites": [rewrite.to_json() for rewrite in manifest.rewrites],
        "digests": {
            "ONNX file": manifest.model.onnx,
            "wrapped ONNX file": manifest.wrapped_onnx,
            "settings": system.settings,
            "verification key": system.vk,
            "SRS": system.srs.full,
            "SRS cut": system.srs.cut,
        },
        "caveats": list(_caveats(manifest, choice, provenance)),
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
            "estimated_verify_gas": choice.offer.cost.verify_gas,
            "estimated_contract_bytes": choice.offer.cost.contract_bytes,
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


def _accuracy(truth: Sequence[int] | None, reference: Reference, fidelity: Fidelity) -> Accuracy:
    spec, fp32 = reference.spec, reference.outputs[: len(fidelity.outputs)]
    return compare(fidelity.outputs, fp32, truth, spec.labels, spec.task, reference.batch)


def _frontier(choice: Choice, measured: Measured) -> tuple[Point, ...]:
    """The measured offers; the chosen one with what its proof really took."""
    return tuple(
        replace(point, seconds=measured.prove_ms / 1000) if point.chosen else point
        for point in choice.frontier
    )


def _caveats(manifest: Manifest, choice: Choice, provenance: Provenance) -> Sequence[str]:
    """What the figures do not say."""
    said = [
        f"Agreement was measured on {choice.fidelity.samples} samples of the model's owner; elsewhere it may differ.",
        "The circuit computes with fixed-point numbers: a proof shows its answer, not the fp32 model's.",
        "Times and memory are of one proof on one machine; points that were not proved have estimates.",
    ]
    if manifest.rewrites:
        said.append("The network was rewritten before it was compiled; reproduce replays the same rewrites.")
    if manifest.visibility != "public":
        said.append(f"Inputs are {manifest.visibility}; but who can guess one may confirm it by a proof.")
    if provenance != "ceremony":
        said.append("The SRS was made locally: whoever made it can forge proofs.")
    return said


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
        f"| inputs | {card['inputs']} |",
        f"| k, rows | {card['run_args']['logrows']}, {card['rows']} |",
        f"| prove | {cost['prove_ms'] / 1000:.2f} s, {cost['prove_peak_bytes'] / 1e6:.0f} MB |",
        f"| verify | {cost['verify_ms']} ms, its process included |",
        f"| proof, pk | {cost['proof_bytes']} B, {cost['pk_bytes'] / 1e6:.1f} MB |",
        f"| on chain, by estimate | {gas.as_text(cost['estimated_verify_gas'], cost['estimated_contract_bytes'])} |",
        "",
        *_by_batch(card),
        f"Times are of one proof on {machine['cores']} cores ({machine['processor']}), child processes included.",
        "",
    ]
    return "\n".join(lines)


def _by_batch(card: dict[str, Any]) -> list[str]:
    """What one sample costs in batches of several sizes, for a circuit of a batch."""
    if card["batch"] == 1:
        return []
    share = card["cost"]["prove_ms"] / 1000 / card["batch"]
    rows = [
        f"| {price['batch']} | {price['seconds']:.3g} s | {price['prove_bytes'] / 1e6:.0f} MB |"
        for price in card["batch_prices"]
    ]
    return [
        f"One proof covers {card['batch']} samples: {share:.3g} s for each. By estimate:",
        "",
        "| samples in a proof | proving time for each | memory |",
        "|---|---|---|",
        *rows,
        "",
    ]
