"""Calls into the native modules, each in a limited child with a directory of its own."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.verifier import child
from verinfer.verifier.child import Cancelled, ChildFailed
from verinfer.verifier.errors import Malformed
from verinfer.verifier.jail import GIB, Limits

from . import kernels
from .worker import MODULE as SUMCHECK
from .worker import KeyFiles, Worker

EZKL = "verinfer.circuits._ezkl"
ONNX = "verinfer.circuits._onnx"
SIMULATE = "verinfer.circuits._simulate"
READING = "verinfer.circuits.sumcheck._reading"


_VERDICTS = ("model-refused", "model-unsupported", "sample-malformed")
"""Codes with which `_onnx` and `_reading` say that a file is bad; every other failure says that it could not find out."""


_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of a container: cgroup v2, and v1."""


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container that this runs in."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" where there is no limit
            whole = min(whole, int(path.read_text()))
    return whole


PARSE_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=60, file_bytes=GIB, wall_seconds=60)
"""For reading a file from outside, and for small forward passes."""


def usable_memory() -> int:
    """Bytes that setup and proving may take: nine tenths of the machine's, or what this process and its children may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    most = machine_memory() * 9 // 10
    return most if limit == resource.RLIM_INFINITY else min(most, limit)


def heavy_limits() -> Limits:
    """For setup and proving: most of the machine, and hours."""
    return Limits(
        memory_bytes=usable_memory(),
        cpu_seconds=86_400,
        file_bytes=64 * GIB,
        wall_seconds=43_200.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where children of one piece of work live, and who hears of them.

    `on_start` gets each child's process id before it works.
    """

    directory: Path
    limits: Limits
    on_start: Callable[[int], None] | None = None
    cancelled: Cancelled | None = None

    def ezkl(self, function: str, on_line: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """One call of `_ezkl`, whose log lines go to `on_line`, for progress only; raises `ChildFailed`."""
        return self._run(EZKL, function, arguments, on_line)

    def onnx(self, function: str, **arguments: Any) -> Any:
        """One call of `_onnx`; raises `Malformed` (``model-refused``, ``sample-malformed``) or `ChildFailed`."""
        return self._judged(ONNX, function, arguments)

    def stages(self, **arguments: Any) -> Any:
        """One call of `sumcheck._reading.read`; raises `Malformed` (``model-unsupported``) or `ChildFailed`."""
        return self._judged(READING, "read", arguments)

    def sumcheck(self, function: str, **arguments: Any) -> Any:
        """One call of `_sumcheck` that needs no proving key; raises `ChildFailed` or `CouldNotCheck` (``kernels-missing``)."""
        with tempfile.TemporaryDirectory(dir=self.directory) as home:
            kernels.copy_to(Path(home))
            return self._run(SUMCHECK, function, arguments, None, directory=Path(home))

    def prover(self, key: KeyFiles, function: str, **arguments: Any) -> Any:
        """One call of `_sumcheck` with this proving key, here in a worker for it alone; raises as `sumcheck`."""
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as home,
            closing(
                Worker(
                    key,
                    limits=self.limits,
                    directory=Path(home),
                    on_start=self.on_start,
                    cancelled=self.cancelled,
                )
            ) as worker,
        ):
            return worker.ask(function, cancelled=self.cancelled, **arguments)

    def _judged(self, module: str, function: str, arguments: dict[str, Any]) -> Any:
        try:
            return self._run(module, function, arguments, None)
        except ChildFailed as failure:
            if failure.code in _VERDICTS:
                raise Malformed(failure.code, failure.detail) from failure
            raise

    def simulate(self, function: str, **arguments: Any) -> Any:
        """One call of `_simulate`; raises `ChildFailed`."""
        return self._run(SIMULATE, function, arguments, None)

    def _run(
        self,
        module: str,
        function: str,
        arguments: dict[str, Any],
        on_line: Callable[[str], None] | None,
        directory: Path | None = None,
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
            directory=directory or self.directory,
            on_start=self.on_start,
            on_line=on_line,
            cancelled=self.cancelled,
        )
