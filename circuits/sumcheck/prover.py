"""Proofs of verinfer-sc/1: that an integer network, bound by a root, gives this output for this input (sections 2 and 6).

Not zero-knowledge: a proof may tell something of weights and hidden activations (section 10).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from .arena import Arena
from .basefold import prove_values
from .clamp import prove_clamp
from .commitment import Committed, commit
from .description import PROTOCOL, Description, Integers, Weights, canon
from .layout import MULTIPLICITIES, Layout
from .linear import prove_linear
from .lookup import prove_lookup
from .opening import prove_openings
from .transcript import Transcript
from .validation import validated
from .witness import Tags, Witness, check_weights, pack_weights, tags_of, witness


@dataclass(frozen=True, slots=True)
class ProvingKey:
    """D, its weights, and their commitment. Whoever holds D and weights can make it again; nothing in it is random."""

    layout: Layout
    weights: Weights
    committed: Committed
    tags: Tags

    @property
    def root(self) -> bytes:
        """R_w: with D, what a verifier must know of the network."""
        return self.committed.root


@dataclass(frozen=True, slots=True)
class Proof:
    """The output, int64 in D's dimensions, and the bytes that prove it."""

    y: Integers
    data: bytes


def setup(description: Description, weights: Weights) -> ProvingKey:
    """The proving key of a D and its integer weights.

    Raises `CouldNotCheck` (``no-circuit``) of a D that does not meet section 3.1, and of weights that are not those D describes.
    """
    layout = validated(deepcopy(description))  # a key does not change with what was passed
    check_weights(layout, weights)
    cells = pack_weights(layout, weights)
    committed = commit(cells, layout.leaves_bits, layout.blowup_bits)
    return ProvingKey(layout, weights, committed, tags_of(layout))


def model_id(description: Description, root: bytes) -> bytes:
    """The 32 bytes that name a network (section 2)."""
    return sha256(f"{PROTOCOL} model".encode() + canon(description) + root).digest()


class Prover:
    """Makes proofs, one at a time, in memory that it keeps. For small networks one prover for each core does most."""

    def __init__(self, key: ProvingKey) -> None:
        self.key = key
        self._arena = Arena()
        self._lock = Lock()

    def prove(self, x: Integers, challenge: bytes) -> Proof:
        """Run the network and prove its output; every admissible x has a proof.

        `challenge` is the 32 bytes that bind the proof to one request.
        Raises `UsageError` (``shape-mismatch``, ``value-not-integer``, ``value-out-of-range``) for an input that D refuses.
        """
        return self.prove_witness(witness(self.key.layout, self.key.tags, self.key.weights, x), challenge)

    def prove_witness(self, given: Witness, challenge: bytes) -> Proof:
        """Prove a witness; a wrong one gives bytes that no verifier accepts."""
        if len(challenge) != 32:
            raise ValueError("a challenge is 32 bytes")
        key, layout = self.key, self.key.layout
        with self._lock, self._arena.scope():
            arena = self._arena
            transcript = Transcript(PROTOCOL.encode())
            transcript.absorb(b"net", canon(layout.description))
            transcript.absorb(b"wroot", key.root)
            transcript.absorb(b"request", challenge)
            transcript.absorb(b"in", given.x.astype("<i8").tobytes())
            transcript.absorb(b"out", given.y.astype("<i8").tobytes())
            codeword = arena.vector(len(given.cells) << layout.blowup_bits)
            committed = commit(given.cells, layout.leaves_bits, layout.blowup_bits, codeword)
            transcript.send(b"xroot", committed.root)
            claims = [
                *prove_lookup(transcript, given.cells, key.tags, layout.witness[MULTIPLICITIES], arena),
                *prove_clamp(transcript, layout, given.cells, arena),
                *prove_linear(transcript, layout, key.committed.cells, given, arena),
            ]
            polynomials = (key.committed, committed)
            point, values = prove_openings(
                transcript, claims, [polynomial.cells for polynomial in polynomials], arena
            )
            prove_values(transcript, layout, polynomials, point, values, arena)
        return Proof(given.y, transcript.proof())
