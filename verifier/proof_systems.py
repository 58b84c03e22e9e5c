"""Proof systems as a port: how a proof of each kind is checked.

A system takes the statement, the pinned bundle and its own evidence; it returns nothing or raises.
Adding one is one entry in `SYSTEMS` (and one in `evidence.KINDS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .bundle import Bundle
from .evidence import EZKL_KIND, SUMCHECK_KIND, Evidence
from .ezkl_proof import EzklCheck
from .statement import Statement
from .sumcheck_proof import SumcheckCheck


class ProofSystem(Protocol):
    """Checks proofs of one kind of evidence."""

    def check(self, statement: Statement, bundle: Bundle, evidence: Evidence) -> None:
        """Return if the proof is valid for exactly this statement and circuit.

        Raises `Rejected` (``proof-invalid``) if it is not, `CouldNotCheck` if that could not be found out.
        """
        ...

    def hash_tensors(self, tensors: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """The hash that the system's circuits show of each tensor, 64 hex digits as statements have it.

        Raises `CouldNotCheck`, `Rejected` (``visibility-mismatch``) where nothing is ever hashed.
        """
        ...


SYSTEMS: dict[str, ProofSystem] = {EZKL_KIND: EzklCheck(), SUMCHECK_KIND: SumcheckCheck()}
"""By kind of evidence; EZKL's starts a fresh child per check."""
