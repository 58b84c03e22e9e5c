"""Runs one function of a native module in a limited, one-shot child process.

Takes a module's name, a function's name and JSON arguments; gives the function's JSON result or raises `ChildFailed`.
Why: EZKL's calls hold the GIL, panic as BaseException, abort on huge allocations and crash on hostile files.
Only an explicit answer from a child that exited 0 counts as success.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from . import strict_json
from .errors import CODES, CouldNotCheck, Malformed
from .jail import Limits, lacking
from .wire import printable

ANSWER_LIMIT = 64 << 20
_POLL_SECONDS = 0.1
_TAIL_BYTES = 8192
_DETAIL = 2000
_log = logging.getLogger(__name__)
# Some processors need these for a correct OpenBLAS; nothing else of the caller's environment reaches a child.
_INHERITED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_BOOT = "from verinfer.verifier._child_main import main; main()"


class Cancelled(Protocol):
    """Says whether the work is still wanted; `threading.Event` is one."""

    def is_set(self) -> bool:
        """True once the work should stop."""
        ...


class ChildFailed(CouldNotCheck):
    """A child ended without success; `detail` is native text for an operator's eyes, not for a client's."""

    def __init__(self, code: str, message: str = "", *, detail: str = "", field: str | None = None) -> None:
        self.detail = printable(detail, most=_DETAIL)
        said = f" ({self.detail})" if detail else ""
        super().__init__(code, message or f"{CODES[code]}{said}", field=field)


class Child:
    """One started child that waits, with its module imported, for its one `call`, or as a long-lived worker for many `ask`.

    Starting early hides the start-up time: a verifier keeps one in waiting.
    The parent-death signal is tied to the thread that starts a child, so that thread must outlive it.
    Its first call says which files it may ever reach besides its own `directory` (see `jail.seal`): texts among the
    arguments that are absolute paths. With `enclosed` it reaches no others, and is sealed before it waits.
    """

    def __init__(self, module: str, *, limits: Limits, directory: Path, enclosed: bool = False) -> None:
        self._limits = limits
        _warn_once()
        answer, child_end = os.pipe()
        self._answer = answer
        start = {
            "module": module,
            "limits": limits._asdict(),
            "parent": os.getpid(),
            "answer_fd": child_end,
            "enclosed": enclosed,
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", _BOOT, json.dumps(start)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=_environment(directory),
                pass_fds=(child_end,),
                start_new_session=True,
            )
        except BaseException:
            os.close(answer)
            raise
        finally:
            os.close(child_end)

    @property
    def pid(self) -> int:
        """The child's process id, which is also its process group."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended yet; what ended while it waited, for lack of memory perhaps, is of no use."""
        # Without taking its exit status.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        on_line: Callable[[str], None] | None = None,
        cancelled: Cancelled | None = None,
    ) -> Any:
        """Make the one call; raises `ChildFailed`. `on_line` gets the child's log lines, for progress only."""
        deadline = time.monotonic() + self._limits.wall_seconds
        try:
            answer, tail = self._talk(_request(function, arguments), deadline, on_line, cancelled, last=True)
            status = self._process.wait(timeout=max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired as error:
            raise ChildFailed("child-out-of-time") from error
        finally:
            self.close()
        return _judge(answer, status, tail)

    def ask(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        seconds: float,
        cancelled: Cancelled | None = None,
    ) -> Any:
        """Make one of many calls of a long-lived worker, to be answered within `seconds`; raises `ChildFailed`.

        A worker that refuses lives on; one that fails otherwise, or is cancelled, is closed.
        """
        try:
            answer, tail = self._talk(
                _request(function, arguments), time.monotonic() + seconds, None, cancelled, last=False
            )
            status = 0 if answer.endswith(b"\n") else self._process.wait(timeout=1)
        except subprocess.TimeoutExpired as error:
            self.close()
            raise ChildFailed("child-no-answer") from error
        except BaseException:
            self.close()
            raise
        if not answer.endswith(b"\n"):
            self.close()
        return _judge(answer, status, tail)

    def close(self) -> None:
        """Kill the child and its group, if they still live, and release everything."""
        with suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        if self._answer >= 0:
            os.close(self._answer)
            self._answer = -1

    def _talk(
        self,
        request: bytes,
        deadline: float,
        on_line: Callable[[str], None] | None,
        cancelled: Cancelled | None,
        *,
        last: bool,
    ) -> tuple[bytes, str]:
        """Write the request, gather the answer and the end of the log; all of it before `deadline`.

        With `last` until the child has closed both, else until the answer's line or the answer itself has ended.
        """
        stdin, stderr = self._process.stdin, self._process.stderr
        assert stdin is not None
        assert stderr is not None
        os.set_blocking(stdin.fileno(), False)
        rest, answer, log = memoryview(request), bytearray(), _Log(on_line)
        with selectors.DefaultSelector() as selector:
            selector.register(stdin, selectors.EVENT_WRITE)
            selector.register(stderr, selectors.EVENT_READ)
            selector.register(self._answer, selectors.EVENT_READ)
            while selector.get_map() and (last or not answer.endswith(b"\n")):
                for key in _ready(selector, deadline, cancelled):
                    if key.fileobj is stdin:
                        rest = rest[_write(stdin.fileno(), rest) :]
                        if not rest:
                            selector.unregister(stdin)
                            if last:
                                stdin.close()
                    elif not (chunk := os.read(key.fd, 1 << 16)):
                        selector.unregister(key.fileobj)
                        if key.fd == self._answer and not last:
                            return bytes(answer), log.tail
                    elif key.fd == self._answer:
                        answer += chunk
                        if len(answer) > ANSWER_LIMIT:
                            raise ChildFailed("child-no-answer", "A child's answer is too large.")
                    else:
                        log.add(chunk)
        return bytes(answer), log.tail


class _Log:
    """A child's standard error: whole lines go to `on_line`, the end is kept to tell how the child died."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line, self._tail, self._pending = on_line, b"", b""

    @property
    def tail(self) -> str:
        """The last bytes, as text."""
        return self._tail.decode("utf-8", "replace")

    def add(self, chunk: bytes) -> None:
        """Take what the child wrote."""
        self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
        *lines, pending = (self._pending + chunk).split(b"\n")
        self._pending = pending[-_TAIL_BYTES:]
        if self._on_line is not None:
            for line in lines:
                self._on_line(line.decode("utf-8", "replace"))


def _ready(
    selector: selectors.BaseSelector, deadline: float, cancelled: Cancelled | None
) -> list[selectors.SelectorKey]:
    """What can be read or written now; raises `ChildFailed` once the time is over or the work is not wanted."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise ChildFailed("child-out-of-time")
    if cancelled is not None and cancelled.is_set():
        raise ChildFailed("child-cancelled")
    return [key for key, _ in selector.select(min(_POLL_SECONDS, remaining))]


def _request(function: str, arguments: Mapping[str, Any]) -> bytes:
    return json.dumps({"function": function, "arguments": arguments}).encode() + b"\n"


def _write(descriptor: int, data: memoryview) -> int:
    """How many bytes the pipe took; all of them, as far as anybody is concerned, if nobody reads any more."""
    try:
        return os.write(descriptor, data[: 1 << 16])
    except BrokenPipeError:
        return len(data)


def run(
    module: str,
    function: str,
    arguments: Mapping[str, Any],
    *,
    limits: Limits,
    directory: Path,
    on_start: Callable[[int], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    cancelled: Cancelled | None = None,
) -> Any:
    """Start a child in `directory`, make one call, and see it end; `on_start` gets its process id first."""
    child = Child(module, limits=limits, directory=directory)
    if on_start is not None:
        try:
            on_start(child.pid)
        except BaseException:
            child.close()
            raise
    return child.call(function, arguments, on_line=on_line, cancelled=cancelled)


@cache
def _warn_once() -> None:
    """Say in the log what this kernel's jail lacks; `verinfer doctor` says it, too."""
    for what in lacking():
        _log.warning("the jail is not whole: %s", what)


def _signal_name(number: int) -> str:
    # Real-time signals have no name.
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")


def _environment(directory: Path) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        # With more, numpy starts threads that turn idly on the other cores; beside its proofs a child's products are small.
        "OPENBLAS_NUM_THREADS": "1",
        "EZKL_REPO_PATH": str(directory / ".ezkl"),
        "EZKL_KEY_FORMAT": "raw-bytes",
        "EZKL_BUF_CAPACITY": str(1 << 20),
    }


def _judge(answer: bytes, status: int, tail: str) -> Any:
    if status == 0 and answer:
        # What native code has taken over can answer anything, to the parent's harm.
        try:
            strict_json.check_size(answer)
            message = json.loads(answer)
        except (ValueError, Malformed) as error:
            raise ChildFailed("child-no-answer") from error
        if not isinstance(message, dict):
            raise ChildFailed("child-no-answer")
        if "ok" in message:
            return message["ok"]
        code = message.get("code")
        raise ChildFailed(
            code if isinstance(code, str) and code in CODES else "child-refused",
            detail=str(message.get("detail", "")),
        )
    if -status == signal.SIGXCPU:
        raise ChildFailed("child-out-of-time")
    if -status == signal.SIGXFSZ:
        raise ChildFailed("child-file-too-large")
    if -status == signal.SIGKILL:
        raise ChildFailed(
            "child-killed", "A child process was killed; perhaps the machine ran out of memory."
        )
    if "memory allocation of" in tail:
        # Rust's allocator says so before it aborts; there is no other sign.
        raise ChildFailed("child-out-of-memory")
    if status < 0:
        raise ChildFailed("child-aborted", f"Native code ended with {_signal_name(-status)}.")
    raise ChildFailed("child-no-answer")
