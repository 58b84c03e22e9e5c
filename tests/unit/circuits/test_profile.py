from pathlib import Path
from typing import Any

import pytest

from verinfer.circuits.candidates import Candidate, count_rows
from verinfer.circuits.native import Workplace
from verinfer.circuits.profile import Layer, as_table, heaviest, plain_operator, profile, read_layers
from verinfer.verifier import child

RUN_ARGS = Candidate(scale=7, rebase=2, base=256, legs=2, logrows=12).run_args()


def test_the_layers_cells_add_up_to_the_circuits(bmi: Path, place: Workplace) -> None:
    """Every cell that EZKL counts belongs to one layer, and shares add up to one."""
    wrapped = place.directory / "wrapped.onnx"
    place.onnx("wrap", model=bmi / "network.onnx", output=wrapped)
    layers = profile(wrapped, RUN_ARGS, place)
    settings = count_rows(str(wrapped), [RUN_ARGS], place)[0]
    assert settings is not None
    # EZKL's own count differs by a row or two between processes.
    assert sum(layer.cells for layer in layers) == pytest.approx(settings["total_assignments"], abs=4)
    assert sum(layer.share for layer in layers) == pytest.approx(1)
    assert {"RELU", "ADD"} < {layer.operator for layer in layers}


def test_nothing_but_names_operators_and_counts_leaves_the_child(bmi: Path, place: Workplace) -> None:
    """EZKL's log prints weights at that level; no line of it reaches the parent."""
    wrapped = place.directory / "wrapped.onnx"
    lines: list[str] = []
    place.onnx("wrap", model=bmi / "network.onnx", output=wrapped)
    arguments = {"model": str(wrapped), "directory": str(place.directory), "run_args": RUN_ARGS}
    found = child.run(
        "verinfer.circuits._profile",
        "layers",
        arguments,
        limits=place.limits,
        directory=place.directory,
        on_line=lines.append,
    )
    assert lines == []
    assert all(set(item) == {"name", "operator", "cells"} for item in found)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (
            "REBASED (div=128.0, rebasing_op=DIV (denom=128)) (EINSUM mk,nk->n)",
            "EINSUM mk,nk->n, rescaled",
        ),
        ("LEAKYRELU (slope=0)", "RELU"),
        ("SUMPOOL (padding=[(0, 0), (0, 0)], stride=[2, 2])", "SUMPOOL"),
        ("ADD", "ADD"),
    ],
)
def test_operators_are_named_without_their_numbers(text: str, word: str) -> None:
    """The operator's word stays, scales and strides go."""
    assert plain_operator(text) == word


def test_a_name_from_outside_stays_on_its_line() -> None:
    """A layer's name may hold anything; the table has one printable line for each layer."""
    found: list[dict[str, Any]] = [
        {"name": "a\n\x1b[31m" + "x" * 200, "operator": "ADD", "cells": 3},
        {"name": "constant", "operator": "CONST (scale=7)", "cells": 0},
    ]
    table = as_table(read_layers(found))
    assert len(table.splitlines()) == 3
    assert "\x1b" not in table
    assert "constant" not in table
    assert max(map(len, table.splitlines())) < 100


def test_the_heaviest_come_first() -> None:
    """What is blamed for a circuit's size is what takes most of it."""
    layers = [Layer("small", "ADD", 1, 0.1), Layer("large", "CONV", 9, 0.9)]
    assert heaviest(layers, 1) == "large (CONV) 90%"
