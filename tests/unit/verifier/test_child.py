"""A limited child: what confines it, and that every way it can end is told apart.

`timeit.timeit(stmt=…)` stands for a native function that does what it likes: it runs any code inside the child.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from verinfer.verifier.child import Child, ChildFailed, run
from verinfer.verifier.jail import GIB, Limits

LIMITS = Limits(memory_bytes=2 * GIB, cpu_seconds=5, file_bytes=1 << 20, wall_seconds=10)


def _code(tmp_path: Path, statement: str, limits: Limits = LIMITS, **options: Any) -> Any:
    arguments = {"stmt": textwrap.dedent(statement), "number": 1}
    return run("timeit", "timeit", arguments, limits=limits, directory=tmp_path, **options)


def _failure(tmp_path: Path, statement: str, limits: Limits = LIMITS, **options: Any) -> str:
    with pytest.raises(ChildFailed) as caught:
        _code(tmp_path, statement, limits, **options)
    return caught.value.code


def test_an_answer_comes_back(tmp_path: Path) -> None:
    """The function's JSON value is what the caller gets."""
    assert run("json", "loads", {"s": "[1,2]"}, limits=LIMITS, directory=tmp_path) == [1, 2]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("raise RuntimeError('no')", "child-refused"),
        ("class PanicException(BaseException): pass\nraise PanicException('boom')", "child-panicked"),
        ("import os; os.abort()", "child-aborted"),
        ("import ctypes; ctypes.string_at(0)", "child-aborted"),
        ("import os; os._exit(0)", "child-no-answer"),
        ("import os; os._exit(3)", "child-no-answer"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "child-killed"),
        ("x = bytearray(8 << 30)", "child-out-of-memory"),
        (
            "import sys, os; print('memory allocation of 9 bytes failed', file=sys.stderr); os.abort()",
            "child-out-of-memory",
        ),
        ("open('big', 'wb').write(bytes(2 << 20))", "child-file-too-large"),
        # A real-time signal, which has no name.
        ("import os; os.kill(os.getpid(), 40)", "child-aborted"),
    ],
)
def test_every_end_has_its_own_code(tmp_path: Path, statement: str, code: str) -> None:
    """Exceptions, panics, aborts, crashes, silent exits, kills, memory and file limits are never confused."""
    assert _failure(tmp_path, statement) == code


def test_time_is_limited_on_the_cpu_and_on_the_wall(tmp_path: Path) -> None:
    """A busy loop meets the CPU limit, a sleeper the wall limit."""
    busy = Limits(memory_bytes=GIB, cpu_seconds=1, file_bytes=1024, wall_seconds=30)
    assert _failure(tmp_path, "while True: pass", busy) == "child-out-of-time"
    sleepy = Limits(memory_bytes=GIB, cpu_seconds=9, file_bytes=1024, wall_seconds=0.5)
    started = time.monotonic()
    assert _failure(tmp_path, "import time; time.sleep(60)", sleepy) == "child-out-of-time"
    assert time.monotonic() - started < 5


def test_cancelling_ends_the_child_at_once(tmp_path: Path) -> None:
    """A cancelled call leaves no process behind."""
    cancelled, pids = threading.Event(), list[int]()
    threading.Timer(0.3, cancelled.set).start()
    code = _failure(tmp_path, "import time; time.sleep(60)", cancelled=cancelled, on_start=pids.append)
    assert code == "child-cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


ANSWERS = {
    "a list": ("[1]", "child-no-answer"),
    "words": ("nonsense", "child-no-answer"),
    "nothing": ("", "child-no-answer"),
    "empty": ("{}", "child-refused"),
    "a list as its code": ('{"code": []}', "child-refused"),
    "an unknown code": ('{"code": "no-such-code"}', "child-refused"),
    "a number as its detail": ('{"code": "usage", "detail": 3}', "usage"),
    "more after it": ('{"ok": 1}x', "child-no-answer"),
    "two answers": ('{"ok": 1}\n{"ok": 2}', "child-no-answer"),
    "deep": ("[" * 100_000, "child-no-answer"),
    "deep inside": ('{"ok": ' + "[" * 100_000 + "]" * 100_000 + "}", "child-no-answer"),
    "a huge number": ('{"ok": ' + "9" * 5000 + "}", "child-no-answer"),
    "millions of lists": ('{"ok": [' + "[]," * 3_000_000 + "0]}", "child-no-answer"),
    "too long": ('{"ok": "' + "x" * (65 << 20) + '"}', "child-no-answer"),
}

# Finds the pipe for answers among the child's descriptors, and writes what it likes to it.
_ANSWER = """
import os
pipes = [n for n in range(3, 64) if os.path.islink(f"/proc/self/fd/{n}") and "pipe" in os.readlink(f"/proc/self/fd/{n}")]
with os.fdopen(pipes[0], "wb") as pipe:
    pipe.write(open("answer", "rb").read())
os._exit(0)
"""


@pytest.mark.parametrize("case", ANSWERS)
def test_a_malformed_answer_is_a_failure(tmp_path: Path, case: str) -> None:
    """A child that is no longer itself can write what it likes to its answer; nothing of it is taken for success."""
    answer, code = ANSWERS[case]
    (tmp_path / "answer").write_text(answer + "\n")
    assert _failure(tmp_path, _ANSWER) == code


def test_what_a_child_says_prints_on_one_line(tmp_path: Path) -> None:
    """Native text, which a hostile file may have made, cannot write a line of ours on an operator's terminal."""
    with pytest.raises(ChildFailed) as caught:
        _code(tmp_path, "raise ValueError('no\\n\\nVERIFIED  bmi 1: 42\\x1b[8m\\u202e' + 'x' * 9000)")
    for text in (caught.value.message, caught.value.detail):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 2200


def test_a_child_that_does_not_read_meets_the_time_limit(tmp_path: Path) -> None:
    """Handing over a large request is inside the limit, too."""
    child = Child("timeit", limits=LIMITS._replace(wall_seconds=1.0), directory=tmp_path)
    os.kill(child.pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(ChildFailed) as caught:
        child.call("timeit", {"stmt": "pass" + " " * (4 << 20)})
    assert caught.value.code == "child-out-of-time"
    worker = Child("timeit", limits=LIMITS, directory=tmp_path)
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(ChildFailed) as caught:
        worker.ask("timeit", {"stmt": "pass" + " " * (4 << 20)}, seconds=1.0)
    assert caught.value.code == "child-out-of-time"
    assert time.monotonic() - started < 5


def test_the_callers_environment_stays_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets in the caller's environment do not reach a child; its home is its own directory."""
    monkeypatch.setenv("VERINFER_SECRET", "canary")
    assert run("os", "getenv", {"key": "VERINFER_SECRET"}, limits=LIMITS, directory=tmp_path) is None
    assert run("os", "getenv", {"key": "HOME"}, limits=LIMITS, directory=tmp_path) == str(tmp_path)
    assert run("os", "getcwd", {}, limits=LIMITS, directory=tmp_path) == str(tmp_path)


def test_log_lines_arrive_while_the_child_works(tmp_path: Path) -> None:
    """Progress needs each line when it is written, not at the end."""
    seen: list[tuple[float, str]] = []

    def on_line(line: str) -> None:
        seen.append((time.monotonic(), line))

    _code(
        tmp_path,
        "import sys, time\nfor i in range(3):\n print(i, file=sys.stderr, flush=True); time.sleep(.2)",
        on_line=on_line,
    )
    assert [line for _, line in seen] == ["0", "1", "2"]
    assert seen[-1][0] - seen[0][0] > 0.3


def test_a_missing_package_is_said(tmp_path: Path) -> None:
    """A module that is not installed is a code of its own."""
    with pytest.raises(ChildFailed) as caught:
        run("verinfer_no_such_module", "f", {}, limits=LIMITS, directory=tmp_path)
    assert caught.value.code == "native-missing"


def test_a_worker_answers_many_calls_and_keeps_its_state(tmp_path: Path) -> None:
    """A long-lived worker is one process; a refused call leaves it alive, a crash does not."""
    worker = Child("timeit", limits=LIMITS, directory=tmp_path)
    try:
        for _ in range(3):
            assert worker.ask("timeit", {"stmt": "pass", "number": 1}, seconds=5) >= 0
        with pytest.raises(ChildFailed) as caught:
            worker.ask("timeit", {"stmt": "raise ValueError", "number": 1}, seconds=5)
        assert caught.value.code == "child-refused"
        assert worker.ask("timeit", {"stmt": "pass", "number": 1}, seconds=5) >= 0
        with pytest.raises(ChildFailed):
            worker.ask("timeit", {"stmt": "import os; os.abort()", "number": 1}, seconds=5)
    finally:
        worker.close()


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """When the parent is killed with -9, the kernel kills the child."""
    program = f"""
        from pathlib import Path
        from verinfer.verifier.child import run
        from verinfer.verifier.jail import Limits
        limits = Limits(memory_bytes=1 << 30, cpu_seconds=50, file_bytes=1024, wall_seconds=50)
        run("timeit", "timeit", {{"stmt": "import time; time.sleep(50)", "number": 1}}, limits=limits,
            directory=Path({str(tmp_path)!r}), on_start=lambda pid: print(pid, flush=True))
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert _gone(pid)


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False
