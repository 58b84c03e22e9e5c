"""The verifier's SRS: the canonical k=1 cut, 516 bytes, and whether it is the ceremony's.

Layout (halo2 ParamsKZG, raw bytes): k as u32 little-endian, g, s·g, the two Lagrange points, g2, s·g2.
Provenance is derived here from the bytes, never read from anywhere: whoever knows s can forge every proof.
"""

from __future__ import annotations

from typing import Literal

from .digest import sha256
from .errors import Malformed

CUT_BYTES = 4 + 4 * 64 + 2 * 128

CEREMONY_CUT = "cafb2aa72c200ddc4e28aacabb8066e829207e2484b8d17059a566232f8a297b"
"""SHA-256 of the k=1 file of the perpetual powers of tau, from the public table that ezkl carries."""

Provenance = Literal["ceremony", "insecure-local", "transparent"]
"""``transparent``: the proof system has no SRS, and nobody a trapdoor."""


def provenance(cut: bytes) -> Provenance:
    """``ceremony`` only for the one file that is; raises `Malformed` (``srs-malformed``) for what is no cut at all."""
    if len(cut) != CUT_BYTES or cut[:4] != b"\x01\x00\x00\x00":
        raise Malformed("srs-malformed", f"A k=1 cut has {CUT_BYTES} bytes and starts with k = 1.")
    return "ceremony" if sha256(cut) == CEREMONY_CUT else "insecure-local"
