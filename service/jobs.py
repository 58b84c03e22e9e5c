"""A job: one answer that needs a proof, or one model to build. The states, and the one table of what may follow what.

Pure: nothing here reads a clock or a disk; `job_store` applies the table inside SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from verinfer.verifier.manifest import Visibility
from verinfer.verifier.statement import Mode

Kind = Literal["prove", "build"]


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    """Stored, not leased."""
    RUNNING = "running"
    """Leased by a supervisor; after a crash it is leased again."""
    SUCCEEDED = "succeeded"
    """Its receipt is stored, or its package is served."""
    FAILED = "failed"
    """It ended with nothing made; `code` says why."""
    CANCELLED = "cancelled"
    """The client no longer wanted it."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}

FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)


def sources(state: State) -> tuple[State, ...]:
    """The states from which a job may become `state`."""
    return tuple(before for before, following in TRANSITIONS.items() if state in following)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a client asked for, validated: everything that the answer depends on."""

    model: str
    version: str
    circuit: str
    mode: Mode
    nonce: str
    audience: str | None
    inputs: dict[str, tuple[int, ...]] = field(repr=False)
    """Quantised values by tensor name, flat; of a hashed tensor its salt's limbs stand behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What an owner asked for, validated; the files lie in the job's folder of uploads (`uploads`)."""

    model: str
    version: str
    target: str
    budget: float
    """Seconds after which no more trial proofs are made."""
    batch: int
    inputs: Visibility = "public"
    """What a proof shows of them."""
    bare: bool
    """Whether there is no spec, so that the following say what it would; None where it follows from the file."""
    task: Literal["classification", "regression"] | None = None
    labels: tuple[str, ...] | None = field(default=None, repr=False)
    cut_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as stored, without its order's inputs."""

    id: str
    kind: Kind
    model: str
    version: str
    mode: Mode | None
    """Of a build there is none."""
    circuit: str | None
    """Of a build, once it has succeeded."""
    state: State
    code: str | None
    detail: str | None
    receipt_digest: str | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on a job: every write must name the token, and only the newest token writes."""

    job: str
    token: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofLease(Lease):
    """The right to make one receipt."""

    order: Order
    statement: bytes | None = field(repr=False)
    """Set if an earlier lease got that far; it is used again, never replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildLease(Lease):
    """The right to build one model."""

    order: BuildOrder
