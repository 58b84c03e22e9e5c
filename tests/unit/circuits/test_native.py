"""What a machine has to give, also inside a container."""

from __future__ import annotations

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
