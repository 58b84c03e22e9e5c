"""The verifier's only importer of EZKL; runs inside a limited child, never in the caller's process."""

from __future__ import annotations

import ezkl


def version() -> str:
    """The installed ezkl's version, as settings name it."""
    from importlib.metadata import version as installed

    return installed("ezkl")


def verify(*, proof: str, settings: str, vk: str, srs: str) -> bool:
    """EZKL's own verdict on four files; it returns True or raises, and so does this."""
    return (
        ezkl.verify(proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs, reduced_srs=False)
        is True
    )
