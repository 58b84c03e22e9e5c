"""Dishonest provers: exactly one step of the verifier refuses each of them.

That no other step would is shown by leaving that step out: then the same false proof is accepted.
"""

from __future__ import annotations

import pytest

from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck.refusal import Step

from .liars import (
    BothBranches,
    FalseDenominator,
    FalseFinal,
    FalseLeaves,
    FalseNumerator,
    FalseOracle,
    FalseOutput,
    FalseSaturation,
    FalseSecondOracle,
    FalseSum,
    FalseTop,
    FollowedOpening,
    Miscounted,
    OneByteMore,
    OneSiblingLess,
    OneSiblingMore,
    OtherOracleRoot,
    OtherWeightRoot,
    OtherWitnessRoot,
    Shifted,
    SplitOpening,
    TheOtherZero,
    TheOtherZeroOfWeights,
    TooLittleWork,
    WrongProduct,
    WrongProductFalseSum,
)
from .network import FEW, Network, activation, network
from .prover import Prover
from .refusing import CHALLENGE, refused_only_at

NETWORK = network(
    [{"op": "gemm", "nout": 5, **activation(s=3)}, {"op": "gemm", "nout": 3, "final": 1}],
    [4],
    pcs={**FEW, "pow_bits": 6},
)
"""Of its five neurons some are clamped at either end, and some are not."""
X = [0, 15, 0, 15]


LIES: list[tuple[type[Prover], Step]] = [
    (Shifted, Step.LOOKUP_SUM),
    (Miscounted, Step.LOOKUP_SUM),
    (FalseTop, Step.LOOKUP_LAYER),
    (FalseNumerator, Step.LOOKUP_NUMERATOR),
    (FalseDenominator, Step.LOOKUP_DENOMINATOR),
    (FalseLeaves, Step.OPENING),
    (BothBranches, Step.ZEROCHECK),
    (FalseSaturation, Step.ZEROCHECK),
    (FalseOutput, Step.OPENING),
    (FalseSum, Step.INNER_PRODUCT),
    (WrongProduct, Step.OPENING),
    (WrongProductFalseSum, Step.INNER_PRODUCT),
    (SplitOpening, Step.FOLDING_ROUND),
    (FollowedOpening, Step.FINAL_MESSAGE),
    (FalseFinal, Step.CODEWORD),
    (FalseOracle, Step.FOLDING),
    (FalseSecondOracle, Step.FOLDING),
    (OtherWitnessRoot, Step.MERKLE),
    (OtherOracleRoot, Step.MERKLE),
    (OtherWeightRoot, Step.MERKLE),
    (OneSiblingMore, Step.MERKLE),
    (OneSiblingLess, Step.MERKLE),
    (TooLittleWork, Step.GRINDING),
    (OneByteMore, Step.LENGTH),
]


@pytest.mark.parametrize(("liar", "step"), LIES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_each_lie_is_refused_by_one_step(
    liar: type[Prover], step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prover that lies in one place, and is consistent with it in all others, fails at that place's step and no other."""
    prover = liar(NETWORK)
    y, proof = prover.prove(CHALLENGE, X)
    refused_only_at(
        step,
        lambda: check(NETWORK.canon, prover.root, CHALLENGE, X, y, proof, required_bits=16),
        monkeypatch,
    )


def test_every_step_has_a_lie_that_only_it_refuses() -> None:
    """The lies above and below cover every step of the verifier."""
    apart = {Step.STATEMENT, Step.CANONICAL, Step.ZERO_CHALLENGE}
    assert set(Step) - apart == {step for _, step in LIES}


ZEROS = Network(NETWORK.description, {name: [0] * len(cells) for name, cells in NETWORK.weights.items()})


@pytest.mark.parametrize("label", [b"S", b"lf", b"z", b"zf"], ids=bytes.decode)
def test_numbers_have_one_form_in_messages(label: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An element written as p more than it is, is refused only for that."""
    prover = TheOtherZero(ZEROS)
    prover.chosen = label
    y, proof = prover.prove(CHALLENGE, X)
    refused_only_at(
        Step.CANONICAL,
        lambda: check(ZEROS.canon, prover.root, CHALLENGE, X, y, proof, required_bits=16),
        monkeypatch,
    )


def test_numbers_have_one_form_in_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a symbol of a codeword, however it was committed."""
    prover = TheOtherZeroOfWeights(ZEROS)
    y, proof = prover.prove(CHALLENGE, X)
    refused_only_at(
        Step.CANONICAL,
        lambda: check(ZEROS.canon, prover.root, CHALLENGE, X, y, proof, required_bits=16),
        monkeypatch,
    )
