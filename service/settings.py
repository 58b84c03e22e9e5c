"""What the operator chooses: from arguments of ``verinfer serve`` or from the environment (``VERINFER_PORT=…``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one server; times are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(env_prefix="VERINFER_", frozen=True, extra="forbid")

    packages: tuple[Path, ...] = ()
    """Folders of circuit packages; the first of several versions of a model is its default."""
    data: Path = Path.home() / ".local" / "share" / "verinfer"
    """Database, service key, working files; 0700."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 lets the system choose."""

    body_bytes: Annotated[int, Field(ge=1)] = 8 << 20
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    queue_limit: Annotated[int, Field(ge=1)] = 100
    """The most jobs that may wait."""
    wait_default: Annotated[float, Field(ge=0)] = 30.0
    """How long a request without ``Prefer`` waits for its proof."""
    wait_limit: Annotated[float, Field(ge=0)] = 120.0
    """The longest that ``Prefer: wait=N`` is honoured."""
    infer_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long one answer of onnxruntime may take."""
    prove_memory_bytes: Annotated[int, Field(ge=1)] | None = None
    """Address space of a proving child; None means most of the machine's memory."""
    prove_seconds: Annotated[float, Field(gt=0)] = 43_200.0
    """How long one child of a proof may take."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 2.0
    """How often the supervisor says that it lives; a lease lasts three of these."""
