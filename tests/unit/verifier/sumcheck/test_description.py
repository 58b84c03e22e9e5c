"""What a description may say: everything else is refused before anything is computed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verinfer.verifier.errors import Malformed
from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck.description import parse
from verinfer.verifier.sumcheck.layout import layout

from .network import FULL, Json, activation, canon, network

NETWORK = network(
    [
        {"op": "conv", "k": 3, "stride": 1, "pad": 1, "cout": 2, **activation()},
        {"op": "conv", "k": 1, "stride": 1, "pad": 0, "cout": 2, **activation(lo=-8)},
        {
            "op": "conv",
            "k": 3,
            "stride": 1,
            "pad": 1,
            "cout": 2,
            "src": 0,
            "res": {"src": 1, "c": -3},
            **activation(),
        },
        {"op": "pool", "k": 2, **activation(s=2)},
        {"op": "gemm", "nout": 3, "final": 1},
    ],
    [2, 5, 4],
    pcs=FULL,
)
D = NETWORK.description

Change = Callable[[Json], object]


def _with(place: str, value: Any) -> Change:
    """Set what a path such as ``layers.0.k`` names."""

    def change(description: Json) -> None:
        *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        target: Any = description
        for part in path:
            target = target[part]
        if value is None:
            del target[last]
        else:
            target[last] = value

    return change


REFUSED: dict[str, Change] = {
    "another protocol": _with("proto", "verinfer-sc/2"),
    "a key too many": _with("extra", 1),
    "a key too many in pcs": _with("pcs.extra", 1),
    "a key too many in a layer": _with("layers.0.extra", 1),
    "a key of another operation": _with("layers.3.stride", 2),
    "a key too many in res": _with("layers.2.res.extra", 1),
    "no in_bits": _with("in_bits", None),
    "no queries": _with("pcs.queries", None),
    "no M": _with("layers.0.M", None),
    "no lo": _with("layers.0.lo", None),
    "no op": _with("layers.0.op", None),
    "an unknown op": _with("layers.0.op", "maxpool"),
    "an op that is a list": _with("layers.0.op", ["conv"]),
    "a fraction": _with("t", 5.0),
    "a boolean": _with("layers.0.k", True),
    "a boolean as final": _with("layers.4.final", True),
    "a number as text": _with("in_bits", "4"),
    "t of 0": _with("t", 0),
    "t of 4": _with("t", 4),
    "t of 17": _with("t", 17),
    "in_bits of 0": _with("in_bits", 0),
    "in_bits of 17": _with("in_bits", 17),
    "wb of 1": _with("wb", 1),
    "wb of 33": _with("wb", 33),
    "bb of 1": _with("bb", 1),
    "bb of 49": _with("bb", 49),
    "no input dimension": _with("in_dims", []),
    "four input dimensions": _with("in_dims", [1, 2, 5, 4]),
    "an input dimension of 0": _with("in_dims", [2, 0, 4]),
    "a negative input dimension": _with("in_dims", [2, -5, 4]),
    "an input dimension that is a boolean": _with("in_dims", [True, 5, 4]),
    "an input dimension above 2^20": _with("in_dims", [1, 1, (1 << 20) + 1]),
    "an input above 2^28 cells": _with("in_dims", [1 << 10, 1 << 10, 1 << 9]),
    "in_dims that is a number": _with("in_dims", 3),
    "no layers": _with("layers", []),
    "layers that are an object": _with("layers", {}),
    "a layer that is a list": _with("layers.0", []),
    "no final layer": lambda d: d["layers"].pop(),
    "two final layers": lambda d: d["layers"].append(d["layers"][-1]),
    "257 layers": lambda d: d.update(layers=[d["layers"][1]] * 256 + [d["layers"][4]]),
    "final that is 2": _with("layers.4.final", 2),
    "final that is 0": _with("layers.4.final", 0),
    "a final layer with M": _with("layers.4.M", 1),
    "a final layer with lo": _with("layers.4.lo", 0),
    "final and rescaling": _with("layers.0.final", 1),
    "k of 0": _with("layers.0.k", 0),
    "k of 17": _with("layers.0.k", 17),
    "a kernel larger than its input": _with("layers.0.k", 8),
    "a window larger than its input": _with("layers.3.k", 5),
    "stride of 0": _with("layers.0.stride", 0),
    "stride of 17": _with("layers.0.stride", 17),
    "negative padding": _with("layers.0.pad", -1),
    "padding as wide as the kernel": _with("layers.0.pad", 3),
    "cout of 0": _with("layers.0.cout", 0),
    "cout above 2^20": _with("layers.0.cout", (1 << 20) + 1),
    "nout of 0": _with("layers.4.nout", 0),
    "nout above 2^20": _with("layers.4.nout", (1 << 20) + 1),
    "linear on three dimensions": lambda d: d["layers"][4].update(op="linear"),
    "conv on two dimensions": _with("in_dims", [5, 4]),
    "M of 0": _with("layers.0.M", 0),
    "M of 2^31": _with("layers.0.M", 1 << 31),
    "M of 1 + p": _with("layers.0.M", (1 << 64) - (1 << 32) + 2),
    "a negative M": _with("layers.0.M", -1),
    "s of 0": _with("layers.0.s", 0),
    "s that leaves 62 bits": _with("layers.0.s", 57),
    "a of 0": _with("layers.0.a", 0),
    "an activation wider than the table": _with("layers.0.a", 6),
    "a negative nb": _with("layers.0.nb", -1),
    "nb too large": _with("layers.0.nb", 57),
    "hb too large": _with("layers.0.hb", 57),
    "a huge nb": _with("layers.0.nb", (1 << 62) - 1),
    "lo above 0": _with("layers.0.lo", 1),
    "lo in between": _with("layers.0.lo", -4),
    "lo below -2^(a-1)": _with("layers.0.lo", -16),
    "res to itself": _with("layers.2.res.src", 2),
    "res to a later layer": _with("layers.2.res.src", 3),
    "res to the input": _with("layers.2.res.src", -1),
    "res of another shape": lambda d: d["layers"][3].update(res={"src": 0, "c": 1}),
    "res of 0": _with("layers.2.res.c", 0),
    "res of 2^31": _with("layers.2.res.c", 1 << 31),
    "res of -2^31": _with("layers.2.res.c", -(1 << 31)),
    "res that is a number": _with("layers.2.res", 1),
    "src to the layer before": _with("layers.2.src", 1),
    "src to itself": _with("layers.2.src", 2),
    "src to the input": _with("layers.2.src", -1),
    "src of the second layer": _with("layers.1.src", 0),
    "src of the first layer": _with("layers.0.src", -1),
    "src that is a boolean": _with("layers.2.src", False),
    "an accumulator beyond 62 bits": lambda d: (
        d.update(wb=32),
        d["layers"][0].update(M=(1 << 31) - 1),
    ),
    "a final accumulator beyond 62 bits": lambda d: d.update(
        wb=32, in_bits=16, in_dims=[1 << 20], layers=[{"op": "gemm", "nout": 1, "final": 1}]
    ),
    "no weights": lambda d: d.update(layers=[{"op": "pool", "k": 1, "final": 1}]),
    "one product": lambda d: d.update(in_dims=[1], layers=[{"op": "gemm", "nout": 1, "final": 1}]),
    "a flattened input above 2^20": lambda d: d.update(
        in_dims=[2, 1 << 20], layers=[{"op": "gemm", "nout": 1, "final": 1}]
    ),
    "weights above 2^28 cells": lambda d: d.update(
        in_dims=[1 << 15], layers=[{"op": "gemm", "nout": 1 << 14, "final": 1}]
    ),
    "an output above 2^28 cells": lambda d: d.update(
        in_dims=[1 << 18, 1], layers=[{"op": "linear", "nout": 1 << 11, "final": 1}]
    ),
    "a witness above 2^26 cells": lambda d: d.update(
        in_dims=[1 << 20, 2],
        layers=[
            {"op": "linear", "nout": 64, **activation(), "nb": 1, "hb": 1},
            {"op": "linear", "nout": 1, "final": 1},
        ],
    ),
    "a codeword above 2^32": lambda d: d.update(
        wb=2,
        layers=[*[{"op": "gemm", "nout": 1 << 14, **activation(), "nb": 1, "hb": 1}] * 9, d["layers"][4]],
        pcs={**FULL, "log_blowup": 1, "queries": 203},
    ),
    "too many leaves": lambda d: d.update(
        in_dims=[1 << 8, 1 << 10],
        layers=[
            {"op": "linear", "nout": 1 << 12, **activation(), "nb": 1, "hb": 1},
            {"op": "linear", "nout": 1, "final": 1},
        ],
        pcs={**FULL, "log_blowup": 4, "queries": 93, "leaf_bits": 0},
    ),
    "log_blowup of 0": _with("pcs.log_blowup", 0),
    "log_blowup of 5": _with("pcs.log_blowup", 5),
    "no query": _with("pcs.queries", 0),
    "too many queries": _with("pcs.queries", 1 << 20),
    "negative grinding": _with("pcs.pow_bits", -1),
    "endless grinding": _with("pcs.pow_bits", 256),
    "fold of 0": _with("pcs.fold", 0),
    "fold of 5": _with("pcs.fold", 5),
    "final_bits of 0": _with("pcs.final_bits", 0),
    "final_bits of 9": _with("pcs.final_bits", 9),
    "negative leaf_bits": _with("pcs.leaf_bits", -1),
    "leaf_bits of 6": _with("pcs.leaf_bits", 6),
    "pcs that is a list": _with("pcs", []),
}


def test_a_description_says_what_it_says() -> None:
    """Shapes, sources and widths of a network with a shortcut are read as the specification defines them."""
    found = parse(NETWORK.canon)
    assert [layer.outputs for layer in found.layers] == [(2, 5, 4), (2, 5, 4), (2, 5, 4), (2, 2, 2), (3,)]
    assert [layer.source for layer in found.layers] == [-1, 0, 0, 2, 3]
    assert found.outputs == (3,)
    assert found.lowest(1) == -8


@pytest.mark.parametrize("name", REFUSED)
def test_what_breaks_a_rule_is_refused(name: str) -> None:
    """Each rule of section 3.1 has a description that breaks it alone, and a proof of it is never looked at."""
    changed = copy.deepcopy(D)
    REFUSED[name](changed)
    with pytest.raises(Malformed) as refusal:
        check(canon(changed), bytes(32), bytes(32), [0] * 40, [0] * 3, b"")
    assert refusal.value.code == "description-malformed"


OTHER_FORMS: dict[str, bytes] = {
    "nothing": b"",
    "an empty object": b"{}",
    "a list": b"[]",
    "null": b"null",
    "half an object": b"{",
    "no UTF-8": b"\xff",
    "a space at the end": NETWORK.canon + b" ",
    "spaces": json.dumps(D, sort_keys=True).encode(),
    "another order": json.dumps(D, separators=(",", ":")).encode(),
    "a duplicate key": NETWORK.canon.replace(b'"bb":', b'"bb":9,"bb":', 1),
    "an exponent": NETWORK.canon.replace(b'"in_bits":4', b'"in_bits":4e0', 1),
    "an escape": NETWORK.canon.replace(b'"verinfer', b'"\\u0076erinfer', 1),
    "too deep": b"[" * 60_000,
    "too large": b" " * (1 << 16) + NETWORK.canon,
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_only_the_canonical_form_is_read(name: str) -> None:
    """A description has one form; spaces, another order of keys, duplicates and other ways to write a value are refused."""
    with pytest.raises(Malformed, match="description-malformed"):
        parse(OTHER_FORMS[name])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from([1 << 62, -1, 0, 1, 2**31]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((*path, key), *_places(inner, (*path, key)))]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_places(D)), JSON), min_size=1, max_size=3))
def test_no_malformed_description_reaches_the_arithmetic(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Any values anywhere: a description is refused as malformed, or its places are laid out within the protocol's limits."""
    changed = copy.deepcopy(D)
    for path, value in changes:
        target: Any = changed
        try:
            for part in path[:-1]:
                target = target[part]
            target[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    try:
        places = layout(parse(canon(changed)))
    except Malformed:
        return
    assert places.sizes.witness <= 26
    assert places.sizes.largest + changed["pcs"]["log_blowup"] <= 32
