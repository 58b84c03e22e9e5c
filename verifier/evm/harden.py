"""Makes the Solidity that EZKL generates read the proof where it hashes it.

The generated code hashes the proof where the ABI's offset points, but reads its words at fixed addresses of the calldata. With
any other than the canonical offset the two differ, and what is hashed is not what is checked. One condition more closes that:
the proof must lie where the fixed addresses are.
A source is refused unless it has the one place for that condition, and the declarations that fix the address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from ..errors import CouldNotCheck

Form = Literal["single", "reusable"]
"""One contract for one circuit, or one for all circuits that is given the circuit's VKA."""

PROOF_ADDRESS: dict[Form, int] = {"single": 0x64, "reusable": 0x84}
"""Where the proof's bytes begin in canonical calldata: selector, a head of two or three words, the length."""

_CONTRACTS: dict[Form, str] = {"single": "Halo2Verifier", "reusable": "Halo2VerifierReusable"}

_SIGNATURES: dict[Form, str] = {
    "single": r"function verifyProof\( bytes calldata proof, uint256\[\] calldata instances \)",
    "reusable": (
        r"function verifyProof\( bytes calldata proof, uint256\[\] calldata instances, bytes32\[\] memory vka \)"
    ),
}

_LENGTH = re.compile(
    r"^(?P<indent>[ \t]*)success := and\(success, eq\([^\n]+, proof\.length\)\)[ \t]*$", re.MULTILINE
)


def contract_name(form: Form) -> str:
    """The name of the contract in EZKL's source."""
    return _CONTRACTS[form]


def harden(source: str, form: Form) -> str:
    """`source` with the condition on the proof's place; raises `CouldNotCheck` (``contract-differs``) if it has another shape."""
    plain = re.sub(r"\s+", " ", source)
    # Once as a word: a second contract, or a second way in, would not be hardened.
    _require_once(re.findall(rf"\bcontract {_CONTRACTS[form]}\b", plain), "contract")
    _require_once(re.findall(r"\bcontract \w+", _without_comments(plain)), "contract of any name")
    _require_once(re.findall(_SIGNATURES[form], plain), "verifyProof with its parameters")
    _require_once(re.findall(r"\bfunction verifyProof\b", plain), "verifyProof")
    _require_once(re.findall(r"\bproof\.offset\b", plain), "use of the proof's offset")
    places = list(_LENGTH.finditer(source))
    _require_once(places, "check of the proof's length")
    (place,) = places
    condition = f"success := and(success, eq({PROOF_ADDRESS[form]:#x}, proof.offset))"
    return f"{source[: place.end()]}\n{place['indent']}{condition}{source[place.end() :]}"


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", " ", text)


def _require_once(found: Sequence[object], what: str) -> None:
    if len(found) != 1:
        raise CouldNotCheck(
            "contract-differs",
            f"EZKL's Solidity has the {what} {len(found)} times instead of once; it cannot be hardened.",
        )
