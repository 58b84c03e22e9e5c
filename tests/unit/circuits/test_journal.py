"""A search that was stopped goes on where it was; what it had found is nobody else's, and is gone when it is done."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from verinfer.circuits import calibrate
from verinfer.circuits.compile import compile_model
from verinfer.circuits.journal import Journal, open_journal
from verinfer.circuits.package import Package
from verinfer.circuits.systems import ezkl
from verinfer.circuits.systems.port import Wishes


@pytest.fixture
def searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where journals lie, in a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "verinfer" / "searches"


class Stopped(Exception):
    """What ends a search in these tests."""


def _known(journal: Journal, question: str) -> bool:
    """Whether the journal answers without asking."""

    def ask() -> int:
        raise Stopped

    try:
        journal.once("step", question, ask)
    except Stopped:
        return False
    return True


def _stop_after(*questions: str, identity: str = "model") -> None:
    def search() -> None:
        with open_journal(identity) as journal:
            for question in questions:
                journal.once("step", question, lambda: 1)
            raise Stopped

    with pytest.raises(Stopped):
        search()


@pytest.mark.usefixtures("searches")
def test_what_was_found_is_known_after_a_stop() -> None:
    """Each question is asked once, for one model; another one's findings are not taken."""
    _stop_after("a", "b")
    with open_journal("another") as journal:
        assert not journal.resumed
    with open_journal("model") as journal:
        assert journal.resumed
        assert [_known(journal, question) for question in ("a", "b", "c")] == [True, True, False]
        assert journal.once("another step", "a", lambda: 2) == 2


def test_a_search_that_ended_well_leaves_nothing(searches: Path) -> None:
    """Outputs on the owner's samples do not lie about; until then they are for their owner alone."""
    _stop_after("a")
    (path,) = searches.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert searches.stat().st_mode & 0o077 == 0
    with open_journal("model"):
        pass
    assert list(searches.iterdir()) == []


def test_a_search_may_keep_its_findings_elsewhere(searches: Path, tmp_path: Path) -> None:
    """Of a stranger's model they lie with what the stranger sent, and go with it; none are in the user's cache."""

    def search() -> None:
        with open_journal("model", folder=tmp_path) as journal:
            journal.once("step", "a", lambda: 1)
            raise Stopped

    with pytest.raises(Stopped):
        search()
    assert not searches.exists()
    (path,) = tmp_path.glob("*.jsonl")
    assert path.stat().st_mode & 0o077 == 0
    with open_journal("model", folder=tmp_path) as journal:
        assert _known(journal, "a")
    assert list(tmp_path.glob("*.jsonl")) == []


@pytest.mark.parametrize(
    "torn", [b'\n{"key": "', b"\n[]\n", b"\n3\n", b"\n\xff\n", b'\n{"key": [], "found": 1}\n']
)
def test_a_line_that_is_torn_spoils_no_other(searches: Path, torn: bytes) -> None:
    """A crash in the middle of a line costs that finding only, also for what is written after it."""
    _stop_after("a")
    (path,) = searches.iterdir()
    path.write_bytes(path.read_bytes() + torn)
    _stop_after("b")
    with open_journal("model") as journal:
        assert _known(journal, "a")
        assert _known(journal, "b")


@pytest.mark.usefixtures("searches")
def test_two_searches_at_once_do_not_share_a_file() -> None:
    """The second one remembers for itself, and takes nothing from the first."""
    _stop_after("a")
    with open_journal("model") as first, open_journal("model") as second:
        assert _known(first, "a")
        assert not second.resumed
    with open_journal("model") as third:
        assert not third.resumed


@pytest.mark.usefixtures("searches")
def test_what_is_not_worth_keeping_is_asked_again() -> None:
    """A trial proof that failed may succeed the next time."""
    with open_journal("model") as journal:
        for _ in range(2):
            asked: list[int] = []
            journal.once("proof", "a", lambda: asked.append(1), keep=lambda found: found is not None)  # noqa: B023 - called at once
            assert asked


def test_findings_that_nobody_took_up_are_removed(searches: Path) -> None:
    """After a month, when another search starts."""
    _stop_after("a")
    (path,) = searches.iterdir()
    old = time.time() - 40 * 86_400
    os.utime(path, (old, old))
    _stop_after("a", identity="another")
    assert path not in searches.iterdir()


def test_without_a_cache_a_search_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """It only cannot be resumed."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "nowhere")
    with open_journal("model") as journal:
        assert journal.once("step", "a", lambda: [1.5, None]) == [1.5, None]


def test_a_compilation_goes_on_where_it_was_stopped(
    quick: Path, quick_package: Package, tmp_path: Path, searches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No measurement is made twice but of what was out of range, the package is the same, and nothing of the search is left."""
    measured: list[dict[str, object]] = []
    screened = calibrate.screened

    def counted(wrapped: str, run_args: dict[str, object], *rest: object) -> calibrate.Fidelity | None:
        found = screened(wrapped, run_args, *rest)  # type: ignore[arg-type]  # the rest as it came
        if found is not None:
            measured.append(run_args)
        return found

    monkeypatch.setattr(calibrate, "screened", counted)

    def stop(phase: str, _share: float) -> None:
        if phase == "setup":
            raise Stopped

    with pytest.raises(Stopped):
        compile_model(quick, tmp_path / "out", srs=None, insecure_srs=True, on_progress=stop)
    assert measured
    measured.clear()
    phases: list[str] = []
    package = compile_model(
        quick,
        tmp_path / "out",
        srs=None,
        insecure_srs=True,
        on_progress=lambda phase, _share: phases.append(phase),
    )
    assert measured == []
    assert "resume" in phases
    assert package.manifest.ezkl.run_args == quick_package.manifest.ezkl.run_args
    assert list(searches.iterdir()) == []


def test_a_batch_is_another_search(quick: Path) -> None:
    """What was found of a circuit for one sample says nothing of one for two, or of one that hashes its input."""
    alone, again, together, hashed = (
        tuple(ezkl._identity(quick, wishes))  # noqa: SLF001 - a search for each would take minutes
        for wishes in (Wishes(), Wishes(), Wishes(batch=2), Wishes(inputs="hashed"))
    )
    assert alone == again
    assert len({alone, together, hashed}) == 3
