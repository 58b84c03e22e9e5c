"""The Fiat-Shamir transcript and the proof it writes (section 6.1)."""

from collections.abc import Sequence
from hashlib import sha256
from struct import pack

from .field import K, P


class Transcript:
    """A chained SHA-256 state; whatever the prover sends is absorbed and appended to the proof in one step."""

    def __init__(self, protocol: bytes) -> None:
        self.state = sha256(b"\x03" + protocol).digest()
        self._sent: list[bytes] = []

    def absorb(self, label: bytes, data: bytes) -> None:
        """Bind public data, which is no part of the proof."""
        head = bytes([len(label)]) + label + len(data).to_bytes(8, "little")
        self.state = sha256(b"\x00" + self.state + head + data).digest()

    def send(self, label: bytes, data: bytes) -> None:
        """Bind bytes of the proof."""
        self.absorb(label, data)
        self._sent.append(data)

    def send_k(self, label: bytes, *values: K) -> None:
        """Bind elements of K, each two little-endian u64."""
        words = [word for value in values for word in value]
        self.send(label, pack(f"<{len(words)}Q", *words))

    def append(self, data: bytes) -> None:
        """Add an opening, which no later challenge depends on."""
        self._sent.append(data)

    def _squeeze(self, label: bytes) -> None:
        self.state = sha256(b"\x01" + self.state + bytes([len(label)]) + label).digest()

    def _block(self, number: int) -> bytes:
        return sha256(b"\x02" + self.state + number.to_bytes(4, "little")).digest()

    def challenges(self, label: bytes, count: int) -> list[K]:
        """That many elements of K from one squeeze; none at all still changes the state."""
        self._squeeze(label)
        blocks = [self._block(i) for i in range(count)]
        return [(int.from_bytes(b[:16], "little") % P, int.from_bytes(b[16:], "little") % P) for b in blocks]

    def challenge(self, label: bytes) -> K:
        """One element of K."""
        return self.challenges(label, 1)[0]

    def indices(self, count: int, size: int) -> Sequence[int]:
        """The distinct query indices in `[0, size)`, sorted; size is a power of two."""
        self._squeeze(b"query")
        return sorted({int.from_bytes(self._block(i)[:8], "little") & (size - 1) for i in range(count)})

    def squeeze_state(self, label: bytes) -> bytes:
        """The state right after a squeeze, for grinding."""
        self._squeeze(label)
        return self.state

    def proof(self) -> bytes:
        """Everything sent, in order."""
        return b"".join(self._sent)
