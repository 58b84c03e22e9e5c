"""What a machine has to give, also inside a container."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from verinfer.circuits import native


@pytest.mark.parametrize(
    ("text", "limited"),
    [("268435456\n", True), ("max\n", False), ("9223372036854771712\n", False), ("", False)],
)
def test_a_containers_limit_is_the_machines(
    text: str, limited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it everything in the container is killed, the supervisor too."""
    whole = native.machine_memory()
    limit = tmp_path / "memory.max"
    limit.write_text(text)
    monkeypatch.setattr(native, "_CGROUP_LIMITS", (tmp_path / "none", limit))
    assert native.machine_memory() == (256 << 20 if limited else whole)
    assert native.usable_memory() < native.machine_memory()


def test_a_limit_of_this_process_is_its_childrens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that may have less than the machine's memory plans with less: its children inherit the limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1 << 20, resource.RLIM_INFINITY))
    assert native.usable_memory() == 1 << 20
    assert native.machine_memory() > 1 << 20
