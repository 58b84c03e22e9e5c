"""Files that are read and written for people: whole, private where they should be, with a code where it does not go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from verinfer.verifier import files
from verinfer.verifier.errors import CouldNotCheck, UsageError


@pytest.mark.parametrize(
    "read", [files.digest_of, lambda path: files.read(path, limit=100)], ids=["digest", "read"]
)
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device"])
def test_only_regular_files_are_read(read: Callable[[Path], object], kind: str, tmp_path: Path) -> None:
    """A pipe in a folder from a stranger would keep its reader for ever, and a device would feed it for ever."""
    path = tmp_path / "file"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(CouldNotCheck) as caught:
        read(path)
    assert caught.value.code == "file-missing"
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_atomically(path, b"new"),
        lambda path: files.write_scratch(path, b"new"),
        files.make_folder,
    ],
    ids=["atomically", "scratch", "folder"],
)
def test_where_nothing_can_be_written_a_code_says_so(write: Callable[[Path], object], tmp_path: Path) -> None:
    """With the place, so that somebody can do something about it."""
    (tmp_path / "file").write_bytes(b"old")
    path = tmp_path / "file" / "below"
    with pytest.raises(CouldNotCheck) as caught:
        write(path)
    assert caught.value.code == "not-writable"
    assert str(path) in caught.value.message
    assert (tmp_path / "file").read_bytes() == b"old"


def test_scratch_files_are_private_and_replaced(tmp_path: Path) -> None:
    """They may hold a client's input."""
    path = tmp_path / "scratch"
    for data in (b"longer than the next", b"short"):
        files.write_scratch(path, data)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o077 == 0


def test_a_folder_aside_is_gone_at_the_end(tmp_path: Path) -> None:
    """Beside its target, whose parents are made; however it ends."""
    target = tmp_path / "new" / "package"

    def work() -> None:
        with files.folder_aside(target) as aside:
            assert aside.parent == target.parent
            (aside / "part").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(target.parent.iterdir()) == []


def test_a_folder_is_published_once(tmp_path: Path) -> None:
    """Whole, and never over another one, which stays as it was."""
    for name in ("first", "second"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "file").write_text(name)
    files.publish_folder(tmp_path / "first", tmp_path / "out")
    with pytest.raises(UsageError, match="exists"):
        files.publish_folder(tmp_path / "second", tmp_path / "out")
    assert (tmp_path / "out" / "below" / "file").read_text() == "first"
    with pytest.raises(CouldNotCheck, match="not-writable"):
        files.publish_folder(tmp_path / "second", tmp_path / "out" / "below" / "file" / "x")
