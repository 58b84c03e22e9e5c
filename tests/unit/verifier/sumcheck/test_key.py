"""The key proof: every weight is an integer within its width, and no cell between the blocks holds anything."""

from __future__ import annotations

from random import Random

import pytest

from verinfer.verifier.errors import Rejected
from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck.field import P
from verinfer.verifier.sumcheck.key import check_key
from verinfer.verifier.sumcheck.refusal import Step

from .liars import (
    FalseFinal,
    FalseOracle,
    FollowedOpening,
    Miscounted,
    OneByteMore,
    OtherWeightRoot,
    OtherWitnessRoot,
    SplitOpening,
)
from .network import FULL, Network, activation, network, random_input
from .prover import Prover
from .refusing import CHALLENGE, refused_only_at

NETWORK = network(
    [
        {"op": "conv", "k": 2, "stride": 1, "pad": 0, "cout": 3, **activation()},
        {"op": "gemm", "nout": 3, "final": 1},
    ],
    [1, 3, 3],
)
"""Three output channels: each block has a row of padding."""


def with_weights(**weights: list[int]) -> Network:
    """The same description with other weights."""
    return Network(NETWORK.description, {**NETWORK.weights, **weights})


def accepted(prover: Prover) -> None:
    """Return if the prover's key proof is accepted for its root."""
    check_key(NETWORK.canon, prover.root, prover.prove_key(), required_bits=16)


def test_a_key_proof_of_weights_in_range_is_accepted() -> None:
    """Weights and biases at both ends of their widths are in range."""
    low, high = -1 << (NETWORK.description["wb"] - 1), (1 << (NETWORK.description["wb"] - 1)) - 1
    weights = [low, high, *NETWORK.weights["W0"][2:]]
    accepted(Prover(with_weights(W0=weights)))


@pytest.mark.parametrize("name", ["W0", "b0", "W1", "b1"])
@pytest.mark.parametrize("beyond", [True, False], ids=["above", "below"])
def test_a_weight_beyond_its_width_is_refused(
    name: str, beyond: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than the largest, or one less than the smallest integer of its width, has a limb that is in no range."""
    half = 1 << (NETWORK.description["wb" if name[0] == "W" else "bb"] - 1)
    tensor = [*NETWORK.weights[name]]
    tensor[-1] = half if beyond else -half - 1
    prover = Prover(with_weights(**{name: tensor}))
    refused_only_at(Step.LOOKUP_SUM, lambda: accepted(prover), monkeypatch)


class Hidden(Prover):
    """Limbs of the original weights, whatever is committed."""

    hidden = 0
    """What is added to P_w."""
    where = 0

    def packed_weights(self) -> list[int]:
        packed = super().packed_weights()
        packed[self.cell(packed)] += self.hidden
        return packed

    def cell(self, packed: list[int]) -> int:
        return 0


class Half(Hidden):
    """A weight of one half modulo p."""

    hidden = (P + 1) // 2


class Filler(Hidden):
    """A number in a cell of P_w that is in no block."""

    hidden = 1

    def cell(self, packed: list[int]) -> int:
        return len(packed) - 1


class PaddingRow(Hidden):
    """A neuron in the padding row of a block of weights."""

    hidden = 1

    def cell(self, packed: list[int]) -> int:
        return int(self.weight_offsets["W1"]) + (1 << int(self.weight_sizes["W1"])) - 16


@pytest.mark.parametrize("liar", [Half, Filler, PaddingRow])
def test_the_limbs_are_those_of_the_committed_weights(
    liar: type[Prover], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key proof with limbs of other numbers than the committed ones fails, on padding and between blocks as well."""
    prover = liar(NETWORK)
    refused_only_at(Step.OPENING, lambda: accepted(prover), monkeypatch)


class PaddingLimb(PaddingRow):
    """The same, with a limb that accounts for it."""

    def limb_cells(self, name: str, width: int) -> dict[str, list[int]]:
        found = super().limb_cells(name, width)
        if name == "W1":
            found["W1.0"][-16] += 1
        return found


def test_limbs_on_padding_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limb on a padding cell has no range but zero."""
    refused_only_at(Step.LOOKUP_SUM, lambda: accepted(PaddingLimb(NETWORK)), monkeypatch)


@pytest.mark.parametrize("liar", [Filler, PaddingRow])
def test_what_hides_between_the_weights_changes_no_answer(liar: type[Prover]) -> None:
    """Without a key proof, too: cells outside the valid ones have no effect on what can be proven."""
    x = random_input(NETWORK.description, Random(3))  # noqa: S311 - reproducible tests
    honest, _ = Prover(NETWORK).prove(CHALLENGE, x)
    prover = liar(NETWORK)
    y, proof = prover.prove(CHALLENGE, x)
    assert y == honest
    check(NETWORK.canon, prover.root, CHALLENGE, x, y, proof, required_bits=16)


def test_a_key_proof_is_of_one_root_and_one_description() -> None:
    """It holds for no other weights, and for no other widths."""
    prover = Prover(NETWORK)
    proof = prover.prove_key()
    with pytest.raises(Rejected):
        check_key(NETWORK.canon, bytes(32), proof, required_bits=16)
    wider = Network({**NETWORK.description, "wb": NETWORK.description["wb"] + 1}, NETWORK.weights)
    with pytest.raises(Rejected):
        check_key(wider.canon, prover.root, proof, required_bits=16)


def test_a_key_proof_is_no_proof_of_an_answer() -> None:
    """The two have different transcripts, whatever bytes they share."""
    prover = Prover(NETWORK)
    x = random_input(NETWORK.description, Random(3))  # noqa: S311 - reproducible tests
    y, proof = prover.prove(CHALLENGE, x)
    with pytest.raises(Rejected):
        check_key(NETWORK.canon, prover.root, proof, required_bits=16)
    with pytest.raises(Rejected):
        check(NETWORK.canon, prover.root, CHALLENGE, x, y, prover.prove_key(), required_bits=16)


@pytest.mark.parametrize("root", [b"", bytes(31), bytes(33), "0" * 32])
def test_a_root_has_32_bytes(root: bytes) -> None:
    """Anything else is no root."""
    with pytest.raises(Rejected) as refusal:
        check_key(NETWORK.canon, root, b"", required_bits=16)
    assert refusal.value.field == Step.STATEMENT


@pytest.mark.parametrize(
    ("outputs", "step", "message"), [(32, Step.LENGTH, "too early"), (33, Step.STATEMENT, "audited")]
)
def test_a_network_can_be_too_large_for_a_key_proof(outputs: int, step: Step, message: str) -> None:
    """Limbs of up to 2^26 cells have a key proof; of what would need more, the weights must be audited."""
    pcs = {**FULL, "queries": 20, "pow_bits": 4}
    description = network([{"op": "gemm", "nout": 2, "final": 1}], [3], pcs=pcs).description
    # Seven limbs a weight, of 2^23 padded weights or twice as many.
    wide = {**description, "in_dims": [1 << 18], "bb": 20, "wb": 32}
    wide["layers"] = [{"op": "gemm", "nout": outputs, "final": 1}]
    with pytest.raises(Rejected) as refusal:
        check_key(Network(wide, {}).canon, bytes(32), b"", required_bits=16)
    assert refusal.value.field == step
    assert message in refusal.value.message


@pytest.mark.parametrize(
    ("liar", "step"),
    [
        (Miscounted, Step.LOOKUP_SUM),
        (SplitOpening, Step.FOLDING_ROUND),
        (FollowedOpening, Step.FINAL_MESSAGE),
        (FalseFinal, Step.CODEWORD),
        (FalseOracle, Step.FOLDING),
        (OtherWitnessRoot, Step.MERKLE),
        (OtherWeightRoot, Step.MERKLE),
        (OneByteMore, Step.LENGTH),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_lies_about_commitments_are_refused_in_key_proofs_too(
    liar: type[Prover], step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key proof has the same steps, and each refuses its lie alone."""
    prover = liar(NETWORK)
    proof = prover.prove_key()
    refused_only_at(step, lambda: check_key(NETWORK.canon, prover.root, proof, required_bits=16), monkeypatch)


def test_key_proofs_have_the_policys_bits_too() -> None:
    """Few queries are refused unless the caller asks for no more than they are worth."""
    prover = Prover(NETWORK)
    with pytest.raises(Rejected, match="security-too-low"):
        check_key(NETWORK.canon, prover.root, prover.prove_key())
