"""Children that stand by: started between jobs, so that nobody who waits for a proof waits for them.

For EZKL each has its native module imported and is for one call of the next proof: to start Python and to import EZKL takes
longer than a small circuit's forward pass, and a proof takes three of them. It answers once and ends.
For verinfer-sc/1 each is a worker with one package's proving key, and lives on: its proofs take milliseconds, its start seconds.
A child from here is confined, alone in its directory, and written down in `groups`, before it is asked anything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from verinfer.circuits.native import EZKL, Workplace
from verinfer.circuits.worker import KeyFiles, Worker
from verinfer.verifier.child import Cancelled, Child, ChildFailed
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.ezkl_proof import VERIFY_LIMITS, EzklCheck
from verinfer.verifier.jail import Limits
from verinfer.verifier.proof_systems import SYSTEMS, ProofSystem

from .groups import Groups

CHECK = "verinfer.verifier._ezkl"

MOST_WORKERS = 4
"""Proving keys that are kept at once; each takes the memory of a proof."""

_Taken = tuple[Child, tempfile.TemporaryDirectory[str]]
_Keeping = tuple[Worker, tempfile.TemporaryDirectory[str]]


class Standby:
    """The children of one proof, in waiting, and workers; gives a fresh one where none waits.

    The thread that makes and uses it must live as long as it does (see `Child`).
    """

    def __init__(self, folder: Path, limits: Limits, groups: Groups) -> None:
        # A child lives in its own directory, where a relative path means something else.
        self._folder = folder.absolute()
        self._groups = groups
        self._limits = {EZKL: limits, CHECK: VERIFY_LIMITS}
        self._waiting: dict[str, list[_Taken]] = {EZKL: [], CHECK: []}
        self._taken: list[_Taken] = []
        self._workers: dict[KeyFiles, _Keeping] = {}
        self._given_up: set[KeyFiles] = set()

    def refill(self, passes: int = 1) -> None:
        """Start what is missing for so many forward passes, a proof, and its verification by EZKL; for between jobs."""
        # What cannot be started now is started when it is taken, and then it is told why it cannot.
        with suppress(OSError):
            for module, wanted in ((EZKL, passes + 1), (CHECK, 1)):
                while len(self._waiting[module]) < wanted:
                    self._waiting[module].append(self._start(module))

    def load(self, keys: Sequence[KeyFiles]) -> None:
        """Start the workers of these proving keys that are missing, as long as there is room; for between jobs."""
        for key in keys:
            full = len(self._workers) >= MOST_WORKERS and key not in self._workers
            if full or key in self._given_up or self._lives(key):
                continue
            try:
                self.worker(key)
            except (CouldNotCheck, OSError):
                # A job that wants it tries again, and is told why it cannot be.
                self._given_up.add(key)

    def worker(self, key: KeyFiles, cancelled: Cancelled | None = None) -> Worker:
        """The worker with this proving key; raises as `Worker`."""
        if self._lives(key):
            # The last one in the table is the last that is ended to make room.
            self._workers[key] = self._workers.pop(key)
            return self._workers[key][0]
        self._end_worker(key)
        while len(self._workers) >= MOST_WORKERS:
            self._end_worker(next(iter(self._workers)))
        directory = tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True)
        with ExitStack() as undo:
            undo.callback(directory.cleanup)
            worker = Worker(
                key,
                limits=self._limits[EZKL],
                directory=Path(directory.name),
                on_start=self._groups.record,
                cancelled=cancelled,
            )
            undo.pop_all()
        self._workers[key] = worker, directory
        self._given_up.discard(key)
        return worker

    def take(self, module: str) -> _Taken:
        """A child that has imported `module`, or will have, and its directory; `clear` closes both.

        Raises OSError where no child can be started.
        """
        waiting = self._waiting[module]
        while waiting:
            self._taken.append(waiting.pop(0))
            if self._taken[-1][0].lives:
                return self._taken[-1]
        self._taken.append(self._start(module))
        return self._taken[-1]

    def clear(self) -> None:
        """End and forget what was taken; for the end of a job, when nobody waits for it any more."""
        _end(self._taken)
        living = {child.pid for waiting in self._waiting.values() for child, _ in waiting}
        self._groups.forget(but=living | {worker.pid for worker, _ in self._workers.values() if worker.lives})

    def close(self) -> None:
        """End all of them."""
        for waiting in self._waiting.values():
            self._taken += waiting
            waiting.clear()
        for key in list(self._workers):
            self._end_worker(key)
        self.clear()

    def checks(self) -> Mapping[str, ProofSystem]:
        """The checks of proofs by kind of evidence, EZKL's with children from here."""
        return {**SYSTEMS, EZKL_KIND: EzklCheck(_Checkers(self))}

    def _lives(self, key: KeyFiles) -> bool:
        return key in self._workers and self._workers[key][0].lives

    def _end_worker(self, key: KeyFiles) -> None:
        if (keeping := self._workers.pop(key, None)) is not None:
            worker, directory = keeping
            worker.close()
            directory.cleanup()

    def _start(self, module: str) -> _Taken:
        directory = tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True)
        with ExitStack() as undo:
            undo.callback(directory.cleanup)
            child = Child(module, limits=self._limits[module], directory=Path(directory.name))
            undo.callback(child.close)
            self._groups.record(child.pid)
            undo.pop_all()
        return child, directory


@dataclass(frozen=True, slots=True)
class _Checkers:
    """Gives the children that verify; see `verinfer.verifier.ezkl_proof.Children`."""

    standby: Standby

    @contextmanager
    def child(self) -> Iterator[tuple[Child, Path]]:
        """A child and its directory, which the standby closes."""
        child, directory = self.standby.take(CHECK)
        yield child, Path(directory.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPlace(Workplace):
    """A workplace whose children stand by; they live in directories of their own, and EZKL's work on files in `directory`."""

    standby: Standby

    def ezkl(self, function: str, on_line: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """One call of `_ezkl`; raises `ChildFailed`."""
        plain = {
            name: str(value.absolute()) if isinstance(value, Path) else value
            for name, value in arguments.items()
        }
        child, _ = self.standby.take(EZKL)
        return child.call(function, plain, on_line=on_line, cancelled=self.cancelled)

    def prover(self, key: KeyFiles, function: str, **arguments: Any) -> Any:
        """One call of the worker that keeps this proving key; raises as `Worker`."""
        ask = partial(self._ask, key, function, **arguments)
        try:
            return ask()
        except ChildFailed as error:
            if (error.code, function) != ("child-killed", "forward"):
                raise
        # With a job's first question it may show that a worker was killed while it waited, which is not the job's fault.
        return ask()

    def _ask(self, key: KeyFiles, function: str, **arguments: Any) -> Any:
        worker = self.standby.worker(key, self.cancelled)
        return worker.ask(function, cancelled=self.cancelled, **arguments)


def _end(children: list[_Taken]) -> None:
    while children:
        child, directory = children.pop()
        child.close()
        directory.cleanup()
