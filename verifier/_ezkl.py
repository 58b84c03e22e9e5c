"""The verifier's only importer of EZKL; runs inside a limited child, never in the caller's process."""

from __future__ import annotations

import ezkl

from .errors import CouldNotCheck

INSTALLED: str = ezkl.__version__  # type: ignore[attr-defined]  # the stubs do not name it


def verify(*, proof: str, settings: str, vk: str, srs: str, version: str) -> bool:
    """EZKL's own verdict on four files; it returns True or raises, and so does this.

    Raises `CouldNotCheck` (``native-missing``) unless `version` is the installed one: EZKL only logs a difference, while the
    circuit that it rebuilds from the settings, and what a proof of it shows, is each version's own.
    """
    if version != INSTALLED:
        raise CouldNotCheck(
            "native-missing",
            f"The circuit is of ezkl {version}; {INSTALLED} is installed and cannot check it.",
        )
    return (
        ezkl.verify(proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs, reduced_srs=False)
        is True
    )
