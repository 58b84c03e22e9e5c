"""Files that are never half-written, and reads with a limit.

A file is written aside, read back, compared, fsynced and renamed, since a full disk is not always reported where it happens.
What only lives as long as a job or a verification (`write_scratch`) need not outlive a power cut, so nobody waits for the disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from .errors import CouldNotCheck, Malformed, UsageError

PRIVATE = 0o600
PUBLIC = 0o644


def read(path: Path, *, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; raises `CouldNotCheck` or `Malformed` (``too-large``)."""
    with _open(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Malformed("too-large", f"{path} is larger than {limit} bytes.")
    return data


def write_atomically(path: Path, data: bytes, *, mode: int = PUBLIC) -> None:
    """Make `path` hold exactly `data`, or leave it as it was.

    Raises `CouldNotCheck` (``disk-full``, ``not-writable``, ``artifact-torn``).
    """
    with naming_trouble(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.chmod(mode)
            publish(aside, path, hashlib.sha256(data).hexdigest())
        finally:
            aside.unlink(missing_ok=True)


def write_scratch(path: Path, data: bytes) -> None:
    """Write a file for this process's own children: private, read back, not kept through a power cut.

    Raises `CouldNotCheck` (``disk-full``, ``not-writable``, ``artifact-torn``).
    """
    with naming_trouble(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "wb") as file:
            file.write(data)
        if path.read_bytes() != data:
            raise CouldNotCheck("artifact-torn", f"{path} was not written whole; is the disk full?")


def make_folder(path: Path) -> None:
    """Make a folder and those it lies in, where they are missing; raises `CouldNotCheck` like `write_atomically`."""
    with naming_trouble(path):
        path.mkdir(parents=True, exist_ok=True)


def write_new(path: Path, data: bytes) -> None:
    """Make the file `path`, which must not be there: it never replaces one; raises FileExistsError or another OSError."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def publish(aside: Path, path: Path, digest: str) -> None:
    """Rename `aside` to `path` after reading it back: its SHA-256 must be `digest`."""
    if digest_of(aside) != digest:
        raise CouldNotCheck("artifact-torn", f"{path} was not written whole; is the disk full?")
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.replace(path)
    _sync_folder(path.parent)


def publish_folder(aside: Path, path: Path) -> None:
    """Rename the folder `aside`, whose files are synced, to `path`.

    Raises `UsageError` (``exists``) if there is something already, `CouldNotCheck` (``disk-full``, ``not-writable``).
    """
    with naming_trouble(path):
        for folder in (aside, *(each for each in aside.rglob("*") if each.is_dir())):
            _sync_folder(folder)
        try:
            aside.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise UsageError("exists", f"{path} exists; remove it, or choose another place.") from error
        _sync_folder(path.parent)


def digest_of(path: Path) -> str:
    """The SHA-256 of a regular file of any size, as hex; raises `CouldNotCheck` (``file-missing``)."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _open(path: Path) -> Iterator[BufferedReader]:
    """A regular file for reading: a pipe or a device in a folder from a stranger would keep its reader for ever."""
    try:
        if not path.is_file():
            raise CouldNotCheck("file-missing", f"{path} is not there, or no regular file.")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CouldNotCheck("file-missing", f"{path}: {error.strerror or error}.") from error


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, for what is moved there when it is whole; gone at the end.

    Raises `CouldNotCheck` (``disk-full``, ``not-writable``) where there is no room beside `path`.
    """
    with naming_trouble(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    with aside as name:
        yield Path(name)


@contextmanager
def naming_trouble(path: Path) -> Iterator[None]:
    """Give what the system says against writing `path` a code."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CouldNotCheck(
                "disk-full", f"No space left to write {path}; free some and try again."
            ) from error
        raise CouldNotCheck("not-writable", f"{path}: {error.strerror or error}.") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
