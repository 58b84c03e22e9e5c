"""Answers by onnxruntime in fp32: one jailed, long-lived worker process per package, started when first asked.

Takes tensors by name, gives the outputs and the runtime's version as the worker names it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from verinfer.circuits.native import ONNX
from verinfer.circuits.package import Package
from verinfer.verifier import numbers
from verinfer.verifier.child import Child, ChildFailed
from verinfer.verifier.jail import GIB, Limits

from .errors import Refused

_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=86_400, file_bytes=1 << 20, wall_seconds=0)
"""A worker's; it is replaced when its CPU time is used up. Each question has its own wall time."""

Values = Mapping[str, Sequence[float | int]]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the model gave, and what computed it."""

    runtime: str
    values: Values


class Workers:
    """The workers of all packages; close it when done."""

    def __init__(self, folder: Path, *, seconds: float, queue_limit: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self._queue_limit = queue_limit
        self._workers: dict[str, _Worker] = {}
        self._waiting = 0

    async def infer(self, package: Package, inputs: Values) -> Outputs:
        """One answer; raises `ChildFailed` or `Refused` (``queue-full``, ``output-not-finite``)."""
        if self._waiting >= self._queue_limit:
            raise Refused("queue-full")
        worker = self._workers.get(package.digest)
        if worker is None:
            worker = self._workers[package.digest] = _Worker(package, self._folder, self._seconds)
        self._waiting += 1
        try:
            return await worker.infer(inputs)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers.values():
            worker.close()


class _Worker:
    """One process, and the one thread that starts and asks it: a child dies with the thread that started it."""

    def __init__(self, package: Package, folder: Path, seconds: float) -> None:
        self._package = package
        self._seconds = seconds
        self._directory = tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fp32")
        self._child: Child | None = None
        self._runtime = ""

    async def infer(self, inputs: Values) -> Outputs:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._infer, inputs)

    def _infer(self, inputs: Values) -> Outputs:
        manifest = self._package.manifest
        question: dict[str, dict[str, Any]] = {
            tensor.name: {
                "value": numbers.encode(inputs[tensor.name], tensor.dtype),
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
            }
            for tensor in manifest.tensors("input")
        }
        answer = self._ask("infer", {"inputs": question, "samples": manifest.samples})
        values = {
            tensor.name: numbers.decode(answer[tensor.name], tensor.dtype)
            for tensor in manifest.tensors("output")
        }
        for name, items in values.items():
            if not all(isfinite(item) for item in items):
                raise Refused("output-not-finite", field=name)
        return Outputs(self._runtime, values)

    def _ask(self, function: str, arguments: dict[str, Any]) -> Any:
        child = self._child or self._start()
        try:
            return child.ask(function, arguments, seconds=self._seconds)
        except ChildFailed as failure:
            if failure.code != "child-refused":
                child.close()
                self._child = None
            raise

    def _start(self) -> Child:
        child = Child(ONNX, limits=_LIMITS, directory=Path(self._directory.name))
        try:
            model = str(self._package.path("network.onnx"))
            self._runtime = child.ask("load", {"model": model}, seconds=self._seconds)
        except BaseException:
            child.close()
            raise
        self._child = child
        return child

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._directory.cleanup()
