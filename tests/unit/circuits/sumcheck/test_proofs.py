"""Proofs end to end: the verifier, which shares no code with the prover, takes honest ones and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from verinfer.circuits.sumcheck import description, prover, reference, threads
from verinfer.circuits.sumcheck.commitment import Committed, commit
from verinfer.circuits.sumcheck.description import Description, Integers, Weights, canon
from verinfer.circuits.sumcheck.field import HALF, P, Words
from verinfer.circuits.sumcheck.key_proof import key_layout, limb_cells, prove_cells, prove_key
from verinfer.circuits.sumcheck.layout import MULTIPLICITIES
from verinfer.circuits.sumcheck.merkle import tree
from verinfer.circuits.sumcheck.prover import Prover, ProvingKey, setup
from verinfer.circuits.sumcheck.reed_solomon import encode
from verinfer.circuits.sumcheck.witness import Witness, count_slots, valid_cells, witness
from verinfer.verifier.errors import Rejected
from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck.key import check_key

from .networks import SEEDS, network

CHALLENGE = bytes(range(32))


def _verify(key: ProvingKey, x: Integers, y: Integers, proof: bytes, challenge: bytes = CHALLENGE) -> None:
    """What a client does: plain integers, and D as bytes."""
    data = canon(key.layout.description)
    check(data, key.root, challenge, x.reshape(-1).tolist(), y.reshape(-1).tolist(), proof)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_are_proven(seed: int) -> None:
    """Each network of odd shape and any parameters: random and extreme inputs are proven, and no other output is."""
    d, weights, inputs = network(seed)
    key = setup(d, weights)
    machine = Prover(key)
    for x in inputs[seed % 3 :: 3]:
        proof = machine.prove(x, CHALLENGE)
        assert np.array_equal(proof.y, reference.run(d, weights, x))
        _verify(key, x, proof.y, proof.data)
        wrong = proof.y.copy()
        wrong.flat[seed % wrong.size] += 1
        with pytest.raises(Rejected):
            _verify(key, x, wrong, proof.data)
        with pytest.raises(Rejected):
            _verify(key, x, wrong, machine.prove_witness(_claiming(key, x, wrong), CHALLENGE).data)


def _claiming(key: ProvingKey, x: Integers, y: Integers) -> Witness:
    return replace(witness(key.layout, key.tags, key.weights, x), y=y)


@dataclass(frozen=True)
class Case:
    """A small network with everything in it, an input, and its honest witness."""

    key: ProvingKey
    prover: Prover
    honest: Witness

    def cell(self, name: str, at: int) -> int:
        return self.key.layout.witness[name].offset + at

    def accepts(self, cells: Words, y: Integers | None = None) -> bool:
        """Whether the verifier takes a proof made of these cells."""
        given = Witness(self.honest.x, self.honest.y if y is None else y, cells)
        proof = self.prover.prove_witness(given, CHALLENGE)
        try:
            _verify(self.key, given.x, given.y, proof.data)
        except Rejected:
            return False
        return True


@pytest.fixture(scope="module")
def case() -> Case:
    """A convolution that saturates at both ends, a pool, a shortcut over signed activations, a dense layer."""
    d: Description = {
        "proto": description.PROTOCOL, "t": 8, "in_dims": [2, 6, 5], "in_bits": 8,
        "layers": [
            {"op": "conv", "k": 3, "stride": 1, "pad": 1, "cout": 3, "M": 1, "s": 5, "a": 7, "lo": 0},
            {"op": "pool", "k": 2, "M": 1, "s": 2, "a": 7, "lo": 0},
            {"op": "conv", "k": 1, "stride": 1, "pad": 0, "cout": 3, "M": 3, "s": 9, "a": 7, "lo": -64,
             "res": {"src": 1, "c": -5}},
            {"op": "gemm", "nout": 5, "final": 1},
        ],
        "pcs": description.commitment_parameters(),
    }  # fmt: skip
    rng = np.random.default_rng(3)
    weights = {
        "W0": rng.integers(-60, 60, (3, 2, 3, 3)), "b0": rng.integers(-900, 900, 3),
        "W2": rng.integers(-60, 60, (3, 3, 1, 1)), "b2": rng.integers(-900, 900, 3),
        "W3": rng.integers(-60, 60, (5, 18)), "b3": rng.integers(-900, 900, 5),
    }  # fmt: skip
    key = setup(description.finish(d, weights), weights)
    return Case(key, Prover(key), witness(key.layout, key.tags, weights, rng.integers(0, 256, (2, 6, 5))))


def test_the_honest_witness_is_accepted(case: Case) -> None:
    """What the cheating provers below change is a witness that verifies."""
    assert case.accepts(case.honest.cells)


def _find(case: Case, group: str, above: int, below: int) -> int:
    """A valid cell of the first layer whose Y, N or H lies between two numbers."""
    column = case.honest.cells[case.key.layout.witness[f"{group}0.0"].cells]
    valid = np.zeros(len(column), np.uint8)
    valid_cells(valid, case.key.layout.stages[0].out)[:] = 1
    return int(np.flatnonzero(valid.astype(bool) & (column > above) & (column < below))[0])


def _shift(case: Case) -> int:
    return int(case.key.layout.stages[0].layer["s"])


Cheat = Callable[[Case, Words], None]


def _wrong_remainder(case: Case, cells: Words) -> None:
    cells[case.cell("R0.0", _find(case, "Y", 0, 127))] ^= np.uint64(1)


def _remainder_out_of_range(case: Case, cells: Words) -> None:
    """The identity holds, with a remainder of 2^s more."""
    at = _find(case, "Y", 0, 100)
    cells[case.cell("Y0.0", at)] -= np.uint64(1)
    cells[case.cell("R0.0", at)] += np.uint64(1 << _shift(case))


def _both_branches(case: Case, cells: Words) -> None:
    """An activation where ReLU has none: Y and N both grow."""
    at = _find(case, "N", 0, 100)
    cells[case.cell("Y0.0", at)] += np.uint64(3)
    cells[case.cell("N0.0", at)] += np.uint64(3)


def _negative_deficit(case: Case, cells: Words) -> None:
    """A positive activation is hidden: Y = 0 with N = -Y."""
    at = _find(case, "Y", 4, 127)
    cells[case.cell("N0.0", at)] = np.uint64(P - int(cells[case.cell("Y0.0", at)]))
    cells[case.cell("Y0.0", at)] = np.uint64(0)


def _false_saturation(case: Case, cells: Words) -> None:
    at = _find(case, "Y", 4, 127)
    cells[case.cell("Y0.0", at)] -= np.uint64(3)
    cells[case.cell("H0.0", at)] += np.uint64(3)


def _activation_out_of_range(case: Case, cells: Words) -> None:
    at = _find(case, "H", 4, 1 << 20)
    cells[case.cell("Y0.0", at)] += np.uint64(1)
    cells[case.cell("H0.0", at)] -= np.uint64(1)


def _wrong_accumulator(case: Case, cells: Words) -> None:
    cells[case.cell("Y0.0", _find(case, "Y", 4, 100))] += np.uint64(1)


def _padding(case: Case, cells: Words) -> None:
    """A cell of padding: Y - N = 0 keeps the identity."""
    valid = np.zeros(1 << case.key.layout.stages[0].bits, np.uint8)
    valid_cells(valid, case.key.layout.stages[0].out)[:] = 1
    at = int(np.flatnonzero(valid == 0)[0])
    cells[case.cell("Y0.0", at)] = cells[case.cell("N0.0", at)] = np.uint64(1)


CHEATS: dict[str, Cheat] = {
    "a wrong remainder": _wrong_remainder,
    "a remainder out of range": _remainder_out_of_range,
    "both branches of ReLU": _both_branches,
    "a negative deficit": _negative_deficit,
    "a false saturation": _false_saturation,
    "an activation out of range": _activation_out_of_range,
    "a wrong accumulator": _wrong_accumulator,
    "padding that is not zero": _padding,
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_false_witness_is_rejected(case: Case, cheat: str) -> None:
    """A prover that keeps every identity but one, with the multiplicities that fit its cells best, convinces nobody."""
    cells = case.honest.cells.copy()
    CHEATS[cheat](case, cells)
    assert not np.array_equal(cells, case.honest.cells)
    assert not case.accepts(cells)
    count_slots(cells, case.key.tags, case.key.layout.witness[MULTIPLICITIES])
    assert not case.accepts(cells)


def test_every_block_of_the_witness_is_bound(case: Case) -> None:
    """One cell of any column, of the multiplicities, or between the blocks: no change is accepted."""
    rng = np.random.default_rng(5)
    layout = case.key.layout
    used = max(block.cells.stop for block in layout.witness.values())
    places = [block.offset + int(rng.integers(1 << block.bits)) for block in layout.witness.values()]
    if used < len(case.honest.cells):
        places.append(used)
    for at in places:
        cells = case.honest.cells.copy()
        cells[at] += np.uint64(1)
        if at not in range(*layout.witness[MULTIPLICITIES].cells.indices(len(cells))):
            count_slots(cells, case.key.tags, layout.witness[MULTIPLICITIES])
        assert not case.accepts(cells)


def test_multiplicities_are_bound(case: Case) -> None:
    """Counts that are moved, or put at the slot that only doubles another one, are rejected."""
    block = case.key.layout.witness[MULTIPLICITIES]
    counts = case.honest.cells[block.cells]
    full = np.flatnonzero(counts)
    for change in ({int(full[3]): 1, int(full[4]): -1}, {0: 1}, {int(full[-1]): 1}):
        cells = case.honest.cells.copy()
        for slot, step in change.items():
            cells[block.offset + slot] = int(cells[block.offset + slot]) + step
        assert not case.accepts(cells)


def test_a_proof_is_for_one_statement(case: Case) -> None:
    """Another input, output, challenge, description or root: the proof says nothing about them."""
    honest, key = case.honest, case.key
    proof = case.prover.prove_witness(honest, CHALLENGE).data
    _verify(key, honest.x, honest.y, proof)
    other_x = honest.x.copy()
    other_x.flat[0] ^= 1
    with pytest.raises(Rejected):
        _verify(key, other_x, honest.y, proof)
    with pytest.raises(Rejected):
        _verify(key, honest.x, honest.y, proof, challenge=bytes(32))
    weights = {name: value.copy() for name, value in key.weights.items()}
    weights["W0"].flat[0] ^= 1
    other = setup(key.layout.description, weights)
    with pytest.raises(Rejected):
        _verify(other, honest.x, honest.y, proof)
    wider = {**key.layout.description, "wb": key.layout.description["wb"] + 1}
    with pytest.raises(Rejected):
        _verify(replace(setup(wider, key.weights), committed=key.committed), honest.x, honest.y, proof)


def test_flipped_bits_are_rejected(case: Case) -> None:
    """No bit of a proof can be changed, nothing left out or added."""
    proof = case.prover.prove_witness(case.honest, CHALLENGE).data
    rng = np.random.default_rng(7)
    flips = [
        proof[:at] + bytes([proof[at] ^ 1 << int(rng.integers(8))]) + proof[at + 1 :]
        for at in rng.integers(0, len(proof), 40).tolist()
    ]
    for forgery in [proof[:-1], proof + b"\0", b"", proof[1:], *flips]:
        with pytest.raises(Rejected):
            _verify(case.key, case.honest.x, case.honest.y, forgery)


@pytest.mark.parametrize("fraction", [0.2, 0.4375, 0.5])
def test_a_word_that_is_no_codeword_is_rejected(
    case: Case, monkeypatch: pytest.MonkeyPatch, fraction: float
) -> None:
    """A witness whose root is of a word far from any codeword is found by the queries, though every sum is honest."""

    def corrupted(cells: Words, leaves_bits: int, blowup_bits: int, _memory: Words) -> Committed:
        leaves = encode(cells, blowup_bits).reshape(1 << (leaves_bits + blowup_bits), -1)
        chosen = np.random.default_rng(11).permutation(len(leaves))[: int(fraction * len(leaves))]
        leaves[chosen] = (leaves[chosen] ^ np.uint64(1)) % np.uint64(P)
        return Committed(cells, tree(leaves, leaves.shape[1]))

    assert case.accepts(case.honest.cells)
    monkeypatch.setattr(prover, "commit", corrupted)
    assert not case.accepts(case.honest.cells)


def test_one_thread_and_two_make_the_same_bytes(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof depends on nothing but its statement and weights, and a prover can be used again and again."""
    proofs = set()
    for count in ("1", "2", "2"):
        monkeypatch.setenv("VERINFER_SUMCHECK_THREADS", count)
        threads.reset()
        proofs.add(case.prover.prove_witness(case.honest, CHALLENGE).data)
    monkeypatch.undo()
    threads.reset()
    assert len(proofs) == 1


def _committing_to(key: ProvingKey, cells: Words) -> ProvingKey:
    """The key of a publisher who commits to any field elements as weights."""
    return replace(key, committed=commit(cells, key.layout.leaves_bits, key.layout.blowup_bits))


def test_neurons_in_padding_rows_have_no_effect(case: Case) -> None:
    """Cells of P_w outside valid rows don't change what is proven: the same output, and no other one, for the same input."""
    cells = case.key.committed.cells.copy()
    block = case.key.layout.weights["W0"]
    cells[block.cells][3 * (1 << case.key.layout.stages[0].reduction_bits) :] = 77
    cells[case.key.layout.weights["b0"].cells.stop - 1] = 5
    hidden = _committing_to(case.key, cells)
    assert hidden.root != case.key.root
    proof = Prover(hidden).prove_witness(case.honest, CHALLENGE)
    _verify(hidden, case.honest.x, case.honest.y, proof.data)


@pytest.mark.parametrize("seed", [1, 2, 8, 14])
def test_key_proofs(seed: int) -> None:
    """Of honest weights there is a key proof, for that root and D alone, and no bit of it can be changed."""
    d, weights, _ = network(seed)
    key = setup(d, weights)
    proof = prove_key(key)
    assert proof == prove_key(key)
    check_key(canon(d), key.root, proof)
    with pytest.raises(Rejected):
        check_key(canon({**d, "bb": d["bb"] + 1}), key.root, proof)
    with pytest.raises(Rejected):
        check_key(canon(d), bytes(32), proof)
    at = len(proof) // 3
    with pytest.raises(Rejected):
        check_key(canon(d), key.root, proof[:at] + bytes([proof[at] ^ 4]) + proof[at + 1 :])


WRONG_WEIGHTS: dict[str, tuple[str, int]] = {
    "half": ("W0", HALF),
    "one too large": ("W0", 1 << 31),
    "one too small": ("W0", P - (1 << 31) - 1),
    "a bias too large": ("b0", 1 << 40),
    "a padding cell": ("padding", 1),
    "filler": ("filler", 1),
}


@pytest.mark.parametrize("wrong", WRONG_WEIGHTS)
def test_weights_out_of_range_have_no_key_proof(case: Case, wrong: str) -> None:
    """A root of fractions, of numbers too wide, or of anything in padding is not accepted, however its limbs are chosen."""
    name, value = WRONG_WEIGHTS[wrong]
    layout = case.key.layout
    cells = case.key.committed.cells.copy()
    at = {
        "padding": layout.weights["W0"].cells.stop - 1,
        "filler": len(cells) - 1,
    }.get(name) or layout.weights[name].offset
    assert name in layout.weights or cells[at] == 0
    before, cells[at] = int(cells[at]), np.uint64(value)
    cheat = _committing_to(case.key, cells)
    places = key_layout(layout)
    limbs, tags = limb_cells(case.key, places)
    with pytest.raises(Rejected):
        check_key(canon(layout.description), cheat.root, prove_cells(cheat, places, limbs, tags))
    if (
        name in layout.weights
    ):  # let the first limb take the whole difference, so that limbs recombine to the weight
        first = next(limb for limb in places.limbs if limb.source == name)
        limbs[first.block.offset] = np.uint64((int(limbs[first.block.offset]) + value - before) % P)
        with pytest.raises(Rejected):
            check_key(canon(layout.description), cheat.root, prove_cells(cheat, places, limbs, tags))


def test_the_same_key_proof_machine_accepts_honest_limbs(case: Case) -> None:
    """What the cheats above change is a key proof that verifies."""
    places = key_layout(case.key.layout)
    proof = prove_cells(case.key, places, *limb_cells(case.key, places))
    assert proof == prove_key(case.key)
    check_key(canon(case.key.layout.description), case.key.root, proof)


def test_weights_are_not_mistaken_for_others() -> None:
    """Two networks that differ in one weight have two roots; the same weights have the same root, wherever it is made."""
    d, weights, _ = network(4)
    changed: dict[str, Any] = {name: value.copy() for name, value in weights.items()}
    name = min(changed)
    changed[name].flat[-1] -= 1 if changed[name].flat[-1] > 0 else -1
    same: Weights = {name: weights[name].copy() for name in reversed(list(weights))}
    assert setup(d, weights).root == setup(d, same).root
    assert setup(d, weights).root != setup(d, changed).root
