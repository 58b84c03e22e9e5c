"""Confines the calling process before it touches native code or a hostile file.

Takes `Limits`; afterwards the process cannot outlive its parent, exceed memory, CPU time or file size, start programs or
processes, open a socket, signal or look into another process, or change what it sees of the system.
What remains: it can read and write the files that its user can. A file that native code must not reach belongs to another
user; `hide_memory` keeps a parent's own memory out of reach of a user without privileges.
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
_JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_EPERM = 0x00050000 | 1
_ENOSYS = 0x00050000 | 38
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


_ARCHES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By machine: the column of its numbers below, and its AUDIT_ARCH."""

_CLONE, _CLONE3, _PRLIMIT64 = (56, 220), (435, 435), (302, 261)
_SIGNALS = ((62, 129), (234, 131))  # kill, tgkill

_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other programs and processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # sockets, and what opens them past this filter
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    # looking into other processes, and signals that name no process
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    # another view of the system
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    # keys, and parts of the kernel that have often been broken
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
"""System calls that are refused, with their numbers on x86-64 and AArch64."""


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


def hide_memory() -> None:
    """Keep this process's memory and descriptors from other processes of its user; raises `JailError`."""
    _prctl(ctypes.CDLL(None, use_errno=True), _PR_SET_DUMPABLE, 0)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _install_filter(libc: ctypes.CDLL) -> None:
    if platform.machine() not in _ARCHES:
        raise JailError(f"no system call filter for {platform.machine()}")
    program = _program(*_ARCHES[platform.machine()], os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


def _program(column: int, arch: int, pid: int) -> list[_Instruction]:
    """Another ABI kills; denied calls get EPERM; clone makes threads only, and signals and limits reach this process only."""
    denied = [numbers[column] for numbers in _DENIED.values()]
    return [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL_PROCESS),
        *(
            step
            for call in denied
            if call is not None
            for step in ((_JUMP_EQUAL, 0, 1, call), (_RETURN, 0, 0, _EPERM))
        ),
        # clone3 hides its flags behind a pointer; without it libraries use clone.
        (_JUMP_EQUAL, 0, 1, _CLONE3[column]),
        (_RETURN, 0, 0, _ENOSYS),
        *_only_if(_CLONE[column], (_JUMP_ANY_BIT, _CLONE_THREAD)),
        *(step for call in _SIGNALS for step in _only_if(call[column], (_JUMP_EQUAL, pid))),
        *_only_if(_PRLIMIT64[column], (_JUMP_EQUAL, 0), (_JUMP_EQUAL, pid)),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _only_if(call: int, *tests: tuple[int, int]) -> list[_Instruction]:
    """Allow `call` if its first argument passes one of `tests` (jump code, operand), else EPERM; leave others be."""
    steps: list[_Instruction] = [(_LOAD, 0, 0, _OFFSET_ARG0)]
    for index, (code, operand) in enumerate(tests):
        last = index == len(tests) - 1
        steps.append((code, len(tests) - 1 - index, 1 if last else 0, operand))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM)]
    return [(_JUMP_EQUAL, 0, len(steps), call), *steps]


def _prctl(libc: ctypes.CDLL, option: int, argument: int, pointer: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(argument), ctypes.c_void_p(pointer), zero, zero) != 0:
        raise JailError(f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}")
