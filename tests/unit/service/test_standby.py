from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from verinfer.circuits.native import EZKL, PARSE_LIMITS
from verinfer.service.groups import Groups
from verinfer.service.standby import CHECK, PreparedPlace, Standby
from verinfer.verifier.child import ChildFailed


@dataclass
class Post:
    """Children in waiting, and where they live and are written down."""

    folder: Path
    groups: Path
    standby: Standby

    def recorded(self) -> set[int]:
        """Every group that is written down."""
        return {int(path.name) for path in self.groups.iterdir()}


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    """The children of one proof, waiting."""
    folder, groups = tmp_path / "standby", tmp_path / "groups"
    folder.mkdir()
    groups.mkdir()
    standby = Standby(folder, PARSE_LIMITS, Groups(groups))
    standby.refill()
    yield Post(folder, groups, standby)
    standby.close()


def ended(pid: int) -> bool:
    """Whether a child has ended; leaves its exit status alone."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def imports(pid: int) -> str:
    """The module that a living child imports."""
    while not ended(pid):
        # A process that has just been started has no arguments yet.
        words = Path(f"/proc/{pid}/cmdline").read_text()
        for module in (EZKL, CHECK):
            if module in words:
                return module
    return ""


def test_all_children_of_one_proof_stand_by(post: Post) -> None:
    """A forward pass, a proof and its verification: each in a process and a folder of its own, and written down."""
    modules = [imports(pid) for pid in post.recorded()]
    assert sorted(modules) == sorted([EZKL, EZKL, CHECK])
    assert len(list(post.folder.iterdir())) == 3
    taken = [post.standby.take(module)[0].pid for module in modules]
    assert set(taken) == post.recorded()


def test_a_second_pass_has_a_child_too(post: Post) -> None:
    """Where inputs are hidden a proof takes two forward passes."""
    post.standby.refill(passes=2)
    living = [imports(pid) for pid in post.recorded() if not ended(pid)]
    assert sorted(living) == sorted([EZKL] * 3 + [CHECK])


def test_a_child_answers_one_call_and_ends(post: Post, tmp_path: Path) -> None:
    """The next call has another process; nothing that one call left in memory reaches the next."""
    place = PreparedPlace(directory=tmp_path, limits=PARSE_LIMITS, standby=post.standby)
    waiting = post.recorded()
    with pytest.raises(ChildFailed):
        place.ezkl("gen_srs", path=tmp_path / "missing" / "srs", logrows=2)
    place.ezkl("gen_srs", path=tmp_path / "srs", logrows=2)
    assert (tmp_path / "srs").exists()
    assert len([pid for pid in waiting if ended(pid)]) == 2
    assert post.recorded() == waiting


def test_a_job_leaves_nothing_but_what_stands_by(post: Post) -> None:
    """What was taken is ended, forgotten and removed; what was not waits for the next job."""
    before = post.recorded()
    taken = post.standby.take(EZKL)[0].pid
    post.standby.clear()
    assert ended(taken)
    assert post.recorded() == before - {taken}
    assert len(list(post.folder.iterdir())) == 2
    post.standby.refill()
    assert len(post.recorded()) == 3


def test_the_data_folder_may_be_given_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes a child hands it files in its directory by their whole path, since the child works elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "standby").mkdir()
    (tmp_path / "groups").mkdir()
    standby = Standby(Path("standby"), PARSE_LIMITS, Groups(Path("groups")))
    try:
        assert Path(standby.take(CHECK)[1].name).parent == tmp_path / "standby"
    finally:
        standby.close()


def test_a_child_that_died_in_waiting_is_not_taken(post: Post) -> None:
    """Whatever killed it, the job that comes then gets one that lives, and another when none waits any more."""
    died = {pid for pid in post.recorded() if imports(pid) == EZKL}
    for pid in died:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):
        pid = post.standby.take(EZKL)[0].pid
        assert pid not in died
        assert imports(pid) == EZKL
        assert pid in post.recorded()


def test_without_room_a_child_is_refused_when_it_is_taken(post: Post) -> None:
    """Between jobs that is nobody's failure; the job that needs the child is told."""
    for _ in range(2):
        post.standby.take(EZKL)
    post.standby.clear()
    post.folder.rename(post.folder.with_name("elsewhere"))
    post.standby.refill()
    with pytest.raises(OSError, match="standby"):
        post.standby.take(EZKL)
