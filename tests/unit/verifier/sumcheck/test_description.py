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


def _final_kernel(kernel: int, pad: int) -> Json:
    """A final convolution."""
    return {"op": "conv", "k": kernel, "stride": 1, "pad": pad, "cout": 1, "final": 1}


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
    "four input dimensions, flattened": lambda d: d.update(in_dims=[1, 2, 5, 4], layers=[d["layers"][4]]),
    "no input dimension, flattened": lambda d: d.update(in_dims=[], layers=[d["layers"][4]]),
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
    "a kernel higher than its input": lambda d: d.update(in_dims=[1, 2, 9], layers=[_final_kernel(3, 0)]),
    "a kernel larger than its padded input": lambda d: d.update(
        in_dims=[2, 1, 1], layers=[_final_kernel(4, 1)]
    ),
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


def _rows(count: int, inputs: int, outputs: int, **pcs: int) -> Change:
    """Two row-wise layers, of which the first has weights and columns of a chosen size."""

    def change(description: Json) -> None:
        first = {"op": "linear", "nout": outputs, **activation(), "nb": 1, "hb": 1}
        layers = [first, {"op": "linear", "nout": 1, "final": 1}]
        description.update(in_dims=[count, inputs], layers=layers, pcs={**FULL, **pcs})

    return change


def _wide(outputs: int, log_blowup: int = 4) -> Change:
    """A layer of 2^17 inputs."""

    def change(description: Json) -> None:
        first = {"op": "gemm", "nout": outputs, **activation(), "nb": 1, "hb": 1}
        pcs = {**FULL, "log_blowup": log_blowup}
        description.update(in_dims=[1 << 17], layers=[first, {"op": "gemm", "nout": 3, "final": 1}], pcs=pcs)

    return change


def _final_rows(count: int, outputs: int) -> Change:
    """A single row-wise layer."""
    return lambda d: d.update(in_dims=[count, 2], layers=[{"op": "linear", "nout": outputs, "final": 1}])


def _sparse(channels: int) -> Change:
    """A convolution that leaves most of a large input out."""
    layer = {"op": "conv", "k": 1, "stride": 16, "pad": 0, "cout": 1, "final": 1}
    return lambda d: d.update(in_dims=[channels, 1 << 10, 1 << 10], layers=[layer])


def _wide_activation(bias_bits: int) -> Change:
    """2^15 activations of 16 bits and weights of 32, whose sum only the bias can bring to 2^62."""
    first = {"op": "gemm", "nout": 1 << 15, **activation(a=16), "nb": 1, "hb": 1}
    layers = [first, {"op": "gemm", "nout": 1, "final": 1}]
    return lambda d: d.update(t=16, wb=32, bb=bias_bits, in_dims=[2], layers=layers)


def _scaled_residual(factor: int) -> Change:
    """A residual with the largest factor, in an accumulator that is scaled."""

    def change(description: Json) -> None:
        description["layers"][2].update(M=factor, res={"src": 1, "c": (1 << 31) - 1})

    return change


def _gemm(*in_dims: int, **more: int) -> Change:
    """A single layer."""
    return lambda d: d.update(in_dims=list(in_dims), layers=[{"op": "gemm", "nout": 3, "final": 1}], **more)


def _padded(missing: int) -> Change:
    """A convolution whose output is one longer than its input, because of padding."""
    layer = {"op": "conv", "k": 2, "stride": 1, "pad": 1, "cout": 1, "final": 1}
    return lambda d: d.update(in_dims=[1, (1 << 20) - missing, 1], layers=[layer])


def _convolutions(stride: int) -> Change:
    """A window of 16 over 2^20 cells: it meets three times as many with a stride of 16/3, and the cells themselves are 2^20."""
    layer = {"op": "conv", "k": 16, "stride": stride, "pad": 15, "cout": 1, "final": 1}
    return lambda d: d.update(in_dims=[1, 1 << 20, 1], layers=[layer])


def _pools(count: int) -> Change:
    """So many pools over 2^20 cells, and a convolution over as many."""
    pool = {"op": "pool", "k": 1, **activation(s=2), "nb": 0, "hb": 0}
    last = {"op": "conv", "k": 2, "stride": 16, "pad": 1, "cout": 1, "final": 1}
    return lambda d: d.update(in_dims=[1, 1 << 20, 1], layers=[*[pool] * count, last])


def _flattened(count: int) -> Change:
    """So many layers that flatten the same 2^20 cells."""
    first = {"op": "linear", "nout": 1 << 10, **activation(), "nb": 0, "hb": 0}
    flat = {"op": "gemm", "nout": 1, **activation(), "nb": 0, "hb": 0}
    last = {"op": "gemm", "nout": 1, "final": 1}
    layers = [first, flat, *[{**flat, "src": 0}] * (count - 1), last]
    return lambda d: d.update(in_dims=[1 << 10, 1], layers=layers)


BOUNDS: dict[str, tuple[Change, Change | None]] = {
    "t of 5": (_with("t", 5), None),
    "t of 16": (_with("t", 16), None),
    "in_bits": (_with("in_bits", 16), _with("in_bits", 17)),
    "in_bits of 1": (_with("in_bits", 1), _with("in_bits", 0)),
    "wb": (_with("wb", 32), _with("wb", 33)),
    "wb of 2": (_with("wb", 2), _with("wb", 1)),
    "bb": (_with("bb", 48), _with("bb", 49)),
    "bb of 2": (_with("bb", 2), _with("bb", 1)),
    "a": (_with("layers.3.a", 5), _with("layers.3.a", 6)),
    "a of 1": (_with("layers.3.a", 1), _with("layers.3.a", 0)),
    "s": (_with("layers.3.s", 56), _with("layers.3.s", 57)),
    "s of 1": (_with("layers.3.s", 1), _with("layers.3.s", 0)),
    "nb": (_with("layers.3.nb", 58), _with("layers.3.nb", 59)),
    "hb": (_with("layers.3.hb", 58), _with("layers.3.hb", 59)),
    "M": (_with("layers.0.M", (1 << 31) - 1), _with("layers.0.M", 1 << 31)),
    "res": (_with("layers.2.res.c", (1 << 31) - 1), _with("layers.2.res.c", 1 << 31)),
    "negative res": (_with("layers.2.res.c", 1 - (1 << 31)), _with("layers.2.res.c", -(1 << 31))),
    "stride": (_with("layers.0.stride", 1), _with("layers.0.stride", 0)),
    "kernel as large as the padded input": (
        lambda d: d["layers"][1].update(k=4, stride=16, pad=0) or d["layers"][2].pop("res"),
        lambda d: d["layers"][1].update(k=5, stride=16, pad=0) or d["layers"][2].pop("res"),
    ),
    "k of 16": (
        lambda d: d.update(
            in_dims=[1, 17, 17],
            layers=[{"op": "conv", "k": 16, "stride": 1, "pad": 15, "cout": 1, "final": 1}],
        ),
        lambda d: d.update(
            in_dims=[1, 17, 17],
            layers=[{"op": "conv", "k": 17, "stride": 1, "pad": 15, "cout": 1, "final": 1}],
        ),
    ),
    "a dimension": (_gemm(1 << 20), _gemm((1 << 20) + 1)),
    "an output dimension": (_padded(1), _padded(0)),
    "cells that convolutions go over": (_convolutions(6), _convolutions(5)),
    "cells that pools go over": (_pools(2), _pools(3)),
    "flattened cells of all layers": (_flattened(4), _flattened(5)),
    "cells that are flattened": (_gemm(1 << 10, 1 << 10), _gemm(1 << 10, (1 << 10) + 1)),
    "outputs": (
        lambda d: d.update(in_dims=[2], layers=[{"op": "gemm", "nout": 1 << 20, "final": 1}]),
        lambda d: d.update(in_dims=[2], layers=[{"op": "gemm", "nout": (1 << 20) + 1, "final": 1}]),
    ),
    "layers": (
        lambda d: d.update(layers=[d["layers"][1]] * 255 + [d["layers"][4]]),
        lambda d: d.update(layers=[d["layers"][1]] * 256 + [d["layers"][4]]),
    ),
    "cells of witness": (_rows(1 << 20, 2, 8), _rows(1 << 20, 2, 16)),
    "leaves": (
        _rows(1 << 9, 1 << 10, 1 << 10, log_blowup=4, queries=93, leaf_bits=0),
        _rows(1 << 9, 1 << 10, 1 << 11, log_blowup=4, queries=93, leaf_bits=0),
    ),
    "codewords": (_wide(1 << 10), _wide(1 << 11)),
    # With 2^15 inputs below 2^16 and weights of 32 bits it is the bias that reaches 2^62.
    "accumulators": (_gemm(1 << 14, in_bits=16, wb=32, bb=48), _gemm(1 << 15, in_bits=16, wb=32, bb=48)),
    "accumulators of a hidden layer": (_wide_activation(2), _wide_activation(48)),
    "accumulators with a residual": (_scaled_residual(1 << 20), _scaled_residual(1 << 30)),
    "cells of output": (_final_rows(1 << 18, 1 << 10), _final_rows(1 << 18, 1 << 11)),
    "cells of weights": (_wide(1 << 11, log_blowup=2), _wide(1 << 12, log_blowup=2)),
    "cells of input": (_sparse(1 << 8), _sparse(1 << 9)),
    "log_blowup": (_with("pcs.log_blowup", 4), _with("pcs.log_blowup", 5)),
    "log_blowup of 1": (_with("pcs.log_blowup", 1), _with("pcs.log_blowup", 0)),
    "queries": (_with("pcs.queries", 256), _with("pcs.queries", 257)),
    "queries of 1": (_with("pcs.queries", 1), _with("pcs.queries", 0)),
    "pow_bits": (_with("pcs.pow_bits", 32), _with("pcs.pow_bits", 33)),
    "fold": (_with("pcs.fold", 4), _with("pcs.fold", 5)),
    "final_bits": (_with("pcs.final_bits", 8), _with("pcs.final_bits", 9)),
    "leaf_bits": (_with("pcs.leaf_bits", 5), _with("pcs.leaf_bits", 6)),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_where_the_specification_has_them(name: str) -> None:
    """The last value of a range is taken, and the next one refused."""
    within, beyond = BOUNDS[name]
    changed = copy.deepcopy(D)
    within(changed)
    layout(parse(canon(changed)))
    if beyond is not None:
        changed = copy.deepcopy(D)
        beyond(changed)
        with pytest.raises(Malformed):
            layout(parse(canon(changed)))


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
