"""The polynomial commitment's own check: two polynomials, folded together to a message in clear (BaseFold; section 6.7).

Rounds of a sumcheck and folds of codewords share their challenges; the queries tie each codeword to the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from .description import Commitment
from .field import ONE, ZERO, K, P, add, dot, dot_integers, lerp, mul, reverse_bits, root_of_unity
from .folding import fold
from .merkle import open_leaves
from .messages import Messages
from .multilinear import Point, eq_table
from .opening import Opened
from .refusal import Step, require


@dataclass(frozen=True, slots=True)
class Committed:
    """A polynomial behind a root: 2^variables coefficients."""

    root: bytes
    variables: int


@dataclass(frozen=True, slots=True)
class _Oracle:
    """A committed codeword on the way, of a message of 2^variables elements of K, folded `rounds` times to the next."""

    root: bytes
    variables: int
    rounds: int


@dataclass(slots=True)
class _Sumcheck:
    """The running claim about the folded polynomial at what is left of the point."""

    point: Point
    claim: K
    challenges: list[K]

    def round(self, messages: Messages) -> None:
        at_zero, at_one = messages.pair(b"b")
        coordinate = self.point[len(self.challenges)]
        require(
            lerp(at_zero, at_one, coordinate) == self.claim,
            Step.FOLDING_ROUND,
            "a round does not continue the claim",
        )
        challenge = messages.transcript.challenge(b"r")
        self.challenges.append(challenge)
        self.claim = lerp(at_zero, at_one, challenge)


def check(
    messages: Messages,
    opened: Opened,
    committed: tuple[Committed, Committed],
    leaf_count_bits: int,
    parameters: Commitment,
) -> None:
    """Steps 10 to 12, to the proof's end: the polynomials behind the roots have the opened values. Raises `Rejected`.

    `leaf_count_bits` is V1: 2^(V1 + log_blowup) leaves in either tree.
    """
    xi = messages.transcript.challenge(b"xi")
    values = opened.values
    state = _Sumcheck(opened.point, add(values[0], mul(xi, values[1])), [])
    for _ in range(len(opened.point) - leaf_count_bits):
        state.round(messages)
    oracles: list[_Oracle] = []
    for variables, rounds in levels(leaf_count_bits, parameters):
        oracles.append(_Oracle(messages.absorbed(b"oracle", 32), variables, rounds))
        for _ in range(rounds):
            state.round(messages)
    final = messages.elements(b"final", 1 << parameters.final_bits)
    rest = state.point[len(state.challenges) :]
    require(
        dot(eq_table(rest), final) == state.claim, Step.FINAL_MESSAGE, "the final message has another value"
    )
    _require_work(messages, parameters.pow_bits)
    _check_queries(
        messages,
        tuple(zip(committed, (ONE, xi), strict=True)),
        oracles,
        state.challenges,
        final,
        leaf_count_bits,
        parameters,
    )
    messages.end()


def levels(leaf_count_bits: int, parameters: Commitment) -> Iterator[tuple[int, int]]:
    """Of each oracle the variables of its message, and how often it is folded."""
    variables = leaf_count_bits
    while variables > parameters.final_bits:
        rounds = min(parameters.fold, variables - parameters.final_bits)
        yield variables, rounds
        variables -= rounds


def _require_work(messages: Messages, pow_bits: int) -> None:
    state = messages.transcript.squeeze(b"pow")
    nonce = messages.absorbed(b"nonce", 8)
    digest = int.from_bytes(sha256(b"pow!" + state + nonce).digest(), "big")
    require(digest >> (256 - pow_bits) == 0, Step.GRINDING, "the nonce has too few leading zeros")


def _check_queries(
    messages: Messages,
    parts: Sequence[tuple[Committed, K]],
    oracles: Sequence[_Oracle],
    challenges: Sequence[K],
    final: Sequence[K],
    leaf_count_bits: int,
    parameters: Commitment,
) -> None:
    """Open the queried leaves of every tree, and require that each word folds into the next one."""
    blowup = parameters.log_blowup
    depth = leaf_count_bits + blowup
    indices = messages.transcript.indices(b"query", parameters.queries, depth)
    folded = dict.fromkeys(indices, ZERO)
    done = len(challenges) - (leaf_count_bits - parameters.final_bits)
    for part, factor in parts:
        rounds = part.variables - leaf_count_bits
        # Opened first, so that a proof must have the leaves that work is done for.
        opened = open_leaves(messages, part.root, depth, indices, 1 << rounds)
        folding = fold(part.variables + blowup, challenges[done - rounds : done])
        for index, leaf in opened.items():
            folded[index] = add(folded[index], mul(factor, folding.leaf(index, leaf)))
    for oracle in oracles:
        folded = _next(messages, oracle, folded, challenges[done : done + oracle.rounds], blowup)
        done += oracle.rounds
    generator = root_of_unity(parameters.final_bits + blowup)
    for index, symbol in folded.items():
        place = pow(generator, reverse_bits(index, parameters.final_bits + blowup), P)
        powers = [1]
        for _ in final[1:]:
            powers.append(powers[-1] * place % P)
        require(
            dot_integers(final, powers) == symbol,
            Step.CODEWORD,
            "the last fold is not the encoding of the final message",
        )


def _next(
    messages: Messages, oracle: _Oracle, folded: dict[int, K], challenges: Sequence[K], blowup: int
) -> dict[int, K]:
    """Require that `folded` symbols are those of the oracle, and give its leaves' folds, by their index."""
    length, rounds = oracle.variables + blowup, oracle.rounds
    leaves = sorted({index >> rounds for index in folded})
    opened = open_leaves(messages, oracle.root, length - rounds, leaves, 2 << rounds)
    words = {index: list(zip(leaf[::2], leaf[1::2], strict=True)) for index, leaf in opened.items()}
    for index, symbol in folded.items():
        found = words[index >> rounds][index & ((1 << rounds) - 1)]
        require(found == symbol, Step.FOLDING, "a leaf does not fold into the next oracle")
    folding = fold(length, challenges)
    return {index: folding.leaf_k(index, word) for index, word in words.items()}
