"""The inside of a limited child: confine, import the native module, answer calls.

Started by `child`, never imported by anything else; it must start in milliseconds, so it imports almost nothing.
Reads a JSON object a line from standard input and writes one a line to the descriptor it was given.
Whatever goes wrong is an answer too, as far as the process lives to give one.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from typing import Any

from .jail import JailError, Limits, confine


def main() -> None:
    """Answer calls until standard input ends, and leave without exit handlers, which crash in EZKL's async functions."""
    start = json.loads(sys.argv[1])
    with os.fdopen(start["answer_fd"], "w") as pipe:
        module, failure = _prepare(start)
        for line in sys.stdin.buffer:
            answer = failure or _answer(module, json.loads(line))
            pipe.write(json.dumps(answer) + "\n")
            pipe.flush()
    sys.stderr.flush()
    os._exit(0)


def _prepare(start: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    try:
        confine(Limits(**start["limits"]), parent=start["parent"])
        logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stderr)
        return importlib.import_module(start["module"]), None
    except JailError as error:
        return None, {"code": "jail-unavailable", "detail": str(error)}
    except ImportError as error:
        return None, {"code": "native-missing", "detail": str(error)}


def _answer(module: Any, call: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": getattr(module, call["function"])(**call["arguments"])}
    except MemoryError:
        return {"code": "child-out-of-memory", "detail": ""}
    except Exception as error:  # noqa: BLE001 - native code raises what it likes, and the parent must hear of it
        code = getattr(error, "code", "child-refused")
        return {"code": code, "detail": getattr(error, "message", f"{type(error).__name__}: {error}")[:2000]}
    except BaseException as error:  # noqa: BLE001 - a panic is one, and the parent must hear of it too
        # A Rust panic arrives as a BaseException (pyo3_runtime.PanicException).
        return {"code": "child-panicked", "detail": str(error)[:2000]}
