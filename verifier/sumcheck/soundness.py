"""How many bits a proof is worth, from the description's parameters alone (specification, section 7).

Unique decoding only: no conjecture beyond SHA-256 as a random oracle.
A level of b bits means that a query to the oracle lets a false proof through with probability 2^-b at most, whatever the round.
"""

from __future__ import annotations

from math import log2

from verinfer.verifier.errors import Rejected

from .description import Commitment
from .layout import Sizes

PROFILES = frozenset({(1, 203, 16), (2, 124, 16), (3, 102, 16), (4, 93, 16)})
"""Logarithm of the blow-up, queries, bits of grinding: what is accepted unless the caller names a lower level than 100 bits."""

DEFAULT_BITS = 100
_FIELD_BITS = 127.99
"""Of K, less than what its challenges' small bias costs."""


def query_bits(commitment: Commitment) -> float:
    """``((1 + rate) / 2)^queries · 2^-grinding``, as bits."""
    rate = 2.0**-commitment.log_blowup
    return commitment.queries * -log2((1 + rate) / 2) + commitment.pow_bits


def level(commitment: Commitment, layers: int, sizes: Sizes) -> float:
    """The bits of the weakest single round."""
    lookup = _FIELD_BITS - (sizes.witness + 1)
    folds = _FIELD_BITS - (sizes.leaves + commitment.log_blowup)
    # Rounds of a sumcheck, and challenges whose error is the number of claims, layers or variables.
    sums = _FIELD_BITS - log2(4 * max(layers, sizes.largest, 8))
    return min(query_bits(commitment), lookup, folds, sums)


def require(commitment: Commitment, layers: int, sizes: Sizes, required: float) -> None:
    """Raise `Rejected` (``security-too-low``) unless a proof is worth `required` bits, which the caller's policy names."""
    profile = (commitment.log_blowup, commitment.queries, commitment.pow_bits)
    reached = level(commitment, layers, sizes)
    # Other parameters than the reviewed ones are for those who ask for less than a hundred bits by name.
    allowed = profile in PROFILES or required < DEFAULT_BITS
    if not (allowed and reached >= required):
        raise Rejected(
            "security-too-low",
            f"A proof of this network is worth {reached:.1f} bits, with parameters {profile}; {required} are required.",
            field="pcs",
        )
