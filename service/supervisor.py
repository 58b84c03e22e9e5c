"""The supervisor: a process of its own that leases jobs and has them worked off in other processes.

Started by `supervision`; it dies with the HTTP process, and its children with it (parent-death signals, and the end of file
on their line). Proving holds the GIL of the child, never this one's, so heartbeats go on.
First of all it kills what a dead supervisor may have left.
"""

from __future__ import annotations

import logging
import shutil
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from verinfer.verifier import keys
from verinfer.verifier.jail import JailError, hide_memory

from . import logs, storage
from .build_store import BuildStore
from .builds import Builds
from .catalogue import open_catalogue
from .data_folder import DataFolder, lock
from .database import Database
from .groups import Groups
from .job_store import JobStore
from .lanes import Lane
from .lifeline import die_with_parent
from .link import Report, SupervisorEnd
from .proofs import EzklProofs, SumcheckProofs
from .settings import Settings

_log = logging.getLogger("verinfer.service.supervisor")  # this module runs as __main__


def run(settings: Settings, store: JobStore, end: SupervisorEnd, lanes: list[Lane[Any]]) -> None:
    """Let the lanes work until the server is gone."""
    folder = DataFolder(settings.data)
    written_down = (folder.groups, folder.provers, folder.builders)
    killed = sum(Groups(groups).kill_leftovers() for groups in written_down)
    if killed:
        _log.warning("killed leftover children", extra={"facts": {"groups": killed}})
    for home in (folder.work, folder.standby):
        for left in home.iterdir():
            shutil.rmtree(left)
    store.expire_leases()
    for lane in lanes:
        lane.start()
    end.send(Report())
    due = 0.0
    while end.wait(max(due - time.monotonic(), 0.0)):
        for lane in lanes:
            lane.wake()
            lane.keep_lease()
        if time.monotonic() >= due:
            end.send(Report())
            due = time.monotonic() + settings.heartbeat_seconds


def main() -> None:
    """Run as ``python -m verinfer.service.supervisor DESCRIPTOR SETTINGS``; the arguments are `supervision`'s."""
    descriptor, settings = int(sys.argv[1]), Settings.model_validate_json(sys.argv[2])
    # If the server died before this took effect, the line to it is at its end of file, which ends `run`.
    die_with_parent()
    with suppress(JailError):  # Where there is no jail, the children say so.
        hide_memory()
    logs.configure()
    folder = DataFolder(settings.data)
    # One that was killed may take a moment to die.
    with lock(folder.supervisor_lock, wait=True):
        database = Database(folder.database)
        store, builds = JobStore(database), BuildStore(database)
        catalogue = open_catalogue(settings.packages, storage.built_packages(folder, builds))
        end = SupervisorEnd(socket.socket(fileno=descriptor))
        beat = settings.heartbeat_seconds
        key = keys.read_private(folder.key)
        run(
            settings,
            store,
            end,
            [
                Lane(EzklProofs(settings, store, catalogue, key), store, end, heartbeat_seconds=beat),
                Lane(SumcheckProofs(settings, store, catalogue, key), store, end, heartbeat_seconds=beat),
                Lane(Builds(settings, builds), store, end, heartbeat_seconds=beat),
            ],
        )


if __name__ == "__main__":
    main()
