"""Targets are read as people write them, and anything else is refused with a reason."""

from __future__ import annotations

import pytest

from verinfer.circuits.targets import Targets, parse_targets, require_suitable
from verinfer.verifier.errors import UsageError


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("", Targets()),
        ("accuracy>=0.9", Targets(agreement=0.9)),
        ("accuracy >= 99%, memory <= 8GB", Targets(agreement=0.99, memory_bytes=8_000_000_000)),
        ("memory<=512MiB,time<=90s", Targets(memory_bytes=512 << 20, seconds=90.0)),
        ("error<=1%, time<=2m", Targets(error=0.01, seconds=120.0)),
        ("evm", Targets(evm=True)),
        ("accuracy>=0.995, evm", Targets(agreement=0.995, evm=True)),
    ],
)
def test_targets_are_read(text: str, targets: Targets) -> None:
    """Spaces do not matter, units do, and what is not said has its default."""
    assert targets == parse_targets(text)


@pytest.mark.parametrize(
    "text",
    [
        "accuracy",
        "accuracy<=0.9",
        "memory>=8GB",
        "memory<=8",
        "memory<=8s",
        "accuracy>=1.5",
        "accuracy>=-1",
        "accuracy>=0.9, accuracy>=0.8",
        "speed>=3",
        "evm, evm",
        "evm>=1",
        "time<=1h30m",
        "accuracy>=0.9; memory<=1GB",
        "accuracy>=nan",
        f"memory<={'9' * 400}GB",
        f"error<={'9' * 400}",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """One stable code, and a message that shows what to write."""
    with pytest.raises(UsageError) as caught:
        parse_targets(text)
    assert caught.value.code == "target-malformed"


@pytest.mark.parametrize(
    ("text", "task"), [("error<=0.01, memory<=8GB", "classification"), ("accuracy>=0.999", "regression")]
)
def test_a_target_of_the_other_task_is_refused(text: str, task: str) -> None:
    """It would be met by anything; the message says what to write instead."""
    with pytest.raises(UsageError) as caught:
        require_suitable(parse_targets(text), task)
    assert caught.value.code == "target-malformed"
    other = "regression" if task == "classification" else "classification"
    require_suitable(parse_targets(text), other)
    require_suitable(Targets(), task)
