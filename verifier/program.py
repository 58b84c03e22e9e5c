"""Runs one program, such as a compiler, in a limited process: `child` for what is not Python.

Takes a program, its arguments and a file for its standard input; gives what it wrote to standard output, or raises `ChildFailed`.
It has a directory of its own, may read the files it is given, and opens no socket and starts nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from . import files
from ._program_main import FAILED
from .child import ChildFailed
from .errors import Malformed
from .jail import Limits

_BOOT = "from verinfer.verifier._program_main import main; main()"
_TAIL_BYTES = 8192


def run(
    program: Path,
    arguments: Sequence[str],
    *,
    given: Path,
    reads: Sequence[Path],
    environment: Mapping[str, str],
    limits: Limits,
    directory: Path,
) -> bytes:
    """What `program` writes to standard output when it reads `given`; raises `ChildFailed`.

    `reads` are the files and folders that it may read besides the system's libraries; it writes in `directory` alone.
    """
    start = {
        "program": str(program),
        "arguments": list(arguments),
        "reads": [str(path) for path in reads],
        "environment": dict(environment),
        "limits": limits._asdict(),
        "parent": os.getpid(),
    }
    written, said = directory / "program.out", directory / "program.err"
    with given.open("rb") as source, written.open("wb") as out, said.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", _BOOT, json.dumps(start)],
            stdin=source,
            stdout=out,
            stderr=err,
            cwd=directory,
            env={},
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired as error:
            raise ChildFailed("child-out-of-time") from error
        finally:
            with suppress(ProcessLookupError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _require_success(status, said)
    try:
        return files.read(written, limit=limits.file_bytes)
    except Malformed as error:
        raise ChildFailed("child-file-too-large") from error


def _require_success(status: int, said: Path) -> None:
    with said.open("rb") as file:
        file.seek(max(said.stat().st_size - _TAIL_BYTES, 0))
        tail = file.read()
    if status == 0:
        return
    if status == FAILED:
        with suppress(ValueError, KeyError, TypeError):
            failure = json.loads(tail)
            raise ChildFailed(failure["code"], detail=failure["detail"])
    if -status in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL):
        codes = {signal.SIGXCPU: "child-out-of-time", signal.SIGXFSZ: "child-file-too-large"}
        raise ChildFailed(codes.get(signal.Signals(-status), "child-killed"))
    code = "child-aborted" if status < 0 else "child-refused"
    raise ChildFailed(code, detail=tail.decode("utf-8", "replace"))
