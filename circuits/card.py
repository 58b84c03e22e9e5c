"""The card of a circuit: what it is, how well it agrees with the fp32 model, and what it costs here.

Facts are ``card.json``; ``card.md`` and ``card.html`` (`card_page`) are made of nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from verinfer.verifier import files
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.srs import Provenance
from verinfer.verifier.sumcheck_system import SumcheckSystem

from .accuracy import Accuracy, compare, read_truth
from .calibrate import Fidelity, Reference
from .card_page import duration, file_rows, page, size_rows, verifying
from .native import Workplace, heavy_limits, machine_memory
from .package import Measured
from .prices import Price
from .profile import profile
from .tune import Choice, Point

_INTEGRITY_ONLY = (
    "`integrity-only-proof`: a proof shows that the answer is right; it may tell something of weights and of what happens inside"
    " the network."
)
_UNAUDITED = "`proof-system-unaudited`: nobody but its makers has looked for faults in verinfer-sc/1 yet."

Facts = Mapping[str, Any]
"""What a proof system says on the card: its members take the place of those that all cards have, ``cost`` and ``caveats`` are
added to them."""


def write_card(
    home: Path,
    manifest: Manifest,
    reference: Reference,
    fidelity: Fidelity,
    measured: Measured,
    because: str,
    facts: Facts,
) -> None:
    """Write ``card.json``, ``card.md`` and ``card.html`` for the files of a package in `home`.

    `because`: why it is of this proof system.
    """
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="card.") as aside:
        place = Workplace(directory=Path(aside), limits=heavy_limits())
        truth = read_truth(home / "samples.npz", place) if manifest.task == "classification" else None
    card = {
        **_common(manifest, fidelity, measured),
        "because": because,
        "accuracy": _accuracy(truth, reference, fidelity).to_json(),
        **{name: value for name, value in facts.items() if name not in ("cost", "caveats")},
        "cost": {**measured.to_json(), **facts["cost"]},
        "caveats": [*_caveats(manifest, fidelity), *facts["caveats"]],
    }
    files.write_atomically(home / "card.json", json.dumps(card, indent=2).encode() + b"\n")
    files.write_atomically(home / "card.md", as_markdown(card).encode())
    files.write_atomically(home / "card.html", page(card).encode())


def _common(manifest: Manifest, fidelity: Fidelity, measured: Measured) -> dict[str, Any]:
    """What all cards have; numbers are of this machine and of one proof, which the card says."""
    return {
        "model": manifest.model.to_json(),
        "circuit": manifest.digest,
        "task": manifest.task,
        "batch": manifest.samples,
        "inputs": manifest.visibility,
        "proof_system": manifest.proof_system.name,
        "fidelity": {
            "samples": fidelity.samples,
            "agreement_with_fp32": fidelity.agreement if manifest.task == "classification" else None,
            "largest_error": fidelity.error,
        },
        "cost": measured.to_json(),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_bytes": machine_memory(),
            "python": platform.python_version(),
        },
    }


def of_ezkl(
    home: Path,
    manifest: Manifest,
    choice: Choice,
    measured: Measured,
    provenance: Provenance,
    prices: Sequence[Price],
) -> Facts:
    """The facts of an EZKL circuit, whose files are in `home`."""
    system = manifest.ezkl
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="card.") as aside:
        place = Workplace(directory=Path(aside), limits=heavy_limits())
        layers = profile(home / "wrapped.onnx", system.run_args.to_json(), place)
    return {
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
        "caveats": list(_caveats_of_ezkl(manifest, provenance)),
        "rows": choice.offer.settings["num_rows"],
        "candidates_tried": choice.offers,
        "cost": {
            "estimated_prove_seconds": round(choice.offer.cost.prove_seconds, 3),
            "estimated_verify_gas": choice.offer.cost.verify_gas,
            "estimated_contract_bytes": choice.offer.cost.contract_bytes,
            "pk_bytes": (home / "pk.key").stat().st_size,
            "proof_bytes": system.proof_bytes,
        },
        "frontier": [asdict(point) for point in _frontier(choice, measured)],
        "layers": [layer.to_json() for layer in layers],
        "batch_prices": [asdict(price) for price in prices],
    }


def of_sumcheck(
    manifest: Manifest,
    network: Mapping[str, Any],
    numbers: Sequence[Mapping[str, Any]],
    cost: Mapping[str, int],
) -> Facts:
    """The facts of a circuit of verinfer-sc/1: its numbers and sizes, and how other numbers would do."""
    system = manifest.proof_system
    assert isinstance(system, SumcheckSystem)
    return {
        "srs": "transparent",
        **network,
        "digests": {
            "ONNX file": manifest.model.onnx,
            "description": system.description,
            "root of the weights": system.root,
        },
        "caveats": [_INTEGRITY_ONLY, _UNAUDITED],
        "candidates_tried": len(numbers),
        "cost": cost,
        "numbers": numbers,
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


def _caveats(manifest: Manifest, fidelity: Fidelity) -> Sequence[str]:
    """What the figures do not say."""
    said = [
        f"Agreement was measured on {fidelity.samples} samples of the model's owner; elsewhere it may differ.",
        "The circuit computes with fixed-point numbers: a proof shows its answer, not the fp32 model's.",
        "Times and memory are of one proof on one machine.",
    ]
    if manifest.visibility != "public":
        said.append(f"Inputs are {manifest.visibility}; but who can guess one may confirm it by a proof.")
    return said


def _caveats_of_ezkl(manifest: Manifest, provenance: Provenance) -> Sequence[str]:
    said = ["Points of the frontier that were not proved have estimates of time and memory."]
    if manifest.rewrites:
        said.append("The network was rewritten before it was compiled; reproduce replays the same rewrites.")
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
    if card["srs"] == "insecure-local":
        lines += ["**INSECURE SRS**: made locally. Whoever made it can forge proofs; for trials only.", ""]
    lines += [
        "| what | value |",
        "|---|---|",
        f"| same label as fp32 | {'does not apply' if agreement is None else f'{agreement:.2%}'} |",
        f"| largest error against fp32 | {fidelity['largest_error']:.4g}, on {fidelity['samples']} samples |",
        f"| inputs | {card['inputs']} |",
        f"| proof system | {card['proof_system']}: {card['because']} |",
        *(f"| {name} | {value} |" for name, value in size_rows(card)),
        f"| prove | {duration(cost['prove_ms'])}, {cost['prove_peak_bytes'] / 1e6:.0f} MB |",
        f"| verify | {verifying(card)} |",
        f"| proof | {cost['proof_bytes']} B |",
        *(f"| {name} | {value} |" for name, value in file_rows(card)),
        "",
        *_by_batch(card),
        *_systems_caveats(card),
        f"Times are of one proof on {machine['cores']} cores ({machine['processor']}), child processes included.",
        "",
    ]
    return "\n".join(lines)


def _systems_caveats(card: dict[str, Any]) -> list[str]:
    """Those with a code, which a verdict has, too."""
    said = [f"- {text}" for text in card["caveats"] if text.startswith("`")]
    return [*said, ""] if said else []


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
