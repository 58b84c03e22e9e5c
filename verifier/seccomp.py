"""The system calls that a process confined by `jail` is refused, as a seccomp filter.

Takes the machine and the process's id, gives the filter as the kernel takes it.
Refused calls get EPERM; numbers newer than this table get ENOSYS, as from an older kernel; another ABI is killed.
Sources: seccomp(2), linux/filter.h (classic BPF), linux/seccomp.h, the kernel's system call tables.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By machine: the column of its numbers below, and its AUDIT_ARCH."""

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_EPERM = 0x00050000 | 1
_ENOSYS = 0x00050000 | 38
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16
_X32_BIT = 0x40000000

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""

_FIRST_UNKNOWN = 463
"""From here on numbers are the same on all machines, and calls were not looked at."""

DENIED: dict[str, tuple[int | None, int | None]] = {
    # other programs and processes, and leaving the process group
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # sockets, and what opens them past this filter
    "socket": (41, 198),
    "bind": (49, 200),
    "listen": (50, 201),
    "connect": (42, 203),
    "io_uring_setup": (425, 425),
    # looking into other processes, signals that name no process, and slowing others down
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    # memory and queues that other processes see, and memory that no limit counts
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # who may read a file; and files that are not what they seem to a parent that reads them
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "open_by_handle_at": (304, 265),
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
    "mount_setattr": (442, 442),
    # keys, and parts of the kernel that have often been broken
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
}
"""System calls that are always refused, with their numbers on x86-64 and AArch64."""

_CLONE, _CLONE3, _PRLIMIT64 = (56, 220), (435, 435), (302, 261)
_KILL, _TGKILL = (62, 129), (234, 131)
_SOCKETPAIR, _PRCTL, _FCNTL, _IOCTL = (53, 199), (157, 167), (72, 25), (16, 29)

_CLONE_THREAD = 0x00010000
_AF_UNIX, _SOCK_STREAM, _SOCKET_TYPE = 1, 1, 0xF

# Taking back that it dies with its parent, or that others cannot look into it.
_PRCTL_DENIED = (1, 4)  # PR_SET_PDEATHSIG, PR_SET_DUMPABLE
# Having the kernel send signals to somebody else about a descriptor.
_FCNTL_DENIED = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
# Typing into a terminal, taking one over, and the same signals again.
_IOCTL_DENIED = (0x5412, 0x540E, 0x541C, 0x8901, 0x8902)  # TIOCSTI TIOCSCTTY TIOCLINUX FIOSETOWN SIOCSPGRP


def compiled(machine: str, pid: int, *, becomes_program: bool = False) -> bytes:
    """The filter for the process `pid`: an array of ``struct sock_filter``; raises KeyError for an unknown machine.

    With `becomes_program` it may turn into another program, whichever Landlock lets it, and still start none beside itself.
    """
    column, arch = MACHINES[machine]
    calls = [name for name in DENIED if not (becomes_program and name == "execve")]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in _program(column, arch, pid, calls))


def _program(column: int, arch: int, pid: int, calls: Sequence[str]) -> list[_Instruction]:
    denied = [DENIED[name][column] for name in calls]
    return [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_JUMP_AT_LEAST, 0, 1, _FIRST_UNKNOWN),
        (_RETURN, 0, 0, _ENOSYS),
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
        *(step for call in (_KILL, _TGKILL) for step in _only_if(call[column], (_JUMP_EQUAL, pid))),
        *_only_if(_PRLIMIT64[column], (_JUMP_EQUAL, 0), (_JUMP_EQUAL, pid)),
        *_socketpair(_SOCKETPAIR[column]),
        *_unless(_PRCTL[column], 0, _PRCTL_DENIED),
        *_unless(_FCNTL[column], 1, _FCNTL_DENIED),
        *_unless(_IOCTL[column], 1, _IOCTL_DENIED),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _only_if(call: int, *tests: tuple[int, int]) -> list[_Instruction]:
    """Allow `call` if its first argument passes one of `tests` (jump code, operand), else EPERM; leave others be."""
    steps: list[_Instruction] = [_load_argument(0)]
    for index, (code, operand) in enumerate(tests):
        last = index == len(tests) - 1
        steps.append((code, len(tests) - 1 - index, 1 if last else 0, operand))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM)]
    return [(_JUMP_EQUAL, 0, len(steps), call), *steps]


def _unless(call: int, argument: int, values: Sequence[int]) -> list[_Instruction]:
    """Refuse `call` if the argument has one of `values`, else allow it; leave others be."""
    steps: list[_Instruction] = [_load_argument(argument)]
    steps += [(_JUMP_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM)]
    return [(_JUMP_EQUAL, 0, len(steps), call), *steps]


def _socketpair(call: int) -> list[_Instruction]:
    """Allow a pair of connected streams, with which libraries wake themselves: datagrams could be sent to anybody."""
    steps: list[_Instruction] = [
        _load_argument(0),
        (_JUMP_EQUAL, 0, 4, _AF_UNIX),
        _load_argument(1),
        (_AND, 0, 0, _SOCKET_TYPE),
        (_JUMP_EQUAL, 0, 1, _SOCK_STREAM),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]
    return [(_JUMP_EQUAL, 0, len(steps), call), *steps]


def _load_argument(index: int) -> _Instruction:
    """The low half: all arguments that are looked at are of 32 bits, on little-endian machines."""
    return (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 8 * index)
