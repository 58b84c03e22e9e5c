"""What a circuit of verinfer-sc/1 would be, before any key is made: bits, cells, and how well it would agree with fp32.

Takes a model folder, since samples say how many bits a network needs. Seconds are in no estimate: a card has measured ones.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verinfer.verifier.errors import UsageError

from ..model import read_model
from ..native import Workplace, heavy_limits
from ..sumcheck.choose import import_network
from ..sumcheck.layout import layout_of
from .port import DEFAULT_TARGETS


@dataclass(frozen=True, slots=True)
class SumcheckEstimate:
    """Bits of weights and limbs, the logarithms of how many cells a proof commits to, and agreement on held-out samples."""

    bits: int
    limb_bits: int
    witness_bits: int
    weights_bits: int
    weights: int
    samples: int
    agreement: float
    error: float

    def to_json(self) -> dict[str, Any]:
        """As the command prints it."""
        return {"proof_system": "verinfer-sc-1", **asdict(self)}

    def as_text(self) -> str:
        """For people."""
        committed = (
            f"2^{self.witness_bits} cells; weights are {self.weights:,}, as 2^{self.weights_bits} cells"
        )
        agreed = f"same largest output on {self.agreement:.2%}, largest error {self.error:.3g}"
        return "\n".join(
            [
                f"verinfer-sc/1 takes this model, with {self.bits} bits in limbs of {self.limb_bits}",
                f"  a proof commits to {committed}",
                f"  against fp32 on {self.samples} held-out samples: {agreed}",
                "  a proof is one of integrity only, and hides nothing",
            ]
        )


def estimate(folder: Path) -> SumcheckEstimate:
    """Raises `UsageError` of a bare ONNX file, and what `choose.import_network` raises."""
    if not folder.is_dir():
        raise UsageError(
            "usage", f"{folder} is a file; samples say how many bits it needs: give a model folder."
        )
    with tempfile.TemporaryDirectory(prefix="verinfer-estimate-") as home:
        place = Workplace(directory=Path(home), limits=heavy_limits())
        model = read_model(folder.absolute(), place)
        chosen = import_network(model.network, model.reference, DEFAULT_TARGETS, place)
    layout, found = layout_of(chosen.quantised.description), chosen.trial.held_out
    return SumcheckEstimate(
        chosen.recorded.bits,
        chosen.recorded.limb_bits,
        layout.witness_bits,
        layout.weights_bits,
        sum(int(part.size) for part in chosen.quantised.weights.values()),
        found.samples,
        found.agreement,
        found.error,
    )
