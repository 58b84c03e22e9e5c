"""The verifier's only importer of EZKL; runs inside a limited child, never in the caller's process."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import ezkl

from .errors import CouldNotCheck
from .evm.harden import Form, harden

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
    _require_version(version)
    if hashed:
        made = json.loads(Path(proof).read_bytes())
        made["instances"][0].insert(place, poseidon(tensors=[hashed])[0])
        proof += ".whole"
        Path(proof).write_text(json.dumps(made))
    return (
        ezkl.verify(proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs, reduced_srs=False)
        is True
    )


def evm_verifier(*, settings: str, vk: str, srs: str, version: str, form: Form) -> str:
    """The Solidity of the circuit's verifier, hardened: what EZKL wrote itself does not leave this process and its directory.

    Raises `CouldNotCheck` (``native-missing``, ``contract-differs``).
    """
    _require_version(version)
    raw = Path("verifier.sol")
    try:
        _run(
            ezkl.create_evm_verifier,
            vk_path=vk,
            settings_path=settings,
            sol_code_path=str(raw),
            abi_path="verifier.abi",
            srs_path=srs,
            reusable=form == "reusable",
        )
    except RuntimeError as error:
        # With the source complete, EZKL fetches a compiler, which fails here: there is no network.
        if not any(word in str(error) for word in ("svm", "solc")):
            raise
    source = raw.read_text()
    raw.unlink()
    return harden(source, form)


def evm_vka(*, settings: str, vk: str, srs: str, version: str) -> str:
    """The circuit's verification key as words for the reusable verifier: 32 bytes each, in hex, one after the other.

    Raises `CouldNotCheck` (``native-missing``, ``artifact-torn``).
    """
    _require_version(version)
    path = Path("vka.bytes")
    _run(
        ezkl.create_evm_vka,
        vk_path=vk,
        settings_path=settings,
        vka_path=str(path),
        srs_path=srs,
        decimals=_NO_DECIMALS,
    )
    data = path.read_bytes()
    count = int.from_bytes(data[:8], "little")
    if not count or len(data) != 8 + 32 * count:
        raise CouldNotCheck("artifact-torn", "EZKL did not write a whole VKA; is the disk full?")
    return data[8:].hex()


_NO_DECIMALS = 0
"""The digits that the reusable verifier rounds instances to in its third answer, which nobody reads here."""


def _run(function: Callable[..., Awaitable[Any]], **arguments: Any) -> None:
    """Call one of EZKL's asynchronous functions, which want a loop that runs when they are called."""
    # Here, since it is slow to import and verifying does not need it.
    import asyncio

    async def call() -> None:
        await function(**arguments)

    asyncio.run(call())


def _require_version(version: str) -> None:
    if version != INSTALLED:
        raise CouldNotCheck(
            "native-missing",
            f"The circuit is of ezkl {version}; {INSTALLED} is installed and cannot check it.",
        )
