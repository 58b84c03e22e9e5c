"""Landlock: which files a process may reach, and that it cannot look into or signal others, by the kernel's own rules.

Takes paths; restricts the calling thread and all that it starts later, for good.
It works without privileges, against root too, from Linux 5.13; `version` says what the running kernel offers.
Sources: landlock(7), linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_QUERY_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_FOLDER = 1 << 3
_REMOVE = 1 << 4 | 1 << 5
_MAKE_FOLDER, _MAKE_FILE = 1 << 7, 1 << 8
_TRUNCATE = 1 << 14
# Up to: execute … make symbolic links; rename between folders; truncate; control devices.
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_ALL_NET_RIGHTS = 0b11  # bind and connect TCP, from version 4
_ALL_SCOPES = 0b11  # abstract sockets and signals, from version 6

_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
READ = _READ_FILE | _READ_FOLDER
RUN = READ | _EXECUTE
"""For the one program that a process is to become, and what loads it."""
WRITE = READ | _WRITE_FILE | _TRUNCATE | _REMOVE | _MAKE_FOLDER | _MAKE_FILE
"""All that needs doing with plain files; no links, devices, sockets or pipes."""


def version() -> int:
    """The version of Landlock that this kernel offers to this process; 0 for none."""
    answer: int = _libc().syscall(
        ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_QUERY_VERSION)
    )
    return max(answer, 0)


def restrict(rights: Iterable[tuple[str, int]]) -> None:
    """Leave this thread only these paths, each with `READ`, `RUN` or `WRITE`, and what lies beneath; raises OSError.

    Besides, it cannot look into other processes, open TCP ports, nor, from version 6, reach others by signals or abstract
    sockets. A path that is not there is passed over.
    """
    newest = version()
    handled = _ALL_FILE_RIGHTS[max(known for known in _ALL_FILE_RIGHTS if known <= newest)]
    # struct landlock_ruleset_attr { u64 handled_access_fs, handled_access_net, scoped }
    attributes = struct.pack(
        "=QQQ", handled, _ALL_NET_RIGHTS if newest >= 4 else 0, _ALL_SCOPES if newest >= 6 else 0
    )
    ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path, wanted in rights:
            _add(ruleset, path, wanted & handled)
        _call(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _add(ruleset: int, path: str, wanted: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            wanted &= _OF_FILES
        # struct landlock_path_beneath_attr { u64 allowed_access; s32 parent_fd } packed
        rule = struct.pack("=Qi", wanted, descriptor)
        _call(_ADD_RULE, ruleset, ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    libc = _libc()
    answer: int = libc.syscall(ctypes.c_long(number), *arguments)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer
