"""The verifier's only importer of EZKL; runs inside a limited child, never in the caller's process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import ezkl

from .errors import CouldNotCheck

INSTALLED: str = ezkl.__version__  # type: ignore[attr-defined]  # the stubs do not name it


def poseidon(*, tensors: Sequence[Sequence[str]]) -> list[str]:
    """The Poseidon hash of each tensor, as EZKL's circuits have it; all are field elements as EZKL writes them."""
    return [ezkl.poseidon_hash(message=list(tensor))[0] for tensor in tensors]


def verify(
    *, proof: str, settings: str, vk: str, srs: str, version: str, hashed: Sequence[str] = (), place: int = 0
) -> bool:
    """EZKL's own verdict on four files; it returns True or raises, and so does this.

    `hashed`: field elements whose Poseidon hash the file's instances still lack, before the one at `place`.

    Raises `CouldNotCheck` (``native-missing``) unless `version` is the installed one: EZKL only logs a difference, while the
    circuit that it rebuilds from the settings, and what a proof of it shows, is each version's own.
    """
    if version != INSTALLED:
        raise CouldNotCheck(
            "native-missing",
            f"The circuit is of ezkl {version}; {INSTALLED} is installed and cannot check it.",
        )
    if hashed:
        made = json.loads(Path(proof).read_bytes())
        made["instances"][0].insert(place, poseidon(tensors=[hashed])[0])
        proof += ".whole"
        Path(proof).write_text(json.dumps(made))
    return (
        ezkl.verify(proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs, reduced_srs=False)
        is True
    )
