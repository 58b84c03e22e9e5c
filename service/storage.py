"""The files of builds: uploads until their builds have ended, and the packages that were made of them.

What lies in the data folder follows from the database: a folder that no job needs is removed when the server starts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from verinfer.verifier.errors import CouldNotCheck

from .build_store import BuildStore
from .data_folder import DataFolder
from .errors import Refused
from .settings import Settings


def built_packages(folder: DataFolder, builds: BuildStore) -> Callable[[], Sequence[Path]]:
    """Lists the folders of the packages that were built, the oldest first; one that the operator removed is left out."""
    # A child that reads one lives elsewhere, where a relative path means something else.
    home = folder.models.absolute()
    return lambda: [path for job in builds.succeeded() if (path := home / job).is_dir()]


def is_there(folder: DataFolder) -> Callable[[str], bool]:
    """Says whether the package of a build is there."""
    return lambda job: (folder.models / job).is_dir()


def remove_upload(folder: DataFolder, job: str) -> None:
    """Remove what was uploaded for a job that has ended."""
    shutil.rmtree(folder.uploads / job, ignore_errors=True)


def sweep(folder: DataFolder, builds: BuildStore) -> None:
    """Remove what a crash has left; for the one server, before it takes uploads."""
    unfinished = builds.unfinished()
    for home, needed in (
        (folder.uploads, unfinished),
        (folder.models, unfinished.union(builds.succeeded())),
    ):
        for path in home.iterdir():
            if path.name not in needed:
                shutil.rmtree(path, ignore_errors=True)


def require_room(settings: Settings, folder: DataFolder, more: int) -> None:
    """Raise unless there is room for `more` bytes: `Refused` (``store-full``) or `CouldNotCheck` (``disk-full``)."""
    if _size(folder.uploads) + _size(folder.models) + more > settings.store_bytes:
        raise Refused("store-full")
    require_disk(settings, folder.root, more)


def require_disk(settings: Settings, path: Path, more: int) -> None:
    """Raise `CouldNotCheck` (``disk-full``) unless so many bytes leave enough of the disk free."""
    if shutil.disk_usage(path).free - more < settings.free_bytes:
        raise CouldNotCheck("disk-full", "The disk has no room for this; free some and try again.")


def _size(folder: Path) -> int:
    total = 0
    for home, _, names in os.walk(folder):
        for name in names:
            # A build may take its files away meanwhile.
            with suppress(FileNotFoundError):
                total += (Path(home) / name).stat().st_size
    return total
