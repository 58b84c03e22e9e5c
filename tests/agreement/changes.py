"""All ways in which a pair of proof and instances is changed, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from verinfer.verifier.instances import BN254_SCALAR_FIELD as R

from .questions import WORD, Case, Draw, P, packed, points

_Words = Callable[[Draw, list[int]], list[int]]
_Bytes = Callable[[Draw, bytes], bytes]
_Vector = Callable[[Draw, list[int]], list[int]]


def _word(change: Callable[[Draw, int], int]) -> _Words:
    """One word changed, anywhere."""

    def changed(draw: Draw, words: list[int]) -> list[int]:
        at = draw.place(words)
        words[at] = change(draw, words[at])
        return words

    return changed


def _point(change: Callable[[Draw, list[int]], tuple[int, int]]) -> _Words:
    """One point replaced, anywhere; the two at the end, on which the pairing is, as often as all others."""

    def changed(draw: Draw, words: list[int]) -> list[int]:
        found = points(words)
        at = draw.chance.choice(draw.chance.choice([found, found[-2:]]))
        words[at : at + 2] = change(draw, words[at : at + 2])
        return words

    return changed


def _points(which: slice, x: int, y: int) -> _Words:
    """Several points replaced by one: the ways to make a pairing say nothing."""

    def changed(_draw: Draw, words: list[int]) -> list[int]:
        for at in points(words)[which]:
            words[at : at + 2] = [x, y]
        return words

    return changed


def _swapped(draw: Draw, items: list[int]) -> list[int]:
    one, two = draw.chance.sample(range(len(items)), 2)
    items[one], items[two] = items[two], items[one]
    return items


def _points_swapped(draw: Draw, words: list[int]) -> list[int]:
    one, two = draw.chance.sample(points(words), 2)
    words[one : one + 2], words[two : two + 2] = words[two : two + 2], words[one : one + 2]
    return words


def _rotated(draw: Draw, items: list[int]) -> list[int]:
    by = draw.chance.randrange(1, len(items))
    return items[by:] + items[:by]


def _spliced(draw: Draw, words: list[int]) -> list[int]:
    at = draw.chance.randrange(1, len(words))
    return words[:at] + draw.other.words[at:]


def _word_of_other(draw: Draw, words: list[int]) -> list[int]:
    at = draw.place(words)
    words[at] = draw.other.words[at]
    return words


def _point_of_other(draw: Draw, words: list[int]) -> list[int]:
    at = draw.chance.choice(points(words))
    words[at : at + 2] = draw.other.words[at : at + 2]
    return words


def _scalars_of_other(draw: Draw, words: list[int]) -> list[int]:
    whose = draw.other.words
    kept = {place for at in points(words) for place in (at, at + 1)}
    return [word if at in kept else whose[at] for at, word in enumerate(words)]


def _without_a_word(draw: Draw, words: list[int]) -> list[int]:
    at = draw.place(words)
    return words[:at] + words[at + 1 :]


def _with_a_word(draw: Draw, words: list[int]) -> list[int]:
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


def _foreign_proof(draw: Draw, proof: bytes) -> bytes:
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


def _instance(change: Callable[[Draw, int], int]) -> _Vector:
    """One instance changed, anywhere."""

    def changed(draw: Draw, vector: list[int]) -> list[int]:
        at = draw.place(vector)
        vector[at] = change(draw, vector[at])
        return vector

    return changed


def _limb(change: Callable[[Draw, int], int]) -> _Vector:
    """One limb of the challenge changed."""

    def changed(draw: Draw, vector: list[int]) -> list[int]:
        at = draw.chance.choice(range(*draw.base.challenge.indices(len(vector))))
        vector[at] = change(draw, vector[at])
        return vector

    return changed


def _output(change: Callable[[Draw, int], int]) -> _Vector:
    """One output changed."""

    def changed(draw: Draw, vector: list[int]) -> list[int]:
        at = draw.chance.randrange(draw.base.challenge.stop, len(vector))
        vector[at] = change(draw, vector[at])
        return vector

    return changed


def _part(which: str) -> _Vector:
    """A part of another receipt's vector: its inputs, challenge or outputs."""

    def changed(draw: Draw, vector: list[int]) -> list[int]:
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


def _of_words(change: _Words) -> Callable[[Draw], Case]:
    return lambda draw: replace(_unchanged(draw), proof=packed(change(draw, draw.base.words)))


def _of_bytes(change: _Bytes) -> Callable[[Draw], Case]:
    return lambda draw: replace(_unchanged(draw), proof=change(draw, draw.base.proof))


def _of_instances(change: _Vector) -> Callable[[Draw], Case]:
    return lambda draw: replace(
        _unchanged(draw), instances=tuple(value % WORD for value in change(draw, list(draw.base.instances)))
    )


def _of_both(draw: Draw) -> Case:
    """A changed proof with changed instances."""
    words, vector = draw.chance.choice([*_OF_WORDS.values()]), draw.chance.choice([*_OF_INSTANCES.values()])
    return replace(_of_words(words)(draw), instances=_of_instances(vector)(draw).instances)


def _unchanged(draw: Draw) -> Case:
    return Case("", draw.base, draw.base.proof, draw.base.instances)


KINDS: dict[str, Callable[[Draw], Case]] = {
    **{name: _of_words(change) for name, change in _OF_WORDS.items()},
    **{name: _of_bytes(change) for name, change in _OF_BYTES.items()},
    **{name: _of_instances(change) for name, change in _OF_INSTANCES.items()},
    "proof and instances": _of_both,
}
"""By name, all ways to change a pair."""
