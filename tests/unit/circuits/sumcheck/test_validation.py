"""Validation of D: what section 3.1 lists, as the attacks that each rule ends."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verinfer.circuits.sumcheck.description import PROTOCOL, Description, canon, commitment_parameters
from verinfer.circuits.sumcheck.field import P
from verinfer.circuits.sumcheck.validation import validated
from verinfer.verifier.errors import CouldNotCheck, VerinferError
from verinfer.verifier.sumcheck import soundness
from verinfer.verifier.sumcheck.description import parse
from verinfer.verifier.sumcheck.layout import layout

from .networks import SEEDS, network

BASE: Description = {
    "proto": PROTOCOL, "t": 8, "in_dims": [2, 6, 6], "in_bits": 8, "wb": 8, "bb": 16,
    "layers": [
        {"op": "conv", "k": 3, "stride": 1, "pad": 1, "cout": 3, "M": 1, "s": 7, "a": 8, "nb": 4, "hb": 4, "lo": 0},
        {"op": "pool", "k": 2, "M": 1, "s": 2, "a": 8, "nb": 0, "hb": 0, "lo": 0},
        {"op": "conv", "k": 1, "stride": 1, "pad": 0, "cout": 3, "M": 1, "s": 7, "a": 8, "nb": 4, "hb": 4, "lo": -128,
         "res": {"src": 1, "c": 3}},
        {"op": "gemm", "nout": 4, "src": 1, "final": 1},
    ],
    "pcs": commitment_parameters(),
}  # fmt: skip

Change = Callable[[Description], Any]


def _set(*path: Any) -> Change:
    """Set what the path but its last item leads to, to the last item."""

    def change(d: Description) -> None:
        target: Any = d
        for key in path[:-2]:
            target = target[key]
        target[path[-2]] = path[-1]

    return change


def _delete(*path: Any) -> Change:
    def change(d: Description) -> None:
        target: Any = d
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]

    return change


ATTACKS: dict[str, Change] = {
    "few queries": _set("pcs", "queries", 1),
    "no grinding": _set("pcs", "pow_bits", 0),
    "another rate": _set("pcs", "log_blowup", 5),
    "fold 0": _set("pcs", "fold", 0),
    "final_bits 0": _set("pcs", "final_bits", 0),
    "leaf_bits 6": _set("pcs", "leaf_bits", 6),
    "no final layer": lambda d: d["layers"].pop(),
    "two final layers": lambda d: d["layers"].append({"op": "gemm", "nout": 4, "final": 1}),
    "final is 2": _set("layers", 3, "final", 2),
    "final layer with M": _set("layers", 3, "M", 1),
    "M is 1 + p": _set("layers", 0, "M", 1 + P),
    "M is 0": _set("layers", 0, "M", 0),
    "s is 0": _set("layers", 0, "s", 0),
    "a wider than the table": _set("layers", 0, "a", 9),
    "a is 0": _set("layers", 0, "a", 0),
    "huge nb": _set("layers", 0, "nb", 1 << 40),
    "nb past 62 bits together": _set("layers", 0, "nb", 54),
    "another lo": _set("layers", 2, "lo", -64),
    "t is 0": _set("t", 0),
    "t is 17": _set("t", 17),
    "in_bits 17": _set("in_bits", 17),
    "wb 33": _set("wb", 33),
    "bb 1": _set("bb", 1),
    "a float": _set("t", 8.0),
    "a boolean": _set("layers", 3, "final", True),
    "a null": _set("layers", 3, "nout", None),
    "a number of 62 bits": _set("layers", 3, "nout", 1 << 62),
    "an unknown key": _set("name", 1),
    "an unknown key of a layer": _set("layers", 0, "groups", 1),
    "an unknown key of pcs": _set("pcs", "hash", 1),
    "a missing key": _delete("wb"),
    "a missing key of a layer": _delete("layers", 0, "hb"),
    "another protocol": _set("proto", "verinfer-sc/2"),
    "no layers": _set("layers", []),
    "layers no list": _set("layers", {}),
    "an empty tensor": _set("in_dims", [2, 0, 6]),
    "rank 4": _set("in_dims", [1, 2, 6, 6]),
    "rank 0": _set("in_dims", []),
    "an unknown operation": _set("layers", 0, "op", "softmax"),
    "linear on rank 3": _set("layers", 0, {"op": "linear", "nout": 3, "M": 1, "s": 7, "a": 8, "nb": 0, "hb": 0, "lo": 0}),
    "a kernel of 17": _set("layers", 0, "k", 17),
    "a kernel larger than its input": _set("layers", 0, "k", 9),
    "a pad as large as the kernel": _set("layers", 0, "pad", 3),
    "a stride of 0": _set("layers", 0, "stride", 0),
    "a pool larger than its input": _set("layers", 1, "k", 7),
    "a shortcut from a later layer": _set("layers", 2, "res", "src", 2),
    "a shortcut of another shape": _set("layers", 2, "res", "src", 0),
    "a shortcut times 0": _set("layers", 2, "res", "c", 0),
    "a shortcut times 2^31": _set("layers", 2, "res", "c", 1 << 31),
    "a shortcut with more keys": _set("layers", 2, "res", "M", 1),
    "src of the layer before": _set("layers", 3, "src", 2),
    "src is the input": _set("layers", 3, "src", -1),
    "src in the second layer": _set("layers", 1, "src", 0),
    "an accumulator of 62 bits": lambda d: (d.update(wb=32), d["layers"][0].update(M=(1 << 31) - 1)),
    "too many weights": _set("layers", 0, "cout", 1 << 20),
    "too large a flattening": _set("in_dims", [1, 1 << 11, 1 << 10]),
    "an output dimension above 2^20": lambda d: d.update(
        in_dims=[1, 1 << 20, 1], layers=[{"op": "conv", "k": 2, "stride": 1, "pad": 1, "cout": 1, "final": 1}]
    ),
    "a convolution over too many cells": lambda d: d.update(
        in_dims=[1, 1 << 20, 1], layers=[{"op": "conv", "k": 16, "stride": 5, "pad": 15, "cout": 1, "final": 1}]
    ),
    "pools over too many cells": lambda d: d.update(
        in_dims=[2, 1 << 19, 1],
        layers=[*[{**BASE["layers"][1], "k": 1}] * 8, {"op": "conv", "k": 1, "stride": 16, "pad": 0, "cout": 1, "final": 1}],
    ),
    "flattened tensors of too many cells": lambda d: d.update(
        in_dims=[1 << 10, 1],
        layers=[
            {"op": "linear", "nout": 1 << 10, "M": 1, "s": 7, "a": 8, "nb": 0, "hb": 0, "lo": 0},
            {"op": "gemm", "nout": 1, "M": 1, "s": 7, "a": 8, "nb": 0, "hb": 0, "lo": 0},
            *[{"op": "gemm", "nout": 1, "M": 1, "s": 7, "a": 8, "nb": 0, "hb": 0, "lo": 0, "src": 0}] * 4,
            {"op": "gemm", "nout": 1, "final": 1},
        ],
    ),
    "a description of 64 KiB": _set("layers", [BASE["layers"][0] for _ in range(255)] * 4),
}  # fmt: skip


def test_the_base_of_the_attacks_is_valid() -> None:
    """What the attacks below change is a network that can be proven."""
    layout = validated(copy.deepcopy(BASE))
    assert layout.stages[-1].out == (4,)
    assert layout.stages[-1].source == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_are_valid(seed: int) -> None:
    """No rule forbids a network that the rest can prove; its D has the canonical form."""
    d, _, _ = network(seed)
    validated(d)
    assert canon(json.loads(canon(d))) == canon(d)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_on_the_description_are_refused(attack: str) -> None:
    """No D leads to a protocol that proves less than section 2 says, to an absurd size, or to two forms of one network."""
    d = copy.deepcopy(BASE)
    ATTACKS[attack](d)
    with pytest.raises(CouldNotCheck, match="can be proven"):
        validated(d)
    assert not _taken(lambda: _verifiers_view(d))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a JSON value."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


NUMBERS = (
    st.integers(-3, 40) | st.integers(-(1 << 70), 1 << 70) | st.sampled_from([1 << 20, 1 << 28, P, P + 1])
)
ANYTHING = st.recursive(
    NUMBERS | st.booleans() | st.none() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def _value(d: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        d = d[key]
    return d


def _taken(check: Callable[[], Any]) -> bool:
    try:
        check()
    except VerinferError:
        return False
    return True


def _verifiers_view(d: Description) -> None:
    """What the verifier demands of a description before anything else, at its own default level."""
    read = parse(canon(d))
    soundness.require(read.commitment, len(read.layers), layout(read).sizes, soundness.DEFAULT_BITS)


BOUNDS = st.builds(
    lambda power, step: (1 << power) + step, st.integers(0, 62), st.integers(-1, 1)
) | st.integers(-3, 50)


@given(st.integers(0, 39), st.integers(0), BOUNDS)
def test_prover_and_verifier_agree_on_descriptions(seed: int, at: int, value: int) -> None:
    """Whatever number stands in D, setup takes it if and only if the verifier does, which has read the specification itself."""
    d, _, _ = network(seed)
    numbers = [place for place in _places(d)[1:] if type(_value(d, place)) is int]
    _set(*numbers[at % len(numbers)], value)(d)
    assert _taken(lambda: validated(d)) == _taken(lambda: _verifiers_view(d))


@given(st.sampled_from(_places(BASE)[1:]), ANYTHING)
def test_no_change_reaches_the_arithmetic_unchecked(place: tuple[Any, ...], value: Any) -> None:
    """Whatever stands anywhere in D, it is refused with a code, or is a network within every limit; nothing else happens."""
    d = copy.deepcopy(BASE)
    _set(*place, value)(d)
    with suppress(CouldNotCheck):
        layout = validated(d)
        assert layout.witness_bits <= 26
        assert layout.leaves_bits + layout.blowup_bits <= 25
        assert max(layout.witness_bits, layout.weights_bits) + layout.blowup_bits <= 32
        assert all(stage.limbs["Y"] <= (d["t"],) for stage in layout.stages[:-1])
