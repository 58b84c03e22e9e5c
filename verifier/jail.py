"""Confines the calling process before it touches native code or a hostile file.

Takes `Limits`; afterwards the process cannot outlive its parent, exceed memory, CPU time or file size, start programs,
or open a network socket.
Sources: prctl(2), setrlimit(2), seccomp(2), linux/filter.h (classic BPF), linux/seccomp.h. Linux on x86-64 and AArch64.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from dataclasses import dataclass

GIB = 1 << 30

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_EPERM = 0x00050000 | 1
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16
_AF_UNIX = 1
_X32_BIT = 0x40000000


@dataclass(frozen=True, slots=True)
class _Calls:
    arch: int
    socket: int
    denied: tuple[int, ...]


# denied: execve, execveat, ptrace, process_vm_readv, process_vm_writev, io_uring_setup (opens sockets past this filter).
_CALLS = {
    "x86_64": _Calls(0xC000003E, 41, (59, 322, 101, 310, 311, 425)),
    "aarch64": _Calls(0xC00000B7, 198, (221, 281, 117, 270, 271, 425)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one child may use; `wall_seconds` is enforced by its parent, the rest by the kernel."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    wall_seconds: float


class JailError(Exception):
    """This system cannot confine a process; nothing native may run here."""


def confine(limits: Limits, *, parent: int) -> None:
    """Confine this process for good; raises `JailError` where the kernel does not offer what is needed."""
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
    os.nice(5)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _install_filter(libc)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _install_filter(libc: ctypes.CDLL) -> None:
    calls = _CALLS.get(platform.machine())
    if calls is None:
        raise JailError(f"no system call filter for {platform.machine()}")
    program = _program(calls)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


def _program(calls: _Calls) -> list[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, operand): another ABI kills, denied calls get EPERM, sockets only AF_UNIX."""
    deny = [(_JUMP_EQUAL, 0, 1, number) for number in calls.denied]
    return [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_EQUAL, 1, 0, calls.arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL_PROCESS),
        *(step for jump in deny for step in (jump, (_RETURN, 0, 0, _EPERM))),
        (_JUMP_EQUAL, 0, 3, calls.socket),
        (_LOAD, 0, 0, _OFFSET_ARG0),
        (_JUMP_EQUAL, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _prctl(libc: ctypes.CDLL, option: int, argument: int, pointer: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(argument), ctypes.c_void_p(pointer), zero, zero) != 0:
        raise JailError(f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}")
