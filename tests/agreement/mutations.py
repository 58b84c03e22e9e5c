"""Changed proofs and instance vectors, the same ones for a seed: what the verdicts are compared on.

Takes honest pairs of a circuit, gives `Case`s, each of a named kind and none of them twice.
The kinds come by turns, so each has its share; where a change falls is a matter of the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from verinfer.verifier.instances import BN254_SCALAR_FIELD as R
from verinfer.verifier.statement import Statement

P = 0x30644E72E131A029B85045B68181585D97816A916871CA8D3C208C16D87CFD47
"""The order of BN254's base field (EIP-196): coordinates of points are below it."""

WORD = 1 << 256
HONEST = "honest"
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Honest:
    """A proof that verifies, its instances as field elements, and the statement that it is of."""

    circuit: str
    proof: bytes
    instances: tuple[int, ...]
    statement: Statement
    challenge: slice
    """Where the challenge lies in the instances: inputs before it, outputs after it."""

    @property
    def words(self) -> list[int]:
        """The proof's words: the coordinates of points, and scalars."""
        return [int.from_bytes(self.proof[at : at + 32], "big") for at in range(0, len(self.proof), 32)]


@dataclass(frozen=True, slots=True)
class Case:
    """What is put to the verifiers; `base` is the pair that was changed."""

    kind: str
    base: Honest = field(repr=False)
    proof: bytes = field(repr=False)
    instances: tuple[int, ...] = field(repr=False)

    @property
    def honest(self) -> bool:
        """Whether nothing was changed."""
        return (self.proof, self.instances) == (self.base.proof, self.base.instances)


@dataclass(frozen=True, slots=True)
class _Draw:
    """What a change draws on: chance, the pair, and others: of the circuit, and of another one."""

    chance: random.Random
    base: Honest
    others: Sequence[Honest]
    foreign: Sequence[Honest]

    @property
    def other(self) -> Honest:
        """Another proof of the circuit."""
        return self.chance.choice(self.others)

    def place(self, items: Sequence[object]) -> int:
        """Any place in `items`."""
        return self.chance.randrange(len(items))

    def element(self) -> int:
        """Any canonical element."""
        return self.chance.randrange(R)


def points(words: Sequence[int]) -> list[int]:
    """The places of points among the words of a proof: where two words lie on the curve y² = x³ + 3."""
    found, at = [], 0
    while at + 1 < len(words):
        x, y = words[at], words[at + 1]
        on_curve = x < P and y < P and (y * y - x * x * x - 3) % P == 0
        if on_curve:
            found.append(at)
        at += 2 if on_curve else 1
    return found


def packed(words: Sequence[int]) -> bytes:
    """A proof of these words; each is taken modulo 2^256."""
    return b"".join((word % WORD).to_bytes(32, "big") for word in words)


_Words = Callable[[_Draw, list[int]], list[int]]
_Bytes = Callable[[_Draw, bytes], bytes]
_Vector = Callable[[_Draw, list[int]], list[int]]


def _word(change: Callable[[_Draw, int], int]) -> _Words:
    """One word changed, anywhere."""

    def changed(draw: _Draw, words: list[int]) -> list[int]:
        at = draw.place(words)
        words[at] = change(draw, words[at])
        return words

    return changed


def _point(change: Callable[[_Draw, list[int]], tuple[int, int]]) -> _Words:
    """One point replaced, anywhere; the two at the end, on which the pairing is, as often as all others."""

    def changed(draw: _Draw, words: list[int]) -> list[int]:
        found = points(words)
        at = draw.chance.choice(draw.chance.choice([found, found[-2:]]))
        words[at : at + 2] = change(draw, words[at : at + 2])
        return words

    return changed


def _points(which: slice, x: int, y: int) -> _Words:
    """Several points replaced by one: the ways to make a pairing say nothing."""

    def changed(_draw: _Draw, words: list[int]) -> list[int]:
        for at in points(words)[which]:
            words[at : at + 2] = [x, y]
        return words

    return changed


def _swapped(draw: _Draw, items: list[int]) -> list[int]:
    one, two = draw.chance.sample(range(len(items)), 2)
    items[one], items[two] = items[two], items[one]
    return items


def _points_swapped(draw: _Draw, words: list[int]) -> list[int]:
    one, two = draw.chance.sample(points(words), 2)
    words[one : one + 2], words[two : two + 2] = words[two : two + 2], words[one : one + 2]
    return words


def _rotated(draw: _Draw, items: list[int]) -> list[int]:
    by = draw.chance.randrange(1, len(items))
    return items[by:] + items[:by]


def _spliced(draw: _Draw, words: list[int]) -> list[int]:
    at = draw.chance.randrange(1, len(words))
    return words[:at] + draw.other.words[at:]


def _word_of_other(draw: _Draw, words: list[int]) -> list[int]:
    at = draw.place(words)
    words[at] = draw.other.words[at]
    return words


def _point_of_other(draw: _Draw, words: list[int]) -> list[int]:
    at = draw.chance.choice(points(words))
    words[at : at + 2] = draw.other.words[at : at + 2]
    return words


def _scalars_of_other(draw: _Draw, words: list[int]) -> list[int]:
    whose = draw.other.words
    kept = {place for at in points(words) for place in (at, at + 1)}
    return [word if at in kept else whose[at] for at, word in enumerate(words)]


def _without_a_word(draw: _Draw, words: list[int]) -> list[int]:
    at = draw.place(words)
    return words[:at] + words[at + 1 :]


def _with_a_word(draw: _Draw, words: list[int]) -> list[int]:
    at = draw.place(words)
    return [*words[:at], draw.chance.choice([0, draw.element(), words[at]]), *words[at:]]


_OF_WORDS: dict[str, _Words] = {
    "proof: a bit": _word(lambda draw, word: word ^ 1 << draw.chance.randrange(256)),
    "proof: a word + 1": _word(lambda _, word: word + 1),
    "proof: a word - 1": _word(lambda _, word: word - 1),
    "proof: a word + r": _word(lambda _, word: word + R),
    "proof: a word + p": _word(lambda _, word: word + P),
    "proof: a word negated mod r": _word(lambda _, word: R - word),
    "proof: a word negated mod p": _word(lambda _, word: P - word),
    "proof: a word zero": _word(lambda _draw, _word: 0),
    "proof: a word all ones": _word(lambda _draw, _word: WORD - 1),
    "proof: a word any": _word(lambda draw, _: draw.chance.getrandbits(256)),
    "proof: a word any below r": _word(lambda draw, _: draw.element()),
    "proof: a word of another place": _word(lambda draw, _: draw.chance.choice(draw.base.words)),
    "proof: a word of another proof": _word_of_other,
    "proof: two words swapped": _swapped,
    "proof: words rotated": _rotated,
    "proof: a word less": _without_a_word,
    "proof: a word more inside": _with_a_word,
    "proof: a point negated": _point(lambda _, point: (point[0], P - point[1])),
    "proof: a point's coordinate + p": _point(lambda _, point: (point[0] + P, point[1])),
    "proof: a point at infinity": _point(lambda _draw, _point: (0, 0)),
    "proof: a point the generator": _point(lambda _draw, _point: (1, 2)),
    "proof: a point off the curve": _point(lambda draw, point: (point[0], draw.chance.randrange(P))),
    "proof: a point of another proof": _point_of_other,
    "proof: two points swapped": _points_swapped,
    "proof: the last points at infinity": _points(slice(-2, None), 0, 0),
    "proof: the last points the generator": _points(slice(-2, None), 1, 2),
    "proof: all points at infinity": _points(slice(None), 0, 0),
    "proof: all points the generator": _points(slice(None), 1, 2),
    "proof: the end of another proof": _spliced,
    "proof: the scalars of another proof": _scalars_of_other,
}


def _foreign_proof(draw: _Draw, proof: bytes) -> bytes:
    """Another model's, as it is, or cut or filled to the right length."""
    other = draw.chance.choice(draw.foreign).proof
    fitted = (other + draw.chance.randbytes(len(proof)))[: len(proof)]
    return draw.chance.choice([other, fitted])


_OF_BYTES: dict[str, _Bytes] = {
    "proof: truncated by bytes": lambda draw, proof: proof[: -draw.chance.randrange(1, 32)],
    "proof: truncated by words": lambda draw, proof: proof[
        : -32 * draw.chance.randrange(1, len(proof) // 32)
    ],
    "proof: the first bytes missing": lambda draw, proof: proof[draw.chance.randrange(1, 65) :],
    "proof: extended by zero words": lambda draw, proof: proof + bytes(32 * draw.chance.randrange(1, 200)),
    "proof: extended by any words": lambda draw, proof: (
        proof + draw.chance.randbytes(32 * draw.chance.randrange(1, 9))
    ),
    "proof: extended by any bytes": lambda draw, proof: (
        proof + draw.chance.randbytes(draw.chance.randrange(1, 32))
    ),
    "proof: twice, or with a part of itself": lambda draw, proof: (
        proof + proof[: 32 * draw.chance.randrange(1, len(proof) // 32 + 1)]
    ),
    "proof: any bytes": lambda draw, proof: draw.chance.randbytes(len(proof)),
    "proof: of another receipt": lambda draw, _: draw.other.proof,
    "proof: of another model": _foreign_proof,
}


def _instance(change: Callable[[_Draw, int], int]) -> _Vector:
    """One instance changed, anywhere."""

    def changed(draw: _Draw, vector: list[int]) -> list[int]:
        at = draw.place(vector)
        vector[at] = change(draw, vector[at])
        return vector

    return changed


def _limb(change: Callable[[_Draw, int], int]) -> _Vector:
    """One limb of the challenge changed."""

    def changed(draw: _Draw, vector: list[int]) -> list[int]:
        at = draw.chance.choice(range(*draw.base.challenge.indices(len(vector))))
        vector[at] = change(draw, vector[at])
        return vector

    return changed


def _output(change: Callable[[_Draw, int], int]) -> _Vector:
    """One output changed."""

    def changed(draw: _Draw, vector: list[int]) -> list[int]:
        at = draw.chance.randrange(draw.base.challenge.stop, len(vector))
        vector[at] = change(draw, vector[at])
        return vector

    return changed


def _part(which: str) -> _Vector:
    """A part of another receipt's vector: its inputs, challenge or outputs."""

    def changed(draw: _Draw, vector: list[int]) -> list[int]:
        limbs = draw.base.challenge
        part = {
            "inputs": slice(limbs.start),
            "challenge": limbs,
            "outputs": slice(limbs.stop, None),
            "all": slice(None),
        }[which]
        vector[part] = draw.other.instances[part]
        return vector

    return changed


_OF_INSTANCES: dict[str, _Vector] = {
    "instance + 1": _instance(lambda _, value: (value + 1) % R),
    "instance - 1": _instance(lambda _, value: (value - 1) % R),
    "instance + r": _instance(lambda _, value: value + R),
    "instance + a multiple of r": _instance(lambda draw, value: value + R * draw.chance.randrange(2, 5)),
    "instance negated": _instance(lambda _, value: -value % R),
    "instance r - 1, r or r + 1": _instance(lambda draw, _: R + draw.chance.randrange(-1, 2)),
    "instance zero": _instance(lambda _draw, _value: 0),
    "instance any below r": _instance(lambda draw, _: draw.element()),
    "instance any": _instance(lambda draw, _: draw.chance.getrandbits(256)),
    "instance: a bit": _instance(lambda draw, value: value ^ 1 << draw.chance.randrange(253)),
    "instances: two swapped": _swapped,
    "instances rotated": _rotated,
    "instances reversed": lambda _, vector: vector[::-1],
    "instances: fewer": lambda draw, vector: vector[: draw.chance.randrange(len(vector))],
    "instances: the first ones missing": lambda draw, vector: vector[draw.chance.randrange(1, len(vector)) :],
    "instances: more zeros": lambda draw, vector: vector + [0] * draw.chance.randrange(1, 100),
    "instances: more of any": lambda draw, vector: (
        vector + [draw.element() for _ in range(draw.chance.randrange(1, 9))]
    ),
    "output + or - up to 9": _output(
        lambda draw, value: (value + draw.chance.choice([-1, 1]) * draw.chance.randrange(1, 10)) % R
    ),
    "output of any size": _output(lambda draw, value: (value + draw.chance.randrange(1, 1 << 53)) % R),
    "challenge: a bit of a limb": _limb(lambda draw, value: value ^ 1 << draw.chance.randrange(16)),
    "challenge: a limb of 17 bits and more": _limb(
        lambda draw, value: value + (draw.chance.randrange(1, 99) << 16)
    ),
    "challenge of another receipt": _part("challenge"),
    "inputs of another receipt": _part("inputs"),
    "outputs of another receipt": _part("outputs"),
    "instances of another receipt": _part("all"),
}


def _of_words(change: _Words) -> Callable[[_Draw], Case]:
    return lambda draw: replace(_unchanged(draw), proof=packed(change(draw, draw.base.words)))


def _of_bytes(change: _Bytes) -> Callable[[_Draw], Case]:
    return lambda draw: replace(_unchanged(draw), proof=change(draw, draw.base.proof))


def _of_instances(change: _Vector) -> Callable[[_Draw], Case]:
    return lambda draw: replace(
        _unchanged(draw), instances=tuple(value % WORD for value in change(draw, list(draw.base.instances)))
    )


def _of_both(draw: _Draw) -> Case:
    """A changed proof with changed instances."""
    words, vector = draw.chance.choice([*_OF_WORDS.values()]), draw.chance.choice([*_OF_INSTANCES.values()])
    return replace(_of_words(words)(draw), instances=_of_instances(vector)(draw).instances)


def _unchanged(draw: _Draw) -> Case:
    return Case("", draw.base, draw.base.proof, draw.base.instances)


KINDS: dict[str, Callable[[_Draw], Case]] = {
    **{name: _of_words(change) for name, change in _OF_WORDS.items()},
    **{name: _of_bytes(change) for name, change in _OF_BYTES.items()},
    **{name: _of_instances(change) for name, change in _OF_INSTANCES.items()},
    "proof and instances": _of_both,
}
"""By name, all ways to change a pair."""


def cases(pairs: Sequence[Honest], count: int, seed: int, foreign: Sequence[Honest] = ()) -> Iterator[Case]:
    """The honest `pairs` as they are, then `count` changed ones, all different; of each circuit there must be two pairs.

    There must be proofs of another circuit, too: among the pairs, or `foreign` ones, which are not changed themselves.
    A kind that has nothing new any more, since it has few ways to change anything, leaves its turns to the others.
    """
    for pair in pairs:
        yield Case(HONEST, pair, pair.proof, pair.instances)
    chance = random.Random(seed)  # noqa: S311 - the same changes each time are what is wanted
    seen = {(pair.circuit, pair.proof, pair.instances) for pair in pairs}
    kinds = dict(KINDS)
    while count:
        for name, change in list(kinds.items()):
            made = _new(name, change, pairs, foreign, chance, seen)
            if made is None:
                del kinds[name]
                continue
            yield made
            count -= 1
            if not count:
                return


def _new(
    name: str,
    change: Callable[[_Draw], Case],
    pairs: Sequence[Honest],
    foreign: Sequence[Honest],
    chance: random.Random,
    seen: set[tuple[str, bytes, tuple[int, ...]]],
) -> Case | None:
    for _ in range(_TRIES):
        base = chance.choice(pairs)
        draw = _Draw(
            chance,
            base,
            [pair for pair in pairs if pair.circuit == base.circuit and pair is not base],
            [pair for pair in (*pairs, *foreign) if pair.circuit != base.circuit],
        )
        made = replace(change(draw), kind=name)
        key = (base.circuit, made.proof, made.instances)
        if key not in seen:
            seen.add(key)
            return made
    return None
