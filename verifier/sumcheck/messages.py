"""The bytes of a proof, read in the order of the protocol (specification, section 6.1).

What the prover sends is absorbed as it is read, before the next challenge; openings, which come last, are only read.
"""

from __future__ import annotations

import struct

from .field import K, P
from .refusal import Step, require
from .transcript import Transcript


class Messages:
    """A proof and the position up to which it was read."""

    def __init__(self, proof: bytes, transcript: Transcript) -> None:
        self._proof = proof
        self._position = 0
        self.transcript = transcript

    def take(self, size: int) -> bytes:
        """The next `size` bytes, not absorbed."""
        end = self._position + size
        require(end <= len(self._proof), Step.LENGTH, "it ends too early")
        data = self._proof[self._position : end]
        self._position = end
        return data

    def absorbed(self, label: bytes, size: int) -> bytes:
        """The next `size` bytes, absorbed."""
        data = self.take(size)
        self.transcript.absorb(label, data)
        return data

    def elements(self, label: bytes, count: int) -> list[K]:
        """The next `count` elements of K, absorbed."""
        words = self._words(self.absorbed(label, 16 * count))
        return list(zip(words[::2], words[1::2], strict=True))

    def element(self, label: bytes) -> K:
        """The next element of K, absorbed."""
        return self.elements(label, 1)[0]

    def pair(self, label: bytes) -> tuple[K, K]:
        """The next two elements of K, absorbed."""
        first, second = self.elements(label, 2)
        return first, second

    def symbols(self, count: int) -> tuple[bytes, tuple[int, ...]]:
        """The next `count` symbols, not absorbed: their bytes, and as integers below P."""
        data = self.take(8 * count)
        return data, self._words(data)

    def count(self) -> int:
        """The next number (u32, little-endian), not absorbed."""
        return int.from_bytes(self.take(4), "little")

    def end(self) -> None:
        """Require that every byte was read."""
        require(self._position == len(self._proof), Step.LENGTH, "bytes follow its end")

    @staticmethod
    def _words(data: bytes) -> tuple[int, ...]:
        words = struct.unpack(f"<{len(data) // 8}Q", data)
        require(max(words, default=0) < P, Step.CANONICAL, "a number is not below the modulus")
        return words
