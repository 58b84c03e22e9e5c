"""The process groups that prove, written down, so that the ones of a dead supervisor are killed before work goes on.

One small file per group, named by its leader's process id; it holds what tells that process from a later one with its id.
Source: proc(5), field 22 of /proc/PID/stat.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container
from contextlib import suppress
from pathlib import Path


def identity(pid: int) -> str | None:
    """What tells this process from any other that had or will have its id; None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The second field is the program's name in parentheses and may hold anything; the start time is field 22.
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"


class Groups:
    """The groups in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, pid: int) -> None:
        """Write down the group that `pid` leads."""
        started = identity(pid)
        if started is not None:
            (self._folder / str(pid)).write_text(started, encoding="ascii")

    def forget(self, *, but: Container[int] = ()) -> None:
        """Drop every record but those of the groups `but`; for when no other child lives."""
        for path in self._folder.iterdir():
            if int(path.name) not in but:
                path.unlink()

    def kill_leftovers(self) -> int:
        """Kill every recorded group whose leader still is the process that was recorded; says how many."""
        killed = 0
        for path in self._folder.iterdir():
            pid = int(path.name)
            if identity(pid) == path.read_text(encoding="ascii"):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                    killed += 1
        self.forget()
        return killed
