"""Changed proofs and instance vectors, the same ones for a seed: what the verdicts are compared on.

Takes honest pairs of a circuit, gives `Case`s, each of a named kind and none of them twice.
The kinds come by turns, so each has its share; where a change falls is a matter of the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from .changes import KINDS
from .questions import Case, Draw, Honest

HONEST = "honest"
_TRIES = 1000


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
    change: Callable[[Draw], Case],
    pairs: Sequence[Honest],
    foreign: Sequence[Honest],
    chance: random.Random,
    seen: set[tuple[str, bytes, tuple[int, ...]]],
) -> Case | None:
    for _ in range(_TRIES):
        base = chance.choice(pairs)
        draw = Draw(
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
