from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from verinfer.service.data_folder import DataFolder, lock
from verinfer.service.database import Database
from verinfer.service.errors import Refused


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    """Nobody else sees what is in it."""
    folder = DataFolder(tmp_path / "new" / "data")
    folder.make()
    assert folder.root.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_was_there_stays_as_it_was(tmp_path: Path) -> None:
    """``--data /tmp`` must not shut everybody else out of /tmp; our own folders in it are private all the same."""
    tmp_path.chmod(0o755)
    folder = DataFolder(tmp_path)
    folder.make()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o700}


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_text("no database"), Path.mkdir, _newer],
    ids=["text", "folder", "newer"],
)
def test_a_database_that_is_not_ours_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """With a code, and left as it was."""
    path = tmp_path / "verinfer.db"
    spoil(path)
    with pytest.raises(Refused, match=r"data-dir-unusable: .*verinfer\.db"):
        Database(path).migrate()


def test_a_lock_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    """A code instead of a traceback."""
    with pytest.raises(Refused, match="data-dir-unusable"), lock(tmp_path):
        pass
