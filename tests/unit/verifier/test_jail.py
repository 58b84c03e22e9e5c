"""The jail: real children that try to get out, and what native libraries still may do in it.

`timeit.timeit(stmt=…)` stands for native code that a hostile file has taken over: it runs any code inside the child.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from verinfer.verifier import jail, landlock, seccomp
from verinfer.verifier.child import Child, ChildFailed, run
from verinfer.verifier.jail import GIB, Limits

LIMITS = Limits(memory_bytes=2 * GIB, cpu_seconds=5, file_bytes=1 << 20, wall_seconds=10)

# For calls that Python does not wrap; `number` is that of x86-64, or of AArch64.
_BARE = """
import ctypes, os, platform
libc, room = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(64)
def call(numbers, *arguments):
    number = numbers[platform.machine() == "aarch64"]
    words = [each if each is room else ctypes.c_long(each) for each in (number, *arguments)]
    if libc.syscall(*words) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""


def _run(tmp_path: Path, statement: str, **arguments: object) -> None:
    code = f"{_BARE}\n{textwrap.dedent(statement)}"
    values = {"stmt": code, "number": 1, **arguments}
    run("timeit", "timeit", values, limits=LIMITS, directory=tmp_path)


def _refusal(tmp_path: Path, statement: str, **arguments: object) -> str:
    with pytest.raises(ChildFailed) as caught:
        _run(tmp_path, statement, **arguments)
    assert caught.value.code == "child-refused"
    return caught.value.detail


OTHER_PROCESSES = {
    "run a program": "os.execv('/bin/true', ['true'])",
    "run a program, as subprocess does": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "fork": "os.fork()",
    "fork by clone": "call((56, 220), 17, 0, 0, 0, 0)",
    "leave the group": "os.setsid()",
    "leave the group by setpgid": "os.setpgid(0, 0)",
    "outlive the parent": "call((157, 167), 1, 0, 0, 0, 0)",
    "become visible again": "call((157, 167), 4, 1, 0, 0, 0)",
    "signal the parent": "os.kill(os.getppid(), 0)",
    "signal everybody": "os.kill(-1, 0)",
    "signal a thread of the parent": "call((234, 131), os.getppid(), os.getppid(), 0)",
    "signal any thread": "call((200, 130), os.getppid(), 0)",
    "queue a signal": "call((129, 138), os.getppid(), 0, room)",
    "have the kernel signal the parent": "import fcntl; fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
    "hold the parent": "os.pidfd_open(os.getppid())",
    "take a descriptor of the parent": "call((438, 438), 0, 0, 0)",
    "trace the parent": "call((101, 117), 16, os.getppid(), 0, 0)",
    "read the parent's memory": "call((310, 270), os.getppid(), room, 1, room, 1, 0)",
    "write the parent's memory": "call((311, 271), os.getppid(), room, 1, room, 1, 0)",
    "open the parent's memory": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "read the parent's environment": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "list the parent's descriptors": "os.listdir(f'/proc/{os.getppid()}/fd')",
    "limit the parent": "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "slow the parent down": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "push the parent to one processor": "os.sched_setaffinity(os.getppid(), {0})",
    "share memory": "call((29, 194), 0, 4096, 0o1600)",
    "use memory that no limit counts": "os.memfd_create('x')",
    "see another system": "call((272, 97), 0x10000000)",
}

SOCKETS = {
    "IPv4": "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "IPv6": "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "netlink": "import socket; socket.socket(16, socket.SOCK_RAW)",
    "Unix": "import socket; socket.socket(socket.AF_UNIX)",
    "a pair that can send anywhere": "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "a ring of requests": "call((425, 425), 1, room)",
}

FILES = {
    "make a link to a secret": "os.symlink('/etc/passwd', 'proof.json')",
    "make a hard link": "open('a', 'w'); os.link('a', 'b')",
    "make a pipe that holds up its reader": "os.mkfifo('proof.json')",
    "let others read": "open('a', 'w'); os.chmod('a', 0o777)",
    "let others read, by descriptor": "os.fchmod(os.open('a', os.O_CREAT | os.O_RDWR), 0o777)",
    "give away": "os.chown('.', 1, 1)",
    "mark": "os.setxattr('.', 'user.x', b'1')",
    "type into a terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
}


@pytest.mark.parametrize(
    "attempt",
    [*OTHER_PROCESSES.values(), *SOCKETS.values(), *FILES.values()],
    ids=[*OTHER_PROCESSES, *SOCKETS, *FILES],
)
def test_there_is_no_way_out(tmp_path: Path, attempt: str) -> None:
    """What would reach another process, the network, or what others see of a file, the kernel refuses."""
    assert "PermissionError" in _refusal(tmp_path, attempt)


@pytest.mark.parametrize(
    "call", ["call((435, 435), room, 64)", "call((466, 466), 0, 0, 0)"], ids=["clone3", "a new call"]
)
def test_calls_that_cannot_be_looked_into_are_not_there(tmp_path: Path, call: str) -> None:
    """Libraries fall back to what they did on older kernels."""
    assert "Function not implemented" in _refusal(tmp_path, call)


def test_every_call_of_the_table_is_refused(tmp_path: Path) -> None:
    """Each number is in the filter of this machine, not only in the table."""
    _run(
        tmp_path,
        """
        from verinfer.verifier import seccomp
        for name, numbers in seccomp.DENIED.items():
            try:
                if numbers[platform.machine() == "aarch64"] is not None:
                    call(numbers, -1, 0, 0, 0, 0, 0)
                    raise AssertionError(name)
            except PermissionError as error:
                assert error.errno == 1, name
        """,
    )


def test_limits_cannot_be_raised_again(tmp_path: Path) -> None:
    """Not even by root, who has no privileges left inside."""
    raised = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 45, 1 << 45))"
    assert "maximum limit" in _refusal(tmp_path, raised)
    _run(tmp_path, "assert 'CapEff:\\t0000000000000000' in open('/proc/self/status').read()")


def test_what_libraries_need_works(tmp_path: Path) -> None:
    """Threads, a pair of sockets to wake them, sources of chance, late imports, and any file work in its own folder."""
    _run(
        tmp_path,
        """
        import ssl, threading, socket, zoneinfo
        thread = threading.Thread(target=int); thread.start(); thread.join()
        one, other = socket.socketpair(); one.send(b"1"); other.recv(1)
        open("/dev/urandom", "rb").read(1); open("/dev/null", "w").write("x"); open("/proc/cpuinfo").read()
        os.mkdir("d"); open("d/x", "w").write("1")
        os.rename("d/x", "d/y"); os.truncate("d/y", 0); os.remove("d/y"); os.rmdir("d")
        """,
    )


REACHED = {
    "a named file": "open({given!r}).read()",
    "where a named file is to be made": "open({new!r}, 'w').write('x')",
    "its own folder": "open('x', 'w').write('x')",
}

KEPT = {
    "writing a named file": "open({given!r}, 'w')",
    "making a file beside a named one": "open({given!r} + '2', 'w')",
    "listing beside a named one": "os.listdir(os.path.dirname({given!r}))",
    "reading another file": "open({other!r}).read()",
    "writing another file": "open({other!r}, 'a')",
    "emptying another file": "os.truncate({other!r}, 0)",
    "removing another file": "os.remove({other!r})",
    "looking round": "os.listdir('/tmp')",
    "reading accounts": "open('/etc/passwd').read()",
    "changing what Python imports": "open(os.__file__, 'a')",
    "writing to a terminal": "open('/dev/ptmx', 'r+b')",
    "going round by its own links": "open(f'/proc/self/root{other}').read()",
}


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("attempt", [*REACHED, *KEPT])
def test_only_named_files_are_reached(tmp_path: Path, attempt: str) -> None:
    """Of all files of its user native code has those of its first call: to read, or to make where there was none."""
    paths = {"given": tmp_path / "given" / "x", "other": tmp_path / "other" / "x"}
    for path in (*paths.values(), tmp_path / "made" / "x", tmp_path / "own" / "y"):
        path.parent.mkdir()
        path.write_text("secret")
    new = tmp_path / "made" / "new"
    code = {**REACHED, **KEPT}[attempt]
    named = new if "{new" in code else paths["given"]
    code = code.format(new=str(new), **{name: str(path) for name, path in paths.items()})
    # The setup runs before the timer is called, which is no function but a text: a path among the arguments.
    values = {"stmt": "pass", "setup": f"import os\n{code}", "timer": str(named), "number": 1}
    with pytest.raises(ChildFailed) as caught:
        run("timeit", "timeit", values, limits=LIMITS, directory=tmp_path / "own")
    assert caught.value.detail.startswith("TypeError" if attempt in REACHED else "PermissionError")
    assert paths["other"].read_text() == paths["given"].read_text() == "secret"


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_an_enclosed_child_reaches_its_own_folder_alone(tmp_path: Path) -> None:
    """It is sealed while it waits: a file that its call names is out of reach, one that was put into its folder is not."""
    own, named = tmp_path / "own", tmp_path / "x"
    own.mkdir()
    for code, end in ((f"open({str(named)!r})", "PermissionError"), ("open('y')", "TypeError")):
        child = Child("timeit", limits=LIMITS, directory=own, enclosed=True)
        for path in (named, own / "y"):
            path.write_text("secret")
        # The timer is a text, which cannot be called once the setup has run.
        with pytest.raises(ChildFailed) as caught:
            child.call("timeit", {"stmt": "pass", "setup": code, "timer": str(named), "number": 1})
        assert caught.value.detail.startswith(end)


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_what_cannot_be_sealed_does_not_run() -> None:
    """Rules for files bind one thread and those that it starts; where another runs already, nothing native is called."""
    program = """
        import threading
        from verinfer.verifier.jail import JailError, seal
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        try:
            seal([])
        except JailError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert "a thread is running" in done.stdout


_WITHOUT_LANDLOCK = """
    import ctypes, logging, os, struct, sys
    from pathlib import Path
    from verinfer.verifier import jail, seccomp
    # A filter as an older kernel would answer: the three calls of Landlock do not exist.
    steps = [(0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x35, 1, 0, 447), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    room = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(room)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(header)), 0, 0) == 0
    from verinfer.verifier.child import ChildFailed, run
    logging.basicConfig(stream=sys.stdout)
    print(jail.lacking())
    limits = jail.Limits(memory_bytes=1 << 31, cpu_seconds=5, file_bytes=1 << 20, wall_seconds=10)
    for code in ("pass", "pass", "open('/etc/passwd')", "import os; os.fork()", "import socket; socket.socket()",
                 "import os; open(f'/proc/{os.getppid()}/mem', 'rb')"):
        try:
            run("timeit", "timeit", {"stmt": code, "number": 1}, limits=limits, directory=Path(sys.argv[1]))
            print("done")
        except ChildFailed as failure:
            print(failure.code)
"""


def test_without_landlock_the_rest_holds_and_the_gap_is_said(tmp_path: Path) -> None:
    """On an older kernel files stay open to native code: the log says so once, and everything else is refused as before."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_WITHOUT_LANDLOCK), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    lacking, warning, *ends = done.stdout.splitlines()
    assert "all files of its user" in lacking
    assert "the jail is not whole" in warning
    assert ends == ["done", "done", "done", "child-refused", "child-refused", "child-refused"]


def test_this_kernel_is_judged() -> None:
    """Nothing is lacking exactly where Landlock is new enough to guard every kind of change."""
    assert (jail.lacking() == ()) == (landlock.version() >= 3)


def test_every_call_has_its_number_once() -> None:
    """A number that stands twice in a column of the table is a slip, and leaves another call open."""
    for column in (0, 1):
        numbers = [pair[column] for pair in seccomp.DENIED.values() if pair[column] is not None]
        assert len(set(numbers)) == len(numbers)


def test_another_machine_has_no_jail() -> None:
    """Nothing native runs where the filter's numbers would mean other calls."""
    with pytest.raises(KeyError):
        seccomp.compiled("riscv64", 1)


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="the kernel has no scheduling groups of sessions"
)
def test_children_of_one_that_stands_back_do_too(tmp_path: Path) -> None:
    """Each child is in a session of its own, and for the scheduler a session may count as one, however nice its processes are."""
    program = f"""
import os
from pathlib import Path
from verinfer.verifier.child import run
from verinfer.verifier.jail import Limits, stand_back
limits = Limits(memory_bytes=1 << 31, cpu_seconds=5, file_bytes=1, wall_seconds=10)
stand_back(7)
stated = "assert open('/proc/self/autogroup').read().split()[-1] == '12', 'another'"
run("timeit", "timeit", {{"stmt": stated, "number": 1}}, limits=limits, directory=Path({str(tmp_path)!r}))
"""
    subprocess.run([sys.executable, "-c", program], check=True, start_new_session=True)
