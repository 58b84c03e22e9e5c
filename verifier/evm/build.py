"""From a verify bundle to a verifier contract that is safe to deploy: EZKL's Solidity, hardened, compiled.

Takes a bundle, gives a `Contract`. One bundle gives one contract, on every machine: whoever pins the circuit can build it again
and compare the code hash.
Two forms: a contract for the one circuit where it fits a chain's limit, else one contract for all circuits, which is the same
for everybody and is given the circuit's VKA.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import child, files
from ..bundle import Bundle
from ..child import ChildFailed
from ..errors import CouldNotCheck, UsageError
from ..ezkl_proof import circuit_files
from ..jail import GIB, Limits
from . import solc
from .harden import Form, contract_name
from .words import keccak256

CODE_LIMIT = 24_576
"""The most bytes that a contract's code may have on chain (EIP-170)."""

RUNS = 1
"""Short code before cheap calls: a verifier's size is what keeps it off the chain."""

REUSABLE_CODE_HASH = {
    "23.0.5": "9277784984094045f8afa69598c384faa3fae9c10ac47c13134cbf375030dcb9",
}
"""By version of EZKL, the code hash of the hardened reusable verifier: it does not depend on the circuit."""

_DEPLOYS = (bytes.fromhex("6080604052348015600e575f5ffd5b5061"), bytes.fromhex("8061001c5f395ff3fe"))
"""What solc puts around the length of code to deploy it, without a constructor: it takes no ether, and does nothing else."""

_LIMITS = Limits(memory_bytes=8 * GIB, cpu_seconds=300, file_bytes=64 << 20, wall_seconds=300)


@dataclass(frozen=True, slots=True)
class Contract:
    """A hardened verifier of one circuit."""

    form: Form
    source: str
    compiled: solc.Compiled
    vka: tuple[bytes, ...]
    """The circuit's words for the reusable verifier; empty for a single one."""

    @property
    def name(self) -> str:
        """The contract's name in the source."""
        return contract_name(self.form)

    @property
    def code_hash(self) -> str:
        """keccak256 of the code on chain, in hex."""
        return keccak256(self.compiled.runtime).hex()

    @property
    def vka_digest(self) -> str | None:
        """What the reusable verifier calls the circuit, in hex."""
        return keccak256(b"".join(self.vka)).hex() if self.vka else None

    @property
    def model_pin(self) -> str:
        """What stands for the model in a request's nonce (design, section 9), in hex."""
        return self.vka_digest or self.code_hash


def build_contract(bundle: Bundle, *, form: Form | None = None) -> Contract:
    """The contract of the bundle's circuit; without a `form` the single one if it fits, else the reusable one.

    Raises `UsageError` (``contract-too-large``) for a single one that does not fit, `CouldNotCheck` (``contract-differs``,
    ``node-missing``, …) or `ChildFailed`.
    """
    if form != "reusable":
        single = compile_verifier(bundle, "single")
        if len(single.compiled.runtime) <= CODE_LIMIT:
            return single
        if form == "single":
            raise UsageError(
                "contract-too-large",
                f"The single verifier has {len(single.compiled.runtime)} bytes, and a chain takes {CODE_LIMIT}; "
                "build the reusable one.",
            )
    return _reusable(bundle)


def _reusable(bundle: Bundle) -> Contract:
    contract = compile_verifier(bundle, "reusable")
    version = bundle.manifest.ezkl.version
    expected = REUSABLE_CODE_HASH.get(version)
    if contract.code_hash != expected:
        raise CouldNotCheck(
            "contract-differs",
            f"The reusable verifier of ezkl {version} has the code hash {contract.code_hash}, not {expected}.",
        )
    return contract


def compile_verifier(bundle: Bundle, form: Form) -> Contract:
    """The hardened verifier of one form, whatever its size and its code hash; raises as `build_contract` does."""
    source = source_of(bundle, form)
    name = contract_name(form)
    compiled = solc.compile_sources({"Verifier.sol": source}, {"Verifier.sol": name}, runs=RUNS)[name]
    return Contract(form, source, compiled, vka_of(bundle) if form == "reusable" else ())


def deploys(creation: bytes, runtime: bytes) -> bool:
    """Whether `creation` does nothing but put a verifier's `runtime` code on a chain: who sends it runs it with their gas."""
    before, after = _DEPLOYS
    return len(runtime) < 1 << 16 and creation == before + len(runtime).to_bytes(2, "big") + after + runtime


def source_of(bundle: Bundle, form: Form) -> str:
    """The hardened Solidity; raises `CouldNotCheck` (``contract-differs``, …) or `ChildFailed`."""
    return _ask(bundle, "evm_verifier", {"form": form})


def vka_of(bundle: Bundle) -> tuple[bytes, ...]:
    """The circuit's verification key as the reusable verifier's words; raises `CouldNotCheck` or `ChildFailed`."""
    words = bytes.fromhex(_ask(bundle, "evm_vka", {}))
    return tuple(words[start : start + 32] for start in range(0, len(words), 32))


def _ask(bundle: Bundle, function: str, arguments: Mapping[str, Any]) -> str:
    """One text from EZKL, from a child with the bundle's files."""
    content = circuit_files(bundle)
    with tempfile.TemporaryDirectory(prefix="verinfer-contract-") as name:
        directory = Path(name)
        for file, data in content.items():
            files.write_scratch(directory / file, data)
        answer = child.run(
            "verinfer.verifier._ezkl",
            function,
            {
                **{file: str(directory / file) for file in content},
                "version": bundle.manifest.ezkl.version,
                **arguments,
            },
            limits=_LIMITS,
            directory=directory,
        )
    if not isinstance(answer, str):
        raise ChildFailed("child-no-answer")
    return answer
