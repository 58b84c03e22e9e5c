"""Ed25519 keys: a public key's id is the SHA-256 of its SPKI (RFC 8410, RFC 5280); a private key's file is 0600.

Takes PEM files, gives keys of the `cryptography` package.
"""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from . import files
from .digest import sha256
from .errors import Malformed

KEY_LIMIT = 4096

_FIELD = 2**255 - 19
SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)
"""The y of all points whose order divides 8: under such a key one signature fits many statements, so it names nobody."""


def spki(key: Ed25519PublicKey) -> bytes:
    """The key's SubjectPublicKeyInfo, DER: 44 bytes."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """The SHA-256 of the key's SPKI: how issuers and owners are named."""
    return sha256(spki(key))


def encode_public(key: Ed25519PublicKey) -> str:
    """Base64 of the SPKI, as policies carry it."""
    return base64.b64encode(spki(key)).decode("ascii")


def decode_public(text: str) -> Ed25519PublicKey:
    """The key of `encode_public`; raises ValueError unless it is exactly one Ed25519 SPKI."""
    try:
        key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
    except UnsupportedAlgorithm as error:
        raise ValueError("not an Ed25519 key") from error
    if not isinstance(key, Ed25519PublicKey) or encode_public(key) != text:
        raise ValueError("not an Ed25519 key in canonical form")
    if _is_weak(key):
        raise ValueError("a key with which anybody can sign")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """A public key from PEM; raises `Malformed` (``key-malformed``) or `CouldNotCheck` (``file-missing``)."""
    try:
        key = serialization.load_pem_public_key(files.read(path, limit=KEY_LIMIT))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("key-malformed", f"{path} holds no public key in PEM form.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Malformed("key-malformed", f"{path} holds a key that is not Ed25519.")
    if _is_weak(key):
        raise Malformed("key-malformed", f"{path} holds a key with which anybody can sign.")
    return key


def read_private(path: Path) -> Ed25519PrivateKey:
    """A private key from unencrypted PKCS #8 PEM; raises as `read_public`."""
    try:
        key = serialization.load_pem_private_key(files.read(path, limit=KEY_LIMIT), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("key-malformed", f"{path} holds no unencrypted private key in PEM form.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Malformed("key-malformed", f"{path} holds a key that is not Ed25519.")
    return key


def load_or_make(path: Path) -> Ed25519PrivateKey:
    """The private key in `path`, made on first use with mode 0600."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files.write_atomically(path, pem, mode=files.PRIVATE)
    return read_private(path)


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The public key as PEM, to hand out."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _is_weak(key: Ed25519PublicKey) -> bool:
    y = int.from_bytes(key.public_bytes_raw(), "little") & ((1 << 255) - 1)
    # Some decoders take y + p for y.
    return (y % _FIELD).to_bytes(32, "little") in SMALL_ORDER
