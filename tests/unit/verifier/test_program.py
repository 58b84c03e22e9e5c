"""Programs in a limited process: they do their work, and get at nothing else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from verinfer.verifier import landlock, program
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.jail import GIB, Limits

LIMITS = Limits(memory_bytes=2 * GIB, cpu_seconds=5, file_bytes=1 << 20, wall_seconds=10)
PYTHON = Path(sys.executable).resolve()
LIBRARIES = Path(sys.base_prefix).resolve()


def _run(home: Path, code: str, *, given: bytes = b"", limits: Limits = LIMITS) -> bytes:
    source = home / "given"
    source.write_bytes(given)
    return program.run(
        PYTHON,
        ["-I", "-S", "-c", code],
        given=source,
        reads=[LIBRARIES],
        environment={"LANG": "C.UTF-8"},
        limits=limits,
        directory=home,
    )


def test_a_program_reads_and_answers(tmp_path: Path) -> None:
    """It gets its file as standard input, and what it prints comes back."""
    assert _run(tmp_path, "print(input()[::-1])", given=b"abc\n") == b"cba\n"


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import subprocess; subprocess.run(['/bin/true'], check=True)",
        "import os; os.fork()",
        "import os; os.kill(os.getppid(), 0)",
        "import os; os.symlink('/etc', 'link')",
    ],
)
def test_a_program_opens_no_socket_and_starts_nothing(tmp_path: Path, code: str) -> None:
    """What it is not for, it cannot do."""
    with pytest.raises(ChildFailed) as caught:
        _run(tmp_path, code)
    assert caught.value.code == "child-refused"
    assert "not permitted" in caught.value.detail


@pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock, as jail.lacking says")
def test_a_program_reaches_no_other_files(tmp_path: Path) -> None:
    """It writes in its folder, and reads what it was given; it becomes no other program."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    home = tmp_path / "home"
    home.mkdir()
    _run(home, "open('made', 'w').write('x')")
    assert (home / "made").read_text() == "x"
    other = shutil.which("true")
    for code in (
        f"open({str(secret)!r})",
        f"open({str(LIBRARIES / 'x')!r}, 'w')",
        f"import os; os.execv({other!r}, ['x'])",
    ):
        with pytest.raises(ChildFailed) as caught:
            _run(home, code)
        assert "Permission denied" in caught.value.detail


def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """By the clock, by the processor's time, and by what it writes; each with its own code."""
    cases = {
        "import time; time.sleep(60)": ("child-out-of-time", LIMITS._replace(wall_seconds=0.5)),
        "while True: pass": ("child-out-of-time", LIMITS._replace(cpu_seconds=1)),
        "print('x' * (2 << 20))": ("child-refused", LIMITS),
        "import os; os.abort()": ("child-aborted", LIMITS),
    }
    for code, (expected, limits) in cases.items():
        with pytest.raises(ChildFailed) as caught:
            _run(tmp_path, code, limits=limits)
        assert caught.value.code == expected, code


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which."""
    with pytest.raises(ChildFailed) as caught:
        program.run(
            tmp_path / "none",
            [],
            given=Path("/dev/null"),
            reads=[],
            environment={},
            limits=LIMITS,
            directory=tmp_path,
        )
    assert caught.value.code == "native-missing"
    assert "none" in caught.value.detail
