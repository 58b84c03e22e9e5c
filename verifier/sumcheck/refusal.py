"""The steps at which a proof is refused (specification, section 8), and how.

Each is a `Rejected` with ``proof-invalid`` whose ``field`` is the step, so that tests and reports need not read messages.
"""

from __future__ import annotations

from enum import StrEnum

from verinfer.verifier.errors import Rejected


class Step(StrEnum):
    """What is checked, in the order in which a verifier comes to it."""

    STATEMENT = "statement"
    """Input, output, challenge and root: lengths, integers, ranges."""
    LENGTH = "length"
    """The proof has every byte that the protocol reads, and none behind them."""
    CANONICAL = "canonical"
    """Every element and symbol is below the field's modulus."""
    LOOKUP_SUM = "lookup-sum"
    """The range checks' fractions sum to zero, and no denominator is zero."""
    LOOKUP_LAYER = "lookup-layer"
    """Each layer of the tree of fractions follows from the one below."""
    LOOKUP_NUMERATOR = "lookup-numerator"
    """The leaves' numerators are those of the committed witness."""
    LOOKUP_DENOMINATOR = "lookup-denominator"
    """The leaves' denominators are those of the committed witness and the range table."""
    ZEROCHECK = "zerocheck"
    """Activations are clamped where the rescaled accumulator leaves their range, and only there."""
    INNER_PRODUCT = "inner-product"
    """The linear layers' products of weights and activations sum to what was claimed."""
    OPENING = "opening"
    """All claims about committed polynomials hold for their two opened values."""
    FOLDING_ROUND = "folding-round"
    """Each round of the commitment's sumcheck continues the claim."""
    FINAL_MESSAGE = "final-message"
    """The message that is sent in clear has the claimed value."""
    GRINDING = "grinding"
    """The nonce has the work that the parameters ask for."""
    MERKLE = "merkle"
    """Opened leaves belong to the committed roots, with exactly the siblings needed."""
    FOLDING = "folding"
    """Each opened leaf folds into the next oracle's symbol."""
    CODEWORD = "codeword"
    """The last fold is the encoding of the final message."""
    ZERO_CHALLENGE = "zero-challenge"
    """A challenge that a round divides by is not zero; an honest prover meets that once in 2^128 rounds."""


def require(condition: bool, step: Step, why: str) -> None:
    """Raise `Rejected` (``proof-invalid``, with the step as its field) unless `condition` holds."""
    if not condition:
        raise Rejected("proof-invalid", f"The proof fails at step {step}: {why}.", field=step.value)
