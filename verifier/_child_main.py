"""The inside of a limited child: confine, import the native module, seal, answer calls.

Started by `child`, never imported by anything else; it must start in milliseconds, so it imports almost nothing.
Reads a JSON object a line from standard input and writes one a line to the descriptor it was given.
Whatever goes wrong is an answer too, as far as the process lives to give one.

The first call says which files there are, and only then can the process be sealed, as long as it has one thread; unless it
is to reach nothing but its own directory.
Functions named ``write_…`` may write over files that are there; others read those, and make new ones.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .jail import JailError, Limits, confine, seal

EARLY = "_ezkl"
"""The module that is imported before the first call, to save its time then: EZKL starts no thread when imported."""


def main() -> None:
    """Answer calls until standard input ends, and leave without exit handlers, which crash in EZKL's async functions."""
    start = json.loads(sys.argv[1])
    with os.fdopen(start["answer_fd"], "w") as pipe:
        for answer in _answers(start):
            pipe.write(json.dumps(answer) + "\n")
            pipe.flush()
    sys.stderr.flush()
    os._exit(0)


def _answers(start: dict[str, Any]) -> Iterator[dict[str, Any]]:
    module, failure = None, _refusal(partial(confine, Limits(**start["limits"]), parent=start["parent"]))
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stderr)
    if failure is None and start["module"].endswith(f".{EARLY}"):
        module, failure = _import(start["module"])
    sealed = bool(start["enclosed"]) and failure is None
    if sealed:
        failure = _refusal(partial(seal, ()))
    for line in sys.stdin.buffer:
        call = json.loads(line)
        if failure is None and not sealed:
            writes = call["function"].startswith("write_")
            sealed, failure = True, _refusal(partial(seal, _paths(call["arguments"]), overwrite=writes))
        if failure is None and module is None:
            module, failure = _import(start["module"])
        yield failure or _answer(module, call)


def _refusal(act: Callable[[], None]) -> dict[str, Any] | None:
    try:
        act()
    except JailError as error:
        return {"code": "jail-unavailable", "detail": str(error)}
    return None


def _import(name: str) -> tuple[Any, dict[str, Any] | None]:
    try:
        return importlib.import_module(name), None
    except ImportError as error:
        return None, {"code": "native-missing", "detail": str(error)}


def _paths(arguments: dict[str, Any]) -> list[str]:
    """The files and folders of a call: all texts among its arguments that are absolute paths."""
    return [value for value in arguments.values() if isinstance(value, str) and value.startswith("/")]


def _answer(module: Any, call: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": getattr(module, call["function"])(**call["arguments"])}
    except ImportError as error:
        # Some modules import a large package only where it is needed.
        return {"code": "native-missing", "detail": str(error)}
    except MemoryError:
        return {"code": "child-out-of-memory", "detail": ""}
    except Exception as error:  # noqa: BLE001 - native code raises what it likes, and the parent must hear of it
        code = getattr(error, "code", "child-refused")
        return {"code": code, "detail": getattr(error, "message", f"{type(error).__name__}: {error}")[:2000]}
    except BaseException as error:  # noqa: BLE001 - a panic is one, and the parent must hear of it too
        # A Rust panic arrives as a BaseException (pyo3_runtime.PanicException).
        return {"code": "child-panicked", "detail": str(error)[:2000]}
