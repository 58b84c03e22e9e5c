from __future__ import annotations

from pathlib import Path

import pytest

from verinfer.service.demo import fresh_data
from verinfer.service.errors import Refused
from verinfer.verifier.errors import UsageError


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A demo in a checkout, which has a folder ``service`` too, removes nothing."""
    source = tmp_path / "service" / "app.py"
    source.parent.mkdir()
    source.write_text("")
    with pytest.raises(UsageError, match="exists"):
        fresh_data(tmp_path)
    assert source.exists()
    assert list(tmp_path.iterdir()) == [source.parent]


def test_a_demo_starts_over(tmp_path: Path) -> None:
    """The service's state of an earlier demo, or of one that was interrupted, is not used again."""
    left = fresh_data(tmp_path / "new" / "out") / "verinfer.db"
    left.write_text("")
    data = fresh_data(tmp_path / "new" / "out")
    assert not left.exists()
    assert data.stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A code instead of a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="data-dir-unusable"):
        fresh_data(tmp_path / "file" / "out")
