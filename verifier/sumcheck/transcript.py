"""The Fiat-Shamir transcript: challenges that depend on everything said before (specification, section 6.1)."""

from __future__ import annotations

from hashlib import sha256

from .field import K, P


class Transcript:
    """A chained SHA-256 state of 32 bytes."""

    def __init__(self, protocol: bytes) -> None:
        self.state = sha256(b"\x03" + protocol).digest()

    def absorb(self, label: bytes, data: bytes) -> None:
        """Bind `data` under a label of at most 255 bytes."""
        head = bytes([len(label)]) + label + len(data).to_bytes(8, "little")
        self.state = sha256(b"\x00" + self.state + head + data).digest()

    def squeeze(self, label: bytes) -> bytes:
        """Move on to a state that challenges are drawn from, and give it."""
        self.state = sha256(b"\x01" + self.state + bytes([len(label)]) + label).digest()
        return self.state

    def challenge(self, label: bytes) -> K:
        """One element of K."""
        return self.challenges(label, 1)[0]

    def challenges(self, label: bytes, count: int) -> list[K]:
        """`count` elements of K from one squeeze, which moves on even where `count` is 0."""
        self.squeeze(label)
        blocks = [self._block(number) for number in range(count)]
        return [
            (int.from_bytes(block[:16], "little") % P, int.from_bytes(block[16:], "little") % P)
            for block in blocks
        ]

    def indices(self, label: bytes, count: int, index_bits: int) -> list[int]:
        """The distinct ones of `count` indices below 2^index_bits, sorted."""
        self.squeeze(label)
        mask = (1 << index_bits) - 1
        return sorted({int.from_bytes(self._block(i)[:8], "little") & mask for i in range(count)})

    def _block(self, number: int) -> bytes:
        return sha256(b"\x02" + self.state + number.to_bytes(4, "little")).digest()
