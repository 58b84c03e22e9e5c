"""Softmax, and powers of positive numbers, by two tables: one of e^x and one of ln x, for all of them.

Nothing is divided: e^(x - ln(sum of e^x)), and x^(±1/2^t) is e^(±ln(x)/2^t).
A table reads its integers at one `label`. Numbers with another fraction are off by a power of two there, so their logarithms are
off by a multiple of ln 2, and constants make up for it; that gives what comes out a fraction of its own too.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np

from .integers import Integers, Number


def softmax(
    written: Integers, number: Number, terms: int, layer: str, label: int, fractions: tuple[int, int]
) -> Number:
    """Shares along the last axis, of `terms` elements; `fractions`: of the sum of powers, and of the shares.

    The mean is taken from each row first: then the sum is one at least, and its logarithm is good.
    """
    of_sum, of_shares = fractions
    number = written.at_label(written.at_fraction(number, label, layer), label)
    number = _without_mean(written, number, terms, layer)
    if of_sum != label:
        number = written.plus_constant(number, np.array((of_sum - label) * log(2)))
    powers = written.looked_up("Exp", number, layer)
    logs = written.looked_up("Log", _total(written, powers, terms), layer)
    if of_shares != label:
        logs = written.plus_constant(logs, np.array((label - of_shares) * log(2)))
    rest = written.minus(number, logs)
    return replace(written.looked_up("Exp", rest, layer), fraction=of_shares)


def power(
    written: Integers, number: Number, exponent: tuple[int, int], layer: str, label: int, fraction: int
) -> Number:
    """A positive number to the power of s·2^-t, for `exponent` (s, t); `fraction`: of what comes out."""
    sign, times = exponent
    logs = written.looked_up("Log", written.at_label(number, label), layer)
    # Halved as a number, not only read with another fraction.
    logs = replace(written.halved(logs, times, layer), fraction=label)
    logs = written.at_label(logs, label)
    if sign < 0:
        logs = written.negative(logs)
    too_much = sign * (number.fraction - label) / 2**times
    logs = written.plus_constant(logs, np.array((fraction - label - too_much) * log(2)))
    return replace(written.looked_up("Exp", logs, layer), fraction=fraction)


def _total(written: Integers, number: Number, terms: int) -> Number:
    """The sum along the last axis, which stays."""
    written.cells += number.size
    total = written.emit("ReduceSum", [number.name, written.shape([-1])], keepdims=1)
    return replace(number, name=total, size=number.size // terms)


def _without_mean(written: Integers, number: Number, terms: int, layer: str) -> Number:
    """Less the mean along the last axis, or that of the first elements, so many that it is a matter of halving."""
    times, some = terms.bit_length() - 1, number
    if 1 << times < terms:
        first = written.emit("Gather", [number.name, written.shape(range(1 << times))], axis=-1)
        some = replace(number, name=first, size=(number.size // terms) << times)
    mean = written.halved(_total(written, some, 1 << times), times, layer)
    mean = written.at_label(replace(mean, fraction=number.fraction), number.label)
    return written.minus(number, mean)
