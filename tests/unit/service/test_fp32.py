from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from verinfer.circuits.package import Package
from verinfer.service.errors import Refused
from verinfer.service.fp32 import Outputs, Workers
from verinfer.verifier.child import ChildFailed

INPUTS = {"habits": [0.5, -0.25, 1.0]}


def children() -> set[int]:
    """The child processes of this one that have loaded the runtime."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            stat, command = (entry / "stat").read_text(), (entry / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if b"circuits._onnx" in command and stat.rpartition(")")[2].split()[1] == str(os.getpid()):
            found.add(int(entry.name))
    return found


def test_a_worker_that_dies_is_replaced(bmi_package: Package, tmp_path: Path) -> None:
    """One process answers again and again; if it is killed one question fails, and the next gets a new one."""

    async def scenario() -> tuple[list[Outputs], list[set[int]]]:
        workers = Workers(tmp_path, seconds=30, queue_limit=10)
        try:
            answers = [await workers.infer(bmi_package, INPUTS) for _ in range(2)]
            seen = [children()]
            os.kill(next(iter(seen[0])), signal.SIGKILL)
            with pytest.raises(ChildFailed):
                await workers.infer(bmi_package, INPUTS)
            answers.append(await workers.infer(bmi_package, INPUTS))
            return answers, [*seen, children()]
        finally:
            workers.close()

    answers, (before, after) = asyncio.run(scenario())
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].runtime.startswith("onnxruntime ")
    assert (len(before), len(after), len(before & after)) == (1, 1, 0)
    assert children() == set()


def test_questions_beyond_the_limit_are_refused(bmi_package: Package, tmp_path: Path) -> None:
    """What cannot be answered soon does not pile up in memory."""

    async def scenario() -> list[object]:
        workers = Workers(tmp_path, seconds=30, queue_limit=3)
        try:
            asked = (workers.infer(bmi_package, INPUTS) for _ in range(5))
            return list(await asyncio.gather(*asked, return_exceptions=True))
        finally:
            workers.close()

    results = asyncio.run(scenario())
    assert [result.code for result in results if isinstance(result, Refused)] == ["queue-full"] * 2
    assert len([result for result in results if isinstance(result, Outputs)]) == 3
