"""Dishonest provers: each keeps all of the protocol but one thing, and is consistent with its lie in everything else."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256

from verinfer.verifier.sumcheck.field import ONE, ZERO, K, P, add, mul, sub

from . import dense
from .codes import Tree, divide
from .network import Network, Tensor
from .prover import Prover


class Shifted(Prover):
    """One more than the activation, made up for by a negative remainder."""

    def activations(self, index: int, out: Tensor) -> Tensor:
        if index == 0:
            free = next(cell for cell, value in enumerate(out) if 0 < value < 15)
            return [value + (cell == free) for cell, value in enumerate(out)]
        return out


class Miscounted(Prover):
    """A slot of the range table that is hit once more than it is."""

    def multiplicities(self, cells: object) -> list[int]:
        counts = super().multiplicities(cells)  # type: ignore[arg-type]  # the same iterable
        counts[5] += 1
        return counts


class FalseTop(Shifted):
    """The same, with fractions at the root that sum to zero."""

    def top(self, values: list[K]) -> list[K]:
        p0, _, q0, q1 = values
        return [p0, sub(ZERO, divide(mul(p0, q1), q0)), q0, q1]


class FalseNumerator(FalseTop):
    """The same, followed down to the leaves in the numerators."""

    def layer_values(self, level: int, values: list[K], mix: K, claim: K) -> list[K]:
        _, p1, q0, q1 = values
        needed = sub(divide(sub(claim, mul(q0, q1)), mix), mul(p1, q0))
        return [divide(needed, q1), p1, q0, q1]


class FalseDenominator(FalseNumerator):
    """The same, with the last layer's lie in a denominator."""

    def layer_values(self, level: int, values: list[K], mix: K, claim: K) -> list[K]:
        if level < self.v - 1:
            return super().layer_values(level, values, mix, claim)
        p0, p1, _, q1 = values
        q0 = divide(sub(claim, mul(mix, mul(p0, q1))), add(mul(mix, p1), q1))
        return [p0, p1, q0, q1]


class FalseLeaves(FalseNumerator):
    """The same, with values of the witness for which the leaves' equations hold."""

    def leaf_values(self, values: list[K], needed: list[K]) -> list[K]:
        return needed


class BothBranches(Prover):
    """A neuron that is clamped at 0 gives 3, and its excess is 3 more."""

    def numbers(self, index: int, cell: int, acc: int, out: int) -> dict[str, int]:
        found = super().numbers(index, cell, acc, out)
        if cell == self.chosen:
            found["N"] += 3
            found["R"] += 3 << self.layers[index]["s"]
        return found

    def activations(self, index: int, out: Tensor) -> Tensor:
        if index == 0:
            self.chosen = out.index(0)
            return [value + 3 * (cell == self.chosen) for cell, value in enumerate(out)]
        return out


class FalseSaturation(Prover):
    """A neuron gives 1 less than it is, as if it were clamped."""

    def numbers(self, index: int, cell: int, acc: int, out: int) -> dict[str, int]:
        found = super().numbers(index, cell, acc, out)
        if cell == self.chosen:
            found["H"] += 1
            found["R"] -= 1 << self.layers[index]["s"]
        return found

    def activations(self, index: int, out: Tensor) -> Tensor:
        if index == 0:
            self.chosen = next(cell for cell, value in enumerate(out) if 0 < value < 15)
            return [value - (cell == self.chosen) for cell, value in enumerate(out)]
        return out


class FalseOutput(Prover):
    """Another output, and everything else as it is."""

    def output(self, y: Tensor) -> Tensor:
        return [y[0] + 1, *y[1:]]


class FalseSum(FalseOutput):
    """Another output, and the sum of products with which the linear equation holds."""

    def product_sum(self, value: K, needed: K) -> K:
        return needed


class WrongProduct(Prover):
    """A neuron's activation that is in range and unclamped, but not what its weights give."""

    def numbers(self, index: int, cell: int, acc: int, out: int) -> dict[str, int]:
        found = super().numbers(index, cell, acc, out)
        found["R"] %= 1 << self.layers[index]["s"]
        return found

    activations = Shifted.activations


class WrongProductFalseSum(WrongProduct):
    """The same, with the sum of products with which the linear equation holds."""

    product_sum = FalseSum.product_sum


class SplitOpening(Prover):
    """Two false openings that together satisfy the claims."""

    def opened_values(self, values: list[K], weights: list[K], claim: K) -> list[K]:
        false = add(values[0], (12345, 678))
        return [false, divide(sub(claim, mul(weights[0], false)), weights[1])]


class FollowedOpening(SplitOpening):
    """The same, followed through every round."""

    def fold_message(self, at_zero: K, at_one: K, coordinate: K, claim: K) -> list[K]:
        return [divide(sub(claim, mul(coordinate, at_one)), sub(ONE, coordinate)), at_one]


def fitted(message: list[K], rest: Sequence[K], claim: K) -> list[K]:
    """The message with another first entry, so that it has the claimed value."""
    weights = dense.every(rest)
    value = ZERO
    for weight, entry in zip(weights, message, strict=True):
        value = add(value, mul(weight, entry))
    return [add(message[0], divide(sub(claim, value), weights[0])), *message[1:]]


class FalseFinal(FollowedOpening):
    """The same, with a final message that has the claimed value."""

    def final(self, message: list[K], rest: Sequence[K], claim: K) -> list[K]:
        return fitted(message, rest, claim)


class FalseOracle(FollowedOpening):
    """The same, with an oracle that has it: the first one."""

    which = 1

    def start(self, protocol: bytes, root: bytes) -> None:
        super().start(protocol, root)
        self.oracles = 0

    def oracle(self, message: list[K], rest: Sequence[K], claim: K) -> list[K]:
        self.oracles += 1
        return fitted(message, rest, claim) if self.oracles == self.which else message


class FalseSecondOracle(FalseOracle):
    """The second one."""

    which = 2


class OtherWitnessRoot(Prover):
    """A root of something else than the witness."""

    def tree_root(self, label: str, tree: Tree) -> bytes:
        return bytes(32) if label == "x" else tree.root


class OtherOracleRoot(Prover):
    """Roots of something else than the oracles."""

    def tree_root(self, label: str, tree: Tree) -> bytes:
        return bytes(32) if label == "oracle" else tree.root


class OtherWeightRoot(Prover):
    """The root of other weights."""

    @property
    def root(self) -> bytes:
        return bytes(32)


class OneSiblingMore(Prover):
    """A sibling that no leaf needs."""

    def opening(self, label: str, leaves: bytes, siblings: list[bytes]) -> bytes:
        return super().opening(label, leaves, [*siblings, bytes(32)] if label == "x" else siblings)


class OneSiblingLess(Prover):
    """The last sibling is left out."""

    def opening(self, label: str, leaves: bytes, siblings: list[bytes]) -> bytes:
        return super().opening(label, leaves, siblings[:-1] if label == "oracle" else siblings)


class TooLittleWork(Prover):
    """A nonce with one leading zero less than it must have."""

    def nonce(self, state: bytes, work: int) -> bytes:
        for number in range(1 << 20):
            nonce = number.to_bytes(8, "big")
            digest = int.from_bytes(sha256(b"pow!" + state + nonce).digest(), "big")
            if digest >> (256 - work) == 1:
                return nonce
        raise AssertionError("no such nonce")


class OneByteMore(Prover):
    """A byte after the end."""

    def proof(self) -> bytes:
        return super().proof() + b"\0"


class TheOtherZero(Prover):
    """Zeros written as the modulus, in the messages or symbols whose label is chosen."""

    chosen = b""

    def elements(self, label: bytes, values: Sequence[K]) -> bytes:
        if label != self.chosen:
            return super().elements(label, values)
        return b"".join(struct.pack("<Q", part or P) for value in values for part in value)


class TheOtherZeroOfWeights(Prover):
    """A codeword of weights of zeros, committed to as the modulus."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.weight_tree = Tree([struct.pack("<Q", P) * (len(leaf) // 8) for leaf in self.weight_tree.leaves])
