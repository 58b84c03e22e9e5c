from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from verinfer.service.groups import Groups, identity


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads its own group and does nothing."""
    process = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_recorded_group_is_killed(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """What a dead supervisor left behind ends before anything else begins."""
    Groups(tmp_path).record(sleeper.pid)
    assert Groups(tmp_path).kill_leftovers() == 1
    assert sleeper.wait(timeout=5) == -9
    assert list(tmp_path.iterdir()) == []


def test_the_records_of_ended_groups_are_dropped(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """Between jobs only those that stand by stay written down."""
    groups = Groups(tmp_path)
    groups.record(sleeper.pid)
    groups.record(os.getpid())
    groups.forget(but={sleeper.pid})
    assert [path.name for path in tmp_path.iterdir()] == [str(sleeper.pid)]


def test_another_process_with_the_same_id_lives(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """A process id that was used again belongs to somebody else."""
    own = identity(os.getpid())
    assert own is not None
    (tmp_path / str(sleeper.pid)).write_text(own)
    assert Groups(tmp_path).kill_leftovers() == 0
    assert sleeper.poll() is None


def test_a_process_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    """Neither when it is written down nor when it should be killed."""
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    Groups(tmp_path).record(ended.pid)
    (tmp_path / str(ended.pid)).write_text("some boot 123")
    assert Groups(tmp_path).kill_leftovers() == 0
    assert list(tmp_path.iterdir()) == []
