"""Counts the cells of each layer from EZKL's own log; runs inside a limited child.

EZKL says at the level DEBUG which node it lays out and how far the columns are filled.
The same log prints tensors, so it is read here, line by line, and only names, operators and counts leave this process.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from . import _ezkl

_NAME = re.compile(r'Loading node: Node \{ id: (\d+), name: "([^"]{0,200})')
_BEGIN = re.compile(r"laying out (\d+): (.{0,300})")
_FILLED = re.compile(r"\(rows=\d+, coord=(\d+), ")


class _Reader(logging.Handler):
    """Takes each line of the log as it comes; `layers` holds a list for each node that was laid out."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.names: dict[int, str] = {}
        self.begun: list[tuple[int, str]] = []
        self.filled: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name == "ezkl.graph.utilities" and (named := _NAME.match(text)):
            self.names[int(named[1])] = named[2]
        elif record.name == "ezkl.graph.model" and (begun := _BEGIN.match(text)):
            self.begun.append((int(begun[1]), begun[2]))
        elif record.name == "ezkl.circuit.ops.region" and (filled := _FILLED.match(text)):
            self.filled.append(int(filled[1]))


def layers(*, model: str, directory: str, run_args: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, operator and cells of each node, in EZKL's order, the check of outputs with the last one; then the hash of inputs."""
    path = Path(directory) / "profile.settings"
    reader, root = _Reader(), logging.getLogger()
    # The log's level is read when EZKL says its first word, so this comes before any call.
    root.handlers, root.level = [reader], logging.DEBUG
    try:
        _ezkl.gen_settings(model=model, output=str(path), run_args=run_args)
    finally:
        root.handlers, root.level = [], logging.WARNING
    if not reader.begun or len(reader.filled) != len(reader.begun) + 1:
        raise RuntimeError("EZKL's log does not say where its nodes begin")
    hash_rows = json.loads(path.read_bytes())["module_sizes"]["poseidon"][0]
    nodes: list[dict[str, Any]] = [
        {"name": reader.names.get(node, f"node {node}"), "operator": operator, "cells": after - before}
        for (node, operator), before, after in zip(
            reader.begun, reader.filled, reader.filled[1:], strict=False
        )
    ]
    nodes[-1]["name"] += ", outputs"
    return [*nodes, {"name": "hash of the input", "operator": "POSEIDON", "cells": hash_rows}]
