"""Calls into the native modules, each in a limited child with a directory of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.verifier import child
from verinfer.verifier.child import Cancelled, ChildFailed
from verinfer.verifier.errors import Malformed
from verinfer.verifier.jail import GIB, Limits

EZKL = "verinfer.circuits._ezkl"
ONNX = "verinfer.circuits._onnx"
SIMULATE = "verinfer.circuits._simulate"


_VERDICTS = ("model-refused", "model-unsupported", "sample-malformed")
"""Codes with which `_onnx` says that a file is bad; every other failure says that it could not find out."""


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


PARSE_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=60, file_bytes=GIB, wall_seconds=60)
"""For reading a file from outside, and for small forward passes."""


def heavy_limits() -> Limits:
    """For setup and proving: most of the machine, and hours."""
    return Limits(
        memory_bytes=machine_memory() * 9 // 10,
        cpu_seconds=86_400,
        file_bytes=64 * GIB,
        wall_seconds=43_200.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where children of one piece of work live, and who hears of them.

    `on_start` gets each child's process id before it works; `on_line` its log lines, for progress only.
    """

    directory: Path
    limits: Limits
    on_start: Callable[[int], None] | None = None
    cancelled: Cancelled | None = None

    def ezkl(self, function: str, on_line: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """One call of `_ezkl`; raises `ChildFailed`."""
        return self._run(EZKL, function, arguments, on_line)

    def onnx(self, function: str, **arguments: Any) -> Any:
        """One call of `_onnx`; raises `Malformed` (``model-refused``, ``sample-malformed``) or `ChildFailed`."""
        try:
            return self._run(ONNX, function, arguments, None)
        except ChildFailed as failure:
            if failure.code in _VERDICTS:
                raise Malformed(failure.code, failure.detail) from failure
            raise

    def simulate(self, function: str, **arguments: Any) -> Any:
        """One call of `_simulate`; raises `ChildFailed`."""
        return self._run(SIMULATE, function, arguments, None)

    def _run(
        self, module: str, function: str, arguments: dict[str, Any], on_line: Callable[[str], None] | None
    ) -> Any:
        # A child lives in its own directory, where a relative path means something else.
        plain = {
            name: str(value.absolute()) if isinstance(value, Path) else value
            for name, value in arguments.items()
        }
        return child.run(
            module,
            function,
            plain,
            limits=self.limits,
            directory=self.directory,
            on_start=self.on_start,
            on_line=on_line,
            cancelled=self.cancelled,
        )
