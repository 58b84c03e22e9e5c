"""Confines the calling process before it touches native code or a hostile file.

Takes `Limits`; after `confine` the process cannot outlive its parent, exceed memory, CPU time or file size, start programs
or processes, open a socket, signal or look into another process, use a privilege, or change who may read a file.
After `seal` it also reaches no files but its folder, those it was given, and the interpreter's and the system's own.
Both need Linux on x86-64 or AArch64; sealing needs Landlock (Linux 5.13), and where that is missing `lacking` says so:
there a file that native code must not reach belongs to another user, and `hide_memory` keeps a parent's own memory out of
reach of a user without privileges.
Sources: prctl(2), setrlimit(2), capset(2), seccomp(2), landlock(7).
"""

# ruff: noqa: PTH112, PTH113, PTH118, PTH120, PTH123, PTH208 - to import pathlib takes longer than all of this, in every child

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from . import landlock, seccomp

GIB = 1 << 30

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522

_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *("/usr/share/zoneinfo", "/etc/localtime"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)
"""What libraries read of the system when they start: themselves, time zones, and how many processors there are."""


_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")


class Limits(NamedTuple):
    """What one child may use; `wall_seconds` is enforced by its parent, the rest by the kernel."""

    # No dataclass: importing that takes a child as long as all of the rest together.

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    wall_seconds: float


class JailError(Exception):
    """This system cannot confine a process; nothing native may run here."""


def confine(limits: Limits, *, parent: int, becomes_program: bool = False) -> None:
    """Confine this process for good; raises `JailError` where the kernel does not offer what is needed.

    With `becomes_program` it may still turn into a program, which then is confined.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The parent died before the line above took effect.
        os.kill(os.getpid(), signal.SIGKILL)
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 256)
    # The soft limit sends SIGXCPU, which names the cause; the hard one a second later kills.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    # Python ignores SIGXFSZ; its default action makes a too large file a cause of death that can be told apart.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if os.nice(0) > 0:
        # A child of one that stands back, in a session of its own.
        stand_back(5)
    else:
        os.nice(5)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _drop_privileges(libc)
    _install_filter(libc, becomes_program=becomes_program)


def seal(paths: Iterable[str], *, overwrite: bool = False, program: str | None = None) -> None:
    """Leave this process only the files that its work needs; call it while there is one thread. Raises `JailError`.

    That is: its working directory; of `paths`, a file to read (with `overwrite` to write, too), a folder to use, and the
    folder of a file still to be made; and what the interpreter and the system's libraries read.
    With `program` it may become that file, and of `paths` everything is only read.
    Does nothing where `lacking` names the files.
    """
    if not landlock.version():
        return
    if len(os.listdir("/proc/self/task")) > 1:
        raise JailError("a thread is running that the rules for files would not bind")
    rights = [(path, landlock.READ) for path in (*_SYSTEM, *_interpreter())]
    rights += [(".", landlock.WRITE), ("/dev/null", landlock.WRITE)]
    if program is not None:
        # The kernel opens what loads the program as it opens the program.
        rights += [(path, landlock.RUN) for path in (program, *_LOADERS)]
    for path in paths:
        if program is not None:
            rights.append((path, landlock.READ))
        elif os.path.isfile(path):
            rights.append((path, landlock.WRITE if overwrite else landlock.READ))
        elif (folder := path if os.path.isdir(path) else os.path.dirname(path)) != "/":
            rights.append((folder, landlock.WRITE))
    try:
        landlock.restrict(rights)
    except OSError as error:
        raise JailError(f"Landlock failed: {error.strerror}") from error


def stand_back(by: int) -> None:
    """Let other processes go first, also those of other sessions, by so much as nice(2) counts; children inherit that.

    Where the kernel makes a scheduling group of each session, niceness counts inside one only, and the group has its own
    (sched(7), "The autogroup feature").
    """
    niceness = os.nice(by)
    # Without privileges one process in a tenth of a second may set it; elsewhere there is none.
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(niceness))


def lacking() -> tuple[str, ...]:
    """What the jail would do and cannot on this kernel; empty where it is whole."""
    found = landlock.version()
    missing = {
        "native code can read and write all files of its user (no Landlock)": found == 0,
        "native code can truncate files of its user (Landlock is older than version 3)": 0 < found < 3,
    }
    return tuple(text for text, holds in missing.items() if holds)


def hide_memory() -> None:
    """Keep this process's memory and descriptors from other processes of its user; raises `JailError`."""
    _prctl(ctypes.CDLL(None, use_errno=True), _PR_SET_DUMPABLE, 0)


def _interpreter() -> set[str]:
    """The folders that Python imports from, with the targets of an editable installation's links."""
    found = {*sys.path, sys.prefix, sys.base_prefix} - {""}
    for part in sys.modules["verinfer"].__path__:
        found |= {os.path.realpath(os.path.join(part, name)) for name in os.listdir(part)}
    return found


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _drop_privileges(libc: ctypes.CDLL) -> None:
    """Give up all capabilities: root then is a user like others, who may not raise limits or look into processes."""
    # struct __user_cap_header_struct, and two of __user_cap_data_struct
    if libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)) != 0:
        raise JailError(f"capset failed: {os.strerror(ctypes.get_errno())}")


def _install_filter(libc: ctypes.CDLL, *, becomes_program: bool) -> None:
    machine = os.uname().machine
    if machine not in seccomp.MACHINES:
        raise JailError(f"no system call filter for {machine}")
    code = seccomp.compiled(machine, os.getpid(), becomes_program=becomes_program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


def _prctl(libc: ctypes.CDLL, option: int, argument: int, pointer: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(argument), ctypes.c_void_p(pointer), zero, zero) != 0:
        raise JailError(f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}")
