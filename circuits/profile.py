"""Where a circuit's cells go: a count for each layer, as numbers and as a table.

Takes a wrapped ONNX file and run args; gives one `Layer` for each node that takes cells.
Cells of the main columns are counted; what a product puts into the columns of Freivalds' argument is not among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.verifier import child
from verinfer.verifier.digest import CHALLENGE_NAME

from .native import Workplace

_MODULE = "verinfer.circuits._profile"
_REBASED = re.compile(r"REBASED \(.*?rebasing_op=\w+ \([^)]*\)\) \((.*)\)$")
_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Layer:
    """One node: its name, what it does, its cells, and their share of all, 0 to 1."""

    name: str
    operator: str
    cells: int
    share: float

    def to_json(self) -> dict[str, Any]:
        """As the card has it."""
        return {
            "name": self.name,
            "operator": self.operator,
            "cells": self.cells,
            "share": round(self.share, 4),
        }


def profile(wrapped: Path, run_args: Mapping[str, Any], place: Workplace) -> tuple[Layer, ...]:
    """The layers in the order of the graph; raises `ChildFailed` if EZKL refuses the model or its log cannot be read."""
    arguments = {
        "model": str(wrapped.absolute()),
        "directory": str(place.directory),
        "run_args": dict(run_args),
    }
    found = child.run(
        _MODULE,
        "layers",
        arguments,
        limits=place.limits,
        directory=place.directory,
        on_start=place.on_start,
        cancelled=place.cancelled,
    )
    return read_layers(found)


def read_layers(found: Iterable[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """Layers from what the child counted; nodes without cells, such as constants, are left out."""
    counted = [item for item in found if item["cells"]]
    total = sum(item["cells"] for item in counted)
    return tuple(
        Layer(_name(item["name"]), plain_operator(item["operator"]), item["cells"], item["cells"] / total)
        for item in counted
    )


def plain_operator(text: str) -> str:
    """EZKL's words for a node without its numbers: ``EINSUM mk,nk->n, rescaled``."""
    rebased = _REBASED.match(text)
    inner = rebased[1] if rebased else text
    word = inner if inner.startswith("EINSUM") else inner.partition("(")[0].strip()
    word = {"LEAKYRELU": "RELU"}.get(word, word)
    return f"{word}, rescaled" if rebased else word


def as_table(layers: Sequence[Layer]) -> str:
    """The layers as lines of text: name, operator, cells, share."""
    rows = [(_cut(item.name), _cut(item.operator), f"{item.cells:,}", f"{item.share:.1%}") for item in layers]
    rows.append(("all", "", f"{sum(item.cells for item in layers):,}", ""))
    head = ("layer", "operator", "cells", "share")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(4)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
        for row in (head, *rows)
    )


def heaviest(layers: Sequence[Layer], count: int = 3) -> str:
    """The layers that cost most, as one phrase."""
    first = sorted(layers, key=lambda item: -item.cells)[:count]
    return ", ".join(f"{_cut(item.name)} ({_cut(item.operator)}) {item.share:.0%}" for item in first)


def _name(name: str) -> str:
    """The challenge by its role; the last node has the check of outputs, too."""
    return name.replace(CHALLENGE_NAME, "challenge")


def _cut(text: str) -> str:
    """Names come from a file from outside: one short printable line."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= _WIDTH else f"{plain[: _WIDTH - 1]}…"
