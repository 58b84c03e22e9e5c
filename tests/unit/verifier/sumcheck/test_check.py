"""Honest proofs are accepted, whatever layers a network has; for another statement, or changed in any byte, they are not."""

from __future__ import annotations

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verinfer.verifier.errors import Rejected, VerinferError
from verinfer.verifier.sumcheck import lookup
from verinfer.verifier.sumcheck.check import check, model_id
from verinfer.verifier.sumcheck.description import Commitment, parse
from verinfer.verifier.sumcheck.field import ONE, ZERO
from verinfer.verifier.sumcheck.key import check_key
from verinfer.verifier.sumcheck.layout import Block, Sizes, layout
from verinfer.verifier.sumcheck.messages import Messages
from verinfer.verifier.sumcheck.refusal import Step
from verinfer.verifier.sumcheck.rounds import eq_sumcheck
from verinfer.verifier.sumcheck.soundness import PROFILES, level, query_bits
from verinfer.verifier.sumcheck.transcript import Transcript

from .codes import pack
from .network import FEW, FULL, Json, Network, activation, canon, network, random_input, random_network
from .prover import Prover
from .refusing import CHALLENGE

FINAL: Json = {"op": "gemm", "nout": 3, "final": 1}


def conv(k: int, stride: int, pad: int, cout: int, **more: object) -> Json:
    """A convolution that is not final."""
    return {"op": "conv", "k": k, "stride": stride, "pad": pad, "cout": cout, **activation(), **more}


def linear(nout: int, **more: object) -> Json:
    """A row-wise layer that is not final."""
    return {"op": "linear", "nout": nout, **activation(), **more}


KINDS: dict[str, Network] = {
    "gemm": network([{"op": "gemm", "nout": 3, **activation()}, FINAL], [3]),
    "one layer": network([FINAL], [5]),
    "one neuron": network(
        [{"op": "gemm", "nout": 1, **activation()}, {"op": "gemm", "nout": 2, "final": 1}], [3]
    ),
    "conv": network([conv(3, 2, 1, 3), conv(2, 1, 0, 2, lo=-8), FINAL], [2, 5, 6]),
    "conv final": network([{"op": "conv", "k": 2, "stride": 1, "pad": 1, "cout": 3, "final": 1}], [1, 3, 2]),
    "pool": network([{"op": "pool", "k": 2, **activation(s=2)}, conv(2, 1, 0, 2), FINAL], [1, 7, 6]),
    "pool, other divisor": network(
        [conv(1, 1, 0, 2, lo=-8), {"op": "pool", "k": 3, **activation(m=7, s=6, lo=-8)}, FINAL], [1, 4, 6]
    ),
    "pool final": network([conv(2, 1, 1, 2, lo=-8), {"op": "pool", "k": 1, "final": 1}], [1, 2, 3]),
    "linear": network([linear(3, lo=-8), linear(5), {"op": "linear", "nout": 2, "final": 1}], [3, 5]),
    "linear, then flattened": network([linear(3, lo=-8), FINAL], [3, 2]),
    "flattened input": network([{"op": "gemm", "nout": 2, **activation()}, FINAL], [2, 3]),
    "residual": network(
        [
            linear(3, lo=-8),
            linear(3, res={"src": 0, "c": -5}, lo=-8),
            {"op": "linear", "nout": 3, "final": 1, "res": {"src": 1, "c": 9}},
        ],
        [2, 3],
    ),
    "pool with residual": network(
        [
            conv(3, 1, 1, 1, lo=-8),
            conv(1, 1, 0, 1),
            {"op": "pool", "k": 1, **activation(s=1), "res": {"src": 0, "c": 2}},
            FINAL,
        ],
        [1, 3, 3],
    ),
    "shortcut": network(
        [conv(2, 1, 0, 2), conv(1, 2, 0, 3, lo=-8), conv(2, 2, 0, 3, src=0, res={"src": 1, "c": 3}), FINAL],
        [1, 5, 5],
    ),
    "many limbs": network([{"op": "gemm", "nout": 3, **activation(s=13, a=5, m=4093, lo=-16)}, FINAL], [4]),
    "never clamped": network([{"op": "pool", "k": 1, **activation(s=1, a=4)}, FINAL], [1, 2, 3]),
    "wide weights": network([{"op": "gemm", "nout": 2, **activation(s=9)}, FINAL], [40]),
    "wide leaves": network([FINAL], [60], pcs={**FEW, "leaf_bits": 0, "fold": 4, "final_bits": 1}),
    "no oracle": network(
        [{"op": "gemm", "nout": 2, **activation()}, FINAL], [2], pcs={**FEW, "final_bits": 5, "leaf_bits": 5}
    ),
    "long final message": network(
        [{"op": "gemm", "nout": 2, **activation()}, FINAL], [2], pcs={**FEW, "final_bits": 8, "leaf_bits": 0}
    ),
    "rate 1/2": network(
        [{"op": "gemm", "nout": 2, **activation()}, FINAL], [2], pcs={**FEW, "log_blowup": 1, "queries": 40}
    ),
    "all parameters": network([{"op": "gemm", "nout": 3, **activation(s=3)}, FINAL], [3], pcs=FULL),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_honest_proof_is_accepted(name: str) -> None:
    """A proof of a network's output is accepted for its challenge and input, and so is the key proof of its weights."""
    prover = Prover(KINDS[name])
    full = KINDS[name].description["pcs"] == FULL
    x = random_input(KINDS[name].description, Random(1))  # noqa: S311 - reproducible tests
    y, proof = prover.prove(CHALLENGE, x)
    check(KINDS[name].canon, prover.root, CHALLENGE, x, y, proof, required_bits=100 if full else 14)
    check_key(KINDS[name].canon, prover.root, prover.prove_key(), required_bits=100 if full else 14)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int) -> None:
    """Of any small network the honest output is accepted, and one that differs in one number is not."""
    network = random_network(seed)
    prover = Prover(network)
    x = random_input(network.description, Random(seed))  # noqa: S311 - reproducible tests
    y, proof = prover.prove(CHALLENGE, x)
    check(network.canon, prover.root, CHALLENGE, x, y, proof, required_bits=1)
    changed = [*y]
    changed[seed % len(y)] += 1
    with pytest.raises(Rejected):
        check(network.canon, prover.root, CHALLENGE, x, changed, proof, required_bits=1)


class Proven:
    """A small network with a proof."""

    network = network(
        [{"op": "gemm", "nout": 2, **activation(s=3)}, {"op": "gemm", "nout": 2, "final": 1}],
        [2],
        pcs={**FEW, "queries": 1, "pow_bits": 10, "final_bits": 1, "fold": 3},
    )
    prover = Prover(network)
    x = (3, 14)
    y, proof = prover.prove(CHALLENGE, list(x))
    fields = tuple((label, len(data)) for label, data in prover.sent)

    @classmethod
    def check(cls, **changed: object) -> None:
        given: dict[str, object] = {
            "canon": cls.network.canon,
            "root": cls.prover.root,
            "challenge": CHALLENGE,
            "x": cls.x,
            "y": cls.y,
            "proof": cls.proof,
        }
        check(**{**given, **changed}, required_bits=10)  # type: ignore[arg-type]  # wrong types are what is tested


def refusal(**changed: object) -> VerinferError:
    """How the proof of `Proven` is refused with other arguments."""
    with pytest.raises(Rejected) as raised:
        Proven.check(**changed)
    assert raised.value.code == "proof-invalid"
    return raised.value


def test_every_flipped_byte_is_refused() -> None:
    """No byte of a proof may be another one."""
    random = Random(3)  # noqa: S311 - reproducible tests
    Proven.check()
    for position in range(len(Proven.proof)):
        changed = bytearray(Proven.proof)
        changed[position] ^= 1 << random.randrange(8)
        refusal(proof=bytes(changed))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_bytes_make_the_verifier_fail_otherwise(data: st.DataObject) -> None:
    """Cut, repeated, exchanged or made-up bytes are refused with the same code, never with another exception."""
    start = data.draw(st.integers(0, len(Proven.proof)))
    end = data.draw(st.integers(start, len(Proven.proof)))
    inserted = data.draw(
        st.binary(max_size=64) | st.just(b"\xff" * 16) | st.just(Proven.proof[start:end] * 2)
    )
    changed = Proven.proof[:start] + inserted + Proven.proof[end:]
    if changed != Proven.proof:
        refusal(proof=changed)


def test_every_cut_at_a_field_is_refused() -> None:
    """A proof that ends after any of its messages, or lacks one, has the wrong length or meaning."""
    position = 0
    for _, size in Proven.fields:
        assert refusal(proof=Proven.proof[:position]).field == Step.LENGTH
        refusal(proof=Proven.proof[:position] + Proven.proof[position + size :])
        position += size
    assert position == len(Proven.proof)


STATEMENTS: dict[str, dict[str, object]] = {
    "another input": {"x": [3, 13]},
    "inputs exchanged": {"x": [14, 3]},
    "another output": {"y": [Proven.y[0] + 1, Proven.y[1]]},
    "outputs exchanged": {"y": Proven.y[::-1]},
    "another challenge": {"challenge": bytes(32)},
    "another root": {"root": bytes(32)},
    "another description": {
        "canon": canon({**Proven.network.description, "in_bits": 5}),
    },
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_proof_is_for_one_statement(name: str) -> None:
    """Input, output, challenge, weights and description are all bound, even those that the arithmetic does not touch."""
    refusal(**STATEMENTS[name])


NO_STATEMENTS: dict[str, dict[str, object]] = {
    "no input": {"x": []},
    "too few inputs": {"x": [3]},
    "too many inputs": {"x": [3, 14, 0]},
    "an input of 2^in_bits": {"x": [3, 16]},
    "a negative input": {"x": [3, -1]},
    "an input beyond 64 bits": {"x": [3, 1 << 64]},
    "an input that is p more": {"x": [3 + (1 << 64) - (1 << 32) + 1, 14]},
    "an input that is a fraction": {"x": [3.0, 14]},
    "an input that is a boolean": {"x": [True, 14]},
    "an input that is text": {"x": ["3", 14]},
    "an input that is nothing": {"x": [None, 14]},
    "too few outputs": {"y": Proven.y[:1]},
    "too many outputs": {"y": [*Proven.y, 0]},
    "an output of 2^62": {"y": [1 << 62, 0]},
    "an output of -2^62": {"y": [-(1 << 62), 0]},
    "an output that is p less": {"y": [Proven.y[0] - (1 << 64) + (1 << 32) - 1, Proven.y[1]]},
    "an output that is a boolean": {"y": [False, 0]},
    "an output that is a fraction": {"y": [float(Proven.y[0]), Proven.y[1]]},
    "a short challenge": {"challenge": bytes(31)},
    "a long challenge": {"challenge": bytes(33)},
    "a challenge as text": {"challenge": "0" * 32},
    "a short root": {"root": bytes(31)},
    "a root as text": {"root": "0" * 32},
}


@pytest.mark.parametrize("name", NO_STATEMENTS)
def test_what_is_no_statement_is_refused_before_anything_is_hashed(name: str) -> None:
    """Lengths, ranges and true integers are required first."""
    assert refusal(**NO_STATEMENTS[name]).field == Step.STATEMENT


def test_an_input_beyond_its_bits_is_only_refused_as_such() -> None:
    """The arithmetic alone would take it, so the range is the verifier's to check."""
    x = [3, 16]
    y, proof = Proven.prover.prove(CHALLENGE, x)
    assert refusal(x=x, y=y, proof=proof).field == Step.STATEMENT
    wider = {**Proven.network.description, "in_bits": 5}
    prover = Prover(Network(wider, Proven.network.weights))
    y, proof = prover.prove(CHALLENGE, x)
    Proven.check(canon=canon(wider), x=x, y=y, proof=proof)


def test_the_level_is_the_callers() -> None:
    """100 bits unless a lower level is named; other parameters than the reviewed ones only below that."""
    with pytest.raises(Rejected) as raised:
        check(Proven.network.canon, Proven.prover.root, CHALLENGE, Proven.x, Proven.y, Proven.proof)
    assert raised.value.code == "security-too-low"
    own = Network({**Proven.network.description, "pcs": {**FULL, "queries": 150}}, Proven.network.weights)
    for required, code in (
        (100, "security-too-low"),
        (float("nan"), "security-too-low"),
        (99, "proof-invalid"),
    ):
        with pytest.raises(Rejected) as raised:
            check(own.canon, bytes(32), CHALLENGE, Proven.x, Proven.y, b"", required_bits=required)
        assert raised.value.code == code
    full = Network({**Proven.network.description, "pcs": FULL}, Proven.network.weights)
    for required, code in ((100, "proof-invalid"), (101, "security-too-low"), (128, "security-too-low")):
        with pytest.raises(Rejected) as raised:
            check(full.canon, bytes(32), CHALLENGE, Proven.x, Proven.y, b"", required_bits=required)
        assert raised.value.code == code


def test_levels_are_those_of_the_specification() -> None:
    """The bits of queries in section 7's table, and of the rounds that depend on a network's size."""
    by_rate = {
        blowup: query_bits(Commitment(blowup, queries, work, 3, 5, 3)) for blowup, queries, work in PROFILES
    }
    assert {blowup: round(bits, 2) for blowup, bits in by_rate.items()} == {
        1: 100.25,
        2: 100.08,
        3: 100.67,
        4: 100.87,
    }
    full = Commitment(2, 124, 16, 3, 5, 3)
    assert level(full, 256, Sizes(30, 26, 23)) > 100
    many = Commitment(4, 256, 32, 3, 5, 3)
    weakest = {
        "lookup": (8, Sizes(27, 30, 23)),
        "folds": (8, Sizes(28, 20, 27)),
        "sums": (256, Sizes(6, 6, 5)),
    }
    found = {name: round(level(many, layers, sizes), 2) for name, (layers, sizes) in weakest.items()}
    assert found == {"lookup": 96.99, "folds": 96.99, "sums": 117.99}


def test_a_model_has_one_name() -> None:
    """``SHA-256("verinfer-sc/1 model" || canon(D) || R_w)``: no other description or root has it."""
    canon, root = Proven.network.canon, Proven.prover.root
    assert model_id(canon, root) == sha256(b"verinfer-sc/1 model" + canon + root).digest()
    # The same bytes, divided at another place.
    with pytest.raises(Rejected) as raised:
        model_id(canon[:-1], canon[-1:] + root)
    assert raised.value.field == Step.STATEMENT


def test_a_zero_challenge_or_denominator_is_refused() -> None:
    """What no prover can bring about, but a division or a sum of fractions must not meet."""
    with pytest.raises(Rejected) as raised:
        eq_sumcheck(Messages(pack([ONE, ONE]), Transcript(b"")), b"g", ONE, [ZERO])
    assert raised.value.field == Step.ZERO_CHALLENGE
    for fractions in ([ZERO, ZERO, ZERO, ONE], [ZERO, ZERO, ONE, ZERO], [ONE, ONE, ZERO, ZERO]):
        with pytest.raises(Rejected) as raised:
            lookup.check(Messages(pack(fractions), Transcript(b"")), 7, Block(0, 6), lambda _point: ZERO, 1)
        assert raised.value.field == Step.LOOKUP_SUM


def test_sizes_follow_from_the_description() -> None:
    """V, V_w and V1 of a network whose blocks can be counted by hand."""
    places = layout(parse(KINDS["all parameters"].canon))
    # m has 64 cells, seven or so columns four each; two blocks of 16 cells and two of 4, and at least 2^(final_bits + 1).
    assert places.sizes == Sizes(weights=6, witness=7, leaves=5)
