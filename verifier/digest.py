"""SHA-256 digests and the challenge that ties a proof to its statement.

Digests and nonces are lower-case hex wherever people or JSON see them.
The children of `circuits` import this: pydantic, which takes them a tenth of a second, stays out of it.
"""

from __future__ import annotations

import hashlib
import re

CHALLENGE_TAG = b"verinfer/challenge/v1"
SALT_TAG = b"verinfer/salt/v1"
CHALLENGE_LIMBS = SALT_LIMBS = 16
CHALLENGE_NAME = "verinfer_challenge"
"""The last input of every circuit."""

_HEX32 = re.compile(r"[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """The SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_hex32(text: str) -> bool:
    """Whether `text` is 64 lower-case hex digits."""
    return _HEX32.fullmatch(text) is not None


def challenge(nonce: str, statement_digest: str) -> tuple[int, ...]:
    """The 16 limbs (each below 2^16) that an EZKL proof for this statement must carry as instances: big-endian pairs of bytes."""
    return to_limbs(challenge_bytes(nonce, statement_digest))


def challenge_bytes(nonce: str, statement_digest: str) -> bytes:
    """The 32 bytes that a proof for this statement is bound to: ``SHA-256(tag ‖ nonce ‖ statement digest)``."""
    return hashlib.sha256(CHALLENGE_TAG + bytes.fromhex(nonce) + bytes.fromhex(statement_digest)).digest()


def salt_limbs(salt: str, tensor: str) -> tuple[int, ...]:
    """The 16 limbs (each below 2^16) that stand behind the values of a hashed tensor, so that its hash cannot be guessed.

    ``SHA-256(tag ‖ salt ‖ name of the tensor)``, big-endian pairs of bytes: each tensor of a request has its own.
    """
    return to_limbs(hashlib.sha256(SALT_TAG + bytes.fromhex(salt) + tensor.encode("ascii")).digest())


def to_limbs(digest: bytes) -> tuple[int, ...]:
    """Big-endian pairs of bytes, as numbers below 2^16."""
    return tuple(digest[2 * i] * 256 + digest[2 * i + 1] for i in range(len(digest) // 2))
