"""What the slow prover sends, and how it opens its commitments (specification, 6.1, 6.6 and 6.7).

Methods in the first half are the places where a dishonest prover could lie; `liars` override them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from verinfer.verifier.sumcheck.field import ONE, ZERO, K, P, add, lerp, mul, scale, sub, total
from verinfer.verifier.sumcheck.transcript import Transcript

from . import dense
from .codes import HALF, Form, Terms, Tree, divide, encode, pack
from .network import Network


class Sending:
    """A transcript, the messages of a proof, and the steps that do not depend on what is proven."""

    network: Network
    pcs: Mapping[str, int]
    v1: int
    """The trees have 2^(v1 + log_blowup) leaves."""

    def elements(self, label: bytes, values: Sequence[K]) -> bytes:
        return pack(values)

    def tree_root(self, label: str, tree: Tree) -> bytes:
        return tree.root

    def opened_values(self, values: list[K], weights: list[K], claim: K) -> list[K]:
        """e_w, e_x; `weights` are what the verifier multiplies them with to reach `claim`."""
        return values

    def fold_message(self, at_zero: K, at_one: K, coordinate: K, claim: K) -> list[K]:
        return [at_zero, at_one]

    def oracle(self, message: list[K], rest: Sequence[K], claim: K) -> list[K]:
        """What is encoded as an oracle."""
        return message

    def final(self, message: list[K], rest: Sequence[K], claim: K) -> list[K]:
        return message

    def nonce(self, state: bytes, work: int) -> bytes:
        number = 0
        while True:
            nonce = number.to_bytes(8, "big")
            if int.from_bytes(sha256(b"pow!" + state + nonce).digest(), "big") >> (256 - work) == 0:
                return nonce
            number += 1

    def opening(self, label: str, leaves: bytes, siblings: list[bytes]) -> bytes:
        return leaves + len(siblings).to_bytes(4, "little") + b"".join(siblings)

    def proof(self) -> bytes:
        return b"".join(data for _, data in self.sent)

    def start(self, protocol: bytes, root: bytes) -> None:
        self.transcript = Transcript(protocol)
        self.sent: list[tuple[str, bytes]] = []
        self.transcript.absorb(b"net", self.network.canon)
        self.transcript.absorb(b"wroot", root)

    def send(self, label: bytes, data: bytes) -> None:
        self.transcript.absorb(label, data)
        self.sent.append((label.decode(), data))

    def send_k(self, label: bytes, values: Sequence[K]) -> None:
        self.send(label, self.elements(label, values))

    def rounds(
        self, label: bytes, arrays: list[list[K]], form: Form, claim: K, point: Sequence[K] | None
    ) -> tuple[list[K], list[K], K]:
        """A sumcheck over a homogeneous quadratic form: challenges, the arrays' values there, and the verifier's claim."""
        challenges: list[K] = []
        while len(arrays[0]) > 1:
            done = len(challenges)
            half = len(arrays[0]) // 2
            weights = dense.every(point[done + 1 :]) if point is not None else [ONE] * half
            low = [array[::2] for array in arrays]
            rise = [[sub(b, a) for a, b in zip(array[::2], array[1::2], strict=True)] for array in arrays]
            constant = total(mul(w, form(*at)) for w, *at in zip(weights, *low, strict=True))
            leading = total(mul(w, form(*at)) for w, *at in zip(weights, *rise, strict=True))
            self.send_k(label, [constant, leading])
            at_one = sub(claim, constant)
            if point is not None:
                z = point[done]
                at_one = divide(sub(claim, mul(sub(ONE, z), constant)), z)
            r = self.transcript.challenge(b"r")
            challenges.append(r)
            linear = sub(sub(at_one, constant), leading)
            claim = add(constant, mul(r, add(linear, mul(r, leading))))
            arrays = [
                [lerp(a, b, r) for a, b in zip(array[::2], array[1::2], strict=True)] for array in arrays
            ]
        return challenges, [array[0] for array in arrays], claim

    def open(
        self, polynomials: list[list[int]], sizes: list[int], claims: list[tuple[Terms, K]], trees: list[Tree]
    ) -> None:
        """Steps 9 to 12."""
        largest = max(sizes)
        eta = self.transcript.challenge(b"eta")
        weights = [[ZERO] * (1 << size) for size in sizes]
        mixed, power = ZERO, ONE
        for terms, value in claims:
            for which, start, cells in terms:
                for spot, weight in enumerate(cells, start):
                    weights[which][spot] = add(weights[which][spot], mul(power, weight))
            mixed = add(mixed, mul(power, value))
            power = mul(power, eta)
        arrays: list[list[K]] = []
        for polynomial, own, size in zip(polynomials, weights, sizes, strict=True):
            copies, shrink = 1 << (largest - size), pow(HALF, largest - size, P)
            arrays.append([(cell % P, 0) for cell in polynomial for _ in range(copies)])
            arrays.append([scale(entry, shrink) for entry in own for _ in range(copies)])

        def form(a: K, b: K, c: K, d: K) -> K:
            return add(mul(a, b), mul(c, d))

        point, (ew, ww, ex, wx), claim = self.rounds(b"o", arrays, form, mixed, None)
        values = self.opened_values([ew, ex], [ww, wx], claim)
        self.send_k(b"of", values)
        xi = self.transcript.challenge(b"xi")
        message = [add(a, mul(xi, b)) for a, b in zip(arrays[0], arrays[2], strict=True)]
        self.fold_and_query(message, point, add(values[0], mul(xi, values[1])), trees)

    def fold_and_query(self, message: list[K], point: list[K], claim: K, trees: list[Tree]) -> None:
        """Steps 10 to 12 from the polynomial that both make."""
        rest = list(point)
        blowup = self.pcs["log_blowup"]

        def fold(message: list[K], claim: K) -> tuple[list[K], K]:
            coordinate = rest.pop(0)
            weights = dense.every(rest)
            at_zero = total(mul(w, a) for w, a in zip(weights, message[::2], strict=True))
            at_one = total(mul(w, a) for w, a in zip(weights, message[1::2], strict=True))
            at_zero, at_one = self.fold_message(at_zero, at_one, coordinate, claim)
            self.send_k(b"b", [at_zero, at_one])
            r = self.transcript.challenge(b"r")
            folded = [lerp(a, b, r) for a, b in zip(message[::2], message[1::2], strict=True)]
            return folded, lerp(at_zero, at_one, r)

        while len(message) > 1 << self.v1:
            message, claim = fold(message, claim)
        oracles: list[tuple[int, Tree]] = []
        variables = self.v1
        while variables > self.pcs["final_bits"]:
            rounds = min(self.pcs["fold"], variables - self.pcs["final_bits"])
            message = self.oracle(message, rest, claim)
            word = encode(message, blowup)
            width = 1 << rounds
            tree = Tree(
                [self.elements(b"leaf", word[start : start + width]) for start in range(0, len(word), width)]
            )
            oracles.append((rounds, tree))
            self.send(b"oracle", self.tree_root("oracle", tree))
            for _ in range(rounds):
                message, claim = fold(message, claim)
            variables -= rounds
        self.send_k(b"final", self.final(message, rest, claim))
        state = self.transcript.squeeze(b"pow")
        self.send(b"nonce", self.nonce(state, self.pcs["pow_bits"]))
        indices = self.transcript.indices(b"query", self.pcs["queries"], self.v1 + blowup)
        for label, tree in zip(("w", "x"), trees, strict=True):
            self.sent.append((label, self.opening(label, *tree.open(indices))))
        for rounds, tree in oracles:
            indices = sorted({index >> rounds for index in indices})
            self.sent.append(("oracle-leaves", self.opening("oracle", *tree.open(indices))))
