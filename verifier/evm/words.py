"""Words of the EVM: 32 bytes, big-endian; and its hash."""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.crypto import keccak

from ..instances import BN254_SCALAR_FIELD


def keccak256(data: bytes) -> bytes:
    """The EVM's hash, which is not SHA3-256."""
    return keccak(data)


def selector(signature: str) -> bytes:
    """The four bytes that choose a function or an error, such as ``verifyProof(bytes,uint256[])``."""
    return keccak256(signature.encode())[:4]


def elements(values: Sequence[int]) -> tuple[int, ...]:
    """Signed integers as canonical elements of BN254's scalar field: a negative one is r - |v|."""
    return tuple(value % BN254_SCALAR_FIELD for value in values)


def signed(values: Sequence[int]) -> tuple[int, ...]:
    """Elements of BN254's scalar field as signed integers: what `elements` was given."""
    return tuple(value - BN254_SCALAR_FIELD if value > BN254_SCALAR_FIELD // 2 else value for value in values)


def packed(values: Sequence[int]) -> bytes:
    """Signed integers as field elements, each in a word."""
    return b"".join(value.to_bytes(32, "big") for value in elements(values))
