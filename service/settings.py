"""What the operator chooses: from arguments of ``verinfer serve`` or from the environment (``VERINFER_PORT=…``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from verinfer.verifier.errors import UsageError


def _data_at_home() -> Path:
    try:
        return Path.home() / ".local" / "share" / "verinfer"
    except RuntimeError as error:
        raise UsageError("usage", "This user has no home directory: say where with --data.") from error


class Settings(BaseSettings):
    """Settings of one server; times are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(env_prefix="VERINFER_", frozen=True, extra="forbid")

    packages: tuple[Path, ...] = ()
    """Folders of circuit packages; the first of several versions of a model is its default."""
    data: Annotated[Path, Field(default_factory=_data_at_home)]
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

    allow_uploads: bool = False
    """Whether models may be sent here to be built and served; only where nobody but this machine is listened to."""
    build_insecure_srs: bool = False
    """Whether builds make a local SRS, whose maker can forge proofs, where otherwise the ceremony's must be in the cache."""
    upload_bytes: Annotated[int, Field(ge=1)] = 256 << 20
    upload_seconds: Annotated[float, Field(gt=0)] = 600.0
    store_bytes: Annotated[int, Field(ge=1)] = 50 << 30
    """The most bytes of uploads and of the packages built from them, together."""
    free_bytes: Annotated[int, Field(ge=0)] = 2 << 30
    """What uploads and builds must leave free on the disk."""
    build_queue_limit: Annotated[int, Field(ge=1)] = 10
    """The most builds that may wait."""
    build_memory_bytes: Annotated[int, Field(ge=1)] | None = None
    """Address space of each process of a build; None means half of the machine's memory."""
    build_seconds: Annotated[float, Field(gt=0)] = 21_600.0
    """How long a build may take."""
    build_nice: Annotated[int, Field(ge=0, le=14)] = 10
    """How far builds stand back behind proofs when both want the processor, as nice(2) counts."""


def read_settings(**chosen: Any) -> Settings:
    """What was `chosen`, where None is no choice, over what the environment says.

    Raises `UsageError`, which names the first variable with a bad value.
    """
    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "VERINFER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError("usage", f"{name}: {first['msg']}.") from error
    except SettingsError as error:
        raise UsageError(
            "usage", f"A variable VERINFER_… of the environment has a bad value: {error}."
        ) from error
