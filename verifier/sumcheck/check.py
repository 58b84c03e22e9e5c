"""Whether a proof shows that a network gives an output for an input (specification, sections 2, 6 and 8).

Bytes and integers in; nothing out, or an error with a stable code: ``description-malformed``, ``security-too-low``, and
``proof-invalid`` with the step (`refusal.Step`) as its field. No file, clock or network.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from math import prod

from . import basefold, linear, lookup, opening, soundness, zerocheck
from .basefold import Committed
from .description import MOST_BITS, PROTOCOL, Description, parse
from .layout import layout
from .messages import Messages
from .refusal import Step, require
from .soundness import DEFAULT_BITS
from .transcript import Transcript

WEIGHTS, WITNESS = 0, 1
"""The two committed polynomials."""


def check(
    canon: bytes,
    root: bytes,
    challenge: bytes,
    x: Sequence[int],
    y: Sequence[int],
    proof: bytes,
    *,
    required_bits: float = DEFAULT_BITS,
) -> None:
    """Return if `proof` shows that the network of description `canon` and weights behind `root` gives `y` for `x`.

    `root` and `challenge` have 32 bytes; a proof holds for its challenge alone.
    `x` and `y` are unpadded and row-major.
    What the weights are, and that they are in their ranges, is not shown here but by `key.check_key`, or by who holds them.
    `required_bits` is the caller's policy: what is worth less is refused.

    Raises `Malformed` (``description-malformed``), `Rejected` (``security-too-low``, ``proof-invalid``).
    """
    description = parse(canon)
    places = layout(description)
    sizes = places.sizes
    soundness.require(description.commitment, len(description.layers), sizes, required_bits)
    _require_statement(description, root, challenge, x, y)
    transcript = Transcript(PROTOCOL.encode())
    transcript.absorb(b"net", canon)
    transcript.absorb(b"wroot", root)
    transcript.absorb(b"request", challenge)
    transcript.absorb(b"in", struct.pack(f"<{len(x)}q", *x))
    transcript.absorb(b"out", struct.pack(f"<{len(y)}q", *y))
    messages = Messages(proof, transcript)
    witness_root = messages.absorbed(b"xroot", 32)
    limbs = (limb for columns in places.columns.values() for limb in columns.limbs)
    tag = lookup.column_tags(limbs)
    claims = lookup.check(messages, sizes.witness, places.multiplicities, tag, WITNESS)
    claims += zerocheck.check(messages, description, places, WITNESS)
    claims += linear.check(messages, description, places, x, y, weights=WEIGHTS, witness=WITNESS)
    opened = opening.check(messages, claims, (sizes.weights, sizes.witness))
    committed = Committed(root, sizes.weights), Committed(witness_root, sizes.witness)
    basefold.check(messages, opened, committed, sizes.leaves, description.commitment)


def model_id(canon: bytes, root: bytes) -> bytes:
    """The 32 bytes that name a description and the weights behind a root; raises `Rejected` for a root of another length.

    With roots of any length a byte could move from one to the other, and two networks would have one name.
    """
    _require_32_bytes(root, "root")
    return sha256(b"verinfer-sc/1 model" + canon + root).digest()


def _require_statement(
    description: Description, root: bytes, challenge: bytes, x: Sequence[int], y: Sequence[int]
) -> None:
    """Section 8, 1: before anything is hashed."""
    _require_32_bytes(root, "root")
    _require_32_bytes(challenge, "challenge")
    shape = "the input is not of the network's shape"
    require(len(x) == prod(description.inputs), Step.STATEMENT, shape)
    shape = "the output is not of the network's shape"
    require(len(y) == prod(description.outputs), Step.STATEMENT, shape)
    most = 1 << description.input_bits
    # A bool is an int to Python, and a float may equal one.
    require(
        all(type(value) is int and 0 <= value < most for value in x),
        Step.STATEMENT,
        f"an input is not an integer from 0 to {most - 1}",
    )
    most = 1 << MOST_BITS
    require(
        all(type(value) is int and -most < value < most for value in y),
        Step.STATEMENT,
        f"an output is not an integer within {MOST_BITS} bits",
    )


def _require_32_bytes(value: bytes, what: str) -> None:
    require(type(value) is bytes and len(value) == 32, Step.STATEMENT, f"the {what} must have 32 bytes")
