"""Which proof system a package is built for.

Our own proves in milliseconds where EZKL takes seconds, and needs no setup that anybody must be trusted with; but it hides
nothing, and no contract checks its proofs. So it is taken where nobody asked for what only EZKL does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from verinfer.verifier.errors import UsageError

from .ezkl import Ezkl
from .port import System, SystemName, Wishes
from .sumcheck import Sumcheck

SYSTEMS: Mapping[SystemName, System] = {"ezkl": Ezkl(), "sumcheck": Sumcheck()}

BY_MANIFEST: Mapping[str, System] = {
    "ezkl-halo2-kzg": SYSTEMS["ezkl"],
    "verinfer-sc-1": SYSTEMS["sumcheck"],
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A system, and why; and the one that is taken where that one cannot take the model, if any."""

    system: SystemName
    because: str
    otherwise: SystemName | None = None


def choose(wanted: SystemName | None, wishes: Wishes) -> Choice:
    """The system for these wishes: the one that is `wanted`, or the best.

    Raises `UsageError` (``system-unsuitable``) where the one that is wanted cannot do what is asked.
    """
    ezkl_alone = _needs_ezkl(wishes)
    if wanted == "sumcheck" and ezkl_alone is not None:
        raise UsageError(
            "system-unsuitable",
            f"verinfer-sc/1 cannot be taken: {ezkl_alone}. Leave that out, or take --system ezkl.",
        )
    if wanted is not None:
        return Choice(wanted, "it was asked for")
    if ezkl_alone is not None:
        return Choice("ezkl", ezkl_alone)
    return Choice("sumcheck", "nothing was asked for that only EZKL does", otherwise="ezkl")


def _needs_ezkl(wishes: Wishes) -> str | None:
    """What is asked for that our own system does not do."""
    if wishes.inputs != "public":
        return f"only EZKL makes proofs of {wishes.inputs} inputs"
    if wishes.targets.evm:
        return "contracts check EZKL's proofs only"
    if wishes.batch > 1:
        return "only EZKL makes proofs of several samples"
    if wishes.srs is not None or wishes.insecure_srs:
        return "only EZKL takes an SRS"
    return None
