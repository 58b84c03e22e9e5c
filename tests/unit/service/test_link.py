from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from verinfer.service.link import Report, ServerEnd, SupervisorEnd, make_pair


@pytest.fixture
def ends() -> Iterator[tuple[ServerEnd, SupervisorEnd]]:
    """Both ends of one line."""
    server, supervisor = make_pair()
    with server, supervisor:
        yield ServerEnd(server), SupervisorEnd(supervisor)


def test_a_wake_ends_the_wait(ends: tuple[ServerEnd, SupervisorEnd]) -> None:
    """The supervisor looks at once; without a wake it looks when its time is over."""
    server, supervisor = ends
    server.wake()
    assert supervisor.wait(60)
    assert supervisor.wait(0.01)


def test_reports_arrive_whole(ends: tuple[ServerEnd, SupervisorEnd]) -> None:
    """Each report is what was sent, one at a time."""
    server, supervisor = ends
    sent = [Report(), Report(job="j"), Report(job="j", phase="proving", progress=0.25)]
    for report in sent:
        supervisor.send(report)
    assert [server.receive() for _ in sent] == sent
    with pytest.raises(BlockingIOError):
        server.receive()


def test_neither_side_blocks_on_the_other(ends: tuple[ServerEnd, SupervisorEnd]) -> None:
    """A side that does not read costs the other nothing but the messages."""
    server, supervisor = ends
    for _ in range(10_000):
        server.wake()
        supervisor.send(Report(job="j"))


def test_the_supervisor_sees_that_the_server_is_gone(ends: tuple[ServerEnd, SupervisorEnd]) -> None:
    """The end of the line ends the wait for good."""
    server, supervisor = ends
    server.close()
    assert not supervisor.wait(60)
    supervisor.send(Report())


def test_the_server_sees_that_the_supervisor_is_gone() -> None:
    """The end of the line is no report, and waking nobody is no error."""
    mine, theirs = make_pair()
    server = ServerEnd(mine)
    theirs.send(b'{"job": null, "phase": null, "progress": 0.0}')
    theirs.shutdown(socket.SHUT_RDWR)
    theirs.close()
    assert server.receive() == Report()
    assert server.receive() is None
    server.wake()
    server.close()
