"""Starts measured children: a fresh process for every step, one after the other, each with a hard time limit.

EZKL's proving call can wait for itself for ever, so no step is without one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.circuits.native import heavy_limits
from verinfer.verifier.child import ChildFailed

STEP_SECONDS = 1800.0
_PROGRAM = Path(__file__).with_name("ezkl_step.py")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the bare call, and the most memory that its process held."""

    seconds: float
    peak_bytes: int


def run(function: str, home: Path, *, limit: float = STEP_SECONDS, **arguments: Path | bool) -> Cost:
    """One step in a process of its own; raises `ChildFailed` (``child-out-of-time``, ``child-refused``, ``child-no-answer``)."""
    answer = home / f"{function}.answer"
    answer.unlink(missing_ok=True)
    with (home / f"{function}.log").open("wb") as log:
        try:
            subprocess.run(
                _command(function, answer, arguments),
                stdout=log, stderr=log, env=_environment(home), timeout=limit, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ChildFailed(
                "child-out-of-time", f"EZKL's {function} took more than {limit:.0f} s."
            ) from error
    if not answer.exists():
        raise ChildFailed("child-no-answer", f"EZKL's {function} ended without an answer.")
    said: dict[str, Any] = json.loads(answer.read_text())
    if "failed" in said:
        raise ChildFailed("child-refused", f"EZKL's {function} failed: {said['failed']}")
    return Cost(said["seconds"], said["peak_bytes"])


def forward_all(
    compiled: Path, inputs: Sequence[Any], home: Path, *, limit: float
) -> list[dict[str, Any] | None]:
    """What `ezkl_step.forward` says of each input, in as many processes as there are cores; None where the time was over.

    Raises `ChildFailed` (``child-aborted``) if EZKL takes its process down.
    Only for accuracy, which does not depend on what else the machine does: nothing here is timed.
    """
    cores = len(os.sched_getaffinity(0))
    started: list[tuple[Path, subprocess.Popen[bytes]]] = []
    try:
        for number in range(cores):
            data, results = home / f"forward.{number}.inputs", home / f"forward.{number}.results"
            data.write_text(json.dumps(inputs[number::cores]))
            arguments = {"compiled": compiled, "inputs": data, "results": results}
            command = _command("forward", home / f"forward.{number}.answer", arguments)
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(home)
            )
            started.append((results, process))
        found: list[dict[str, Any] | None] = [None] * len(inputs)
        deadline = time.monotonic() + limit
        for number, (results, process) in enumerate(started):
            try:
                ended_well = process.wait(timeout=max(deadline - time.monotonic(), 0)) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                ended_well = True
            if not ended_well:
                raise ChildFailed("child-aborted", "EZKL ended its process in a forward pass.")
            lines = results.read_text().splitlines() if results.exists() else []
            # The last line may have been cut by the time limit.
            whole = [json.loads(line) for line in lines if line.endswith("}")]
            found[number::cores] = [*whole, *[None] * (len(inputs[number::cores]) - len(whole))]
        return found
    finally:
        for _, process in started:
            process.kill()
            process.wait()


def _command(function: str, answer: Path, arguments: Mapping[str, Path | bool]) -> list[str]:
    request = {
        "function": function,
        "arguments": {
            name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()
        },
        "answer": str(answer),
        "limits": heavy_limits()._asdict(),
        "parent": os.getpid(),
    }
    return [sys.executable, "-P", str(_PROGRAM), json.dumps(request)]


def _environment(home: Path) -> dict[str, str]:
    # What a user has who sets nothing; but never the caller's files.
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "EZKL_REPO_PATH": str(home),
    }
