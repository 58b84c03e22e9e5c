"""The inside of a limited program's process: confine, seal, become the program.

Started by `program`, never imported by anything else; what goes wrong is one line on standard error and exit code 125.
"""

from __future__ import annotations

import json
import os
import sys

from .jail import JailError, Limits, confine, seal

FAILED = 125
"""The exit code of a process that did not become its program."""


def main() -> None:
    """Become the program that the one argument describes."""
    start = json.loads(sys.argv[1])
    try:
        confine(Limits(**start["limits"]), parent=start["parent"], becomes_program=True)
        seal(start["reads"], program=start["program"])
        os.execve(start["program"], [start["program"], *start["arguments"]], start["environment"])  # noqa: S606 - no shell is wanted
    except JailError as error:
        code, detail = "jail-unavailable", str(error)
    except OSError as error:
        code, detail = "native-missing", f"{start['program']}: {error.strerror}"
    sys.stderr.write(json.dumps({"code": code, "detail": detail}))
    sys.stderr.flush()
    os._exit(FAILED)
