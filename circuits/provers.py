"""The provers by the manifest's proof system; adding one is one entry here."""

from __future__ import annotations

from verinfer.verifier.manifest import Manifest

from .prove import EzklProver, Prover
from .prove_sumcheck import SumcheckProver

PROVERS: dict[str, Prover] = {"ezkl-halo2-kzg": EzklProver(), "verinfer-sc-1": SumcheckProver()}


def needs_kernels(manifest: Manifest) -> bool:
    """Whether proofs of the circuit take a worker, and kernels that `kernels` compiles once."""
    return isinstance(prover_for(manifest), SumcheckProver)


def prover_for(manifest: Manifest) -> Prover:
    """The prover of the circuit's proof system."""
    return PROVERS[manifest.proof_system.name]
