from __future__ import annotations

import pytest

from verinfer.service.jobs import FINAL, TRANSITIONS, State, sources


def test_every_state_is_in_the_table() -> None:
    """No state is without an entry, so none can be reached that nothing is known about."""
    assert set(TRANSITIONS) == set(State)


def test_final_states_are_left_by_nothing() -> None:
    """A job that ended stays as it ended."""
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED} == FINAL


@pytest.mark.parametrize(
    ("state", "before"),
    [
        (State.QUEUED, ()),
        (State.RUNNING, (State.QUEUED, State.RUNNING)),
        (State.SUCCEEDED, (State.RUNNING,)),
        (State.FAILED, (State.RUNNING,)),
        (State.CANCELLED, (State.QUEUED, State.RUNNING)),
    ],
)
def test_what_may_precede_a_state(state: State, before: tuple[State, ...]) -> None:
    """Nothing succeeds or fails that was not running, and a running job may be leased again after a crash."""
    assert sources(state) == before
