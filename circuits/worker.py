"""A jailed process that keeps one circuit's proving key of verinfer-sc/1, and proves with it, one input after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.verifier.child import Cancelled, Child, ChildFailed
from verinfer.verifier.jail import Limits

from . import kernels

MODULE = "verinfer.circuits._sumcheck"

_CPU_SECONDS = 1 << 30
"""No limit for a worker that proves for years; each question has its own wall time."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """What a proving key is made of: D, its integer weights, and the root that both must give."""

    description: Path
    weights: Path
    root: str


class Worker:
    """One such process, in `directory`, which is its own; close it when done.

    The thread that starts it must live as long as it does (see `Child`).
    """

    def __init__(
        self,
        key: KeyFiles,
        *,
        limits: Limits,
        directory: Path,
        on_start: Callable[[int], None] | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        """`on_start` gets its process id first; raises `ChildFailed`, `CouldNotCheck` (``kernels-missing``) or OSError."""
        self._seconds = limits.wall_seconds
        self._closed = False
        kernels.copy_to(directory)
        self._child = Child(MODULE, limits=limits._replace(cpu_seconds=_CPU_SECONDS), directory=directory)
        try:
            if on_start is not None:
                on_start(self._child.pid)
            files = {"description": key.description, "weights": key.weights}
            arguments = {name: str(path.absolute()) for name, path in files.items()}
            self.ask("load", cancelled=cancelled, **arguments, root=key.root)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group."""
        return self._child.pid

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return not self._closed and self._child.lives

    def ask(self, function: str, *, cancelled: Cancelled | None = None, **arguments: Any) -> Any:
        """One call of `_sumcheck`; raises `ChildFailed`, and then the worker has ended.

        Whatever went wrong, its memory may be anything: the next one starts afresh.
        """
        try:
            return self._child.ask(function, arguments, seconds=self._seconds, cancelled=cancelled)
        except ChildFailed:
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._child.close()
