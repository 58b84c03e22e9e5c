"""What a proof system must offer to have packages here: `System`, and what it is given and gives.

`compile` and `reproduce` are the same for all of them, up to where a model becomes a circuit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from verinfer.verifier.errors import CouldNotCheck, Rejected, VerinferError
from verinfer.verifier.manifest import Visibility
from verinfer.verifier.srs import Provenance

from ..calibrate import Fidelity, Reference, good
from ..model import Model
from ..native import Workplace
from ..package import Measured, Published
from ..targets import BUDGET, Targets

SystemName = Literal["ezkl", "sumcheck"]
"""As the command line has it; manifests say ``ezkl-halo2-kzg`` and ``verinfer-sc-1``."""

OnProgress = Callable[[str, float], None]
"""Phase, and how much of it is done, 0 to 1."""

DEFAULT_TARGETS = Targets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the model's owner asks of a circuit; see `compile.compile_model`."""

    targets: Targets = DEFAULT_TARGETS
    budget: float = BUDGET
    batch: int = 1
    inputs: Visibility = "public"
    srs: Path | None = None
    insecure_srs: bool = False
    searches: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """A package that is being built.

    `home`: the folder of its files, ``verify/`` in it; `light` and `heavy`: where children work, the heavy ones for hours.
    `because`: why this proof system; it is on the card.
    """

    model: Model
    wishes: Wishes
    home: Path
    light: Workplace
    heavy: Workplace
    because: str
    on_progress: OnProgress


@dataclass(frozen=True, slots=True)
class Built:
    """What building took and one proof took, and `logrows` where a circuit has rows."""

    measured: Measured
    logrows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilding:
    """A published circuit that is being built again.

    `network`: the ONNX file with the manifest's digest; `reference`: what its circuit has to agree with.
    """

    package: Published
    network: Path
    reference: Reference
    light: Workplace
    heavy: Workplace
    targets: Targets
    on_progress: OnProgress


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How the rebuilt circuit does on the samples, and where its SRS is from."""

    fidelity: Fidelity
    provenance: Provenance


class Unfit(Exception):
    """The system cannot make a circuit of the model, for this `reason`; another may, and nothing was written yet."""

    def __init__(self, reason: VerinferError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class System(Protocol):
    """Builds packages of one proof system."""

    def build(self, order: Building) -> Built:
        """Fill `order.home` with all files of a package but ``package.json``, and prove with them once.

        Raises `Unfit`, `UsageError`, `Malformed` or `CouldNotCheck`.
        """
        ...

    def rebuild(self, order: Rebuilding) -> Rebuilt:
        """Make the circuit again, without a search; raises `Rejected` (``not-reproduced``) naming what differs first."""
        ...


def check_cost(measured: Measured, targets: Targets) -> None:
    """Raise unless the real proof cost no more than was asked for: the search went by estimates."""
    if targets.memory_bytes is not None and measured.prove_peak_bytes > targets.memory_bytes:
        raise CouldNotCheck(
            "no-circuit",
            f"The cheapest circuit proves in {measured.prove_peak_bytes / 1e6:.0f} MB, more than the target.",
        )
    if targets.seconds is not None and measured.prove_ms > targets.seconds * 1000:
        raise CouldNotCheck(
            "no-circuit",
            f"The cheapest circuit proves in {measured.prove_ms / 1000:.1f} s, more than the target.",
        )


def same(what: str, mine: str, theirs: str) -> None:
    """Raise `Rejected` (``not-reproduced``) unless a rebuild's digest is the manifest's."""
    if mine != theirs:
        raise Rejected(
            "not-reproduced", f"{what} of the rebuild is {mine[:16]}…, of the manifest {theirs[:16]}…."
        )


def require_good(fidelity: Fidelity, reference: Reference, targets: Targets) -> None:
    """Raise `Rejected` (``not-reproduced``) unless a rebuilt circuit agrees with fp32 as the auditor demands."""
    if good(fidelity, reference, targets):
        return
    if reference.spec.task == "classification":
        found, wanted = f"gives the model's label for {fidelity.agreement:.2%}", f"{targets.agreement:.2%}"
    else:
        found, wanted = f"is off by {fidelity.error:.3g}", f"{targets.error:.2%} of the outputs' range"
    raise Rejected(
        "not-reproduced",
        f"The rebuilt circuit {found} of {fidelity.samples} samples; accepted is {wanted}, or what --target says.",
    )
