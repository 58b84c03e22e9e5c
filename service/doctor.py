"""Can this machine serve and prove? Each check does the thing rather than ask whether it could be done."""

from __future__ import annotations

import platform
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.circuits import kernels
from verinfer.circuits.native import machine_memory
from verinfer.verifier import child
from verinfer.verifier.cache import cache_folder
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.jail import GIB, Limits, lacking

from .settings import Settings

LEAST_MEMORY = 2 * GIB
LEAST_DISK = 2 * GIB
_PYTHON = (3, 11)
_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=60, file_bytes=1 << 20, wall_seconds=60)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Make every check; none of them raises."""
    return [
        _python(),
        _loads("ezkl"),
        _loads("onnxruntime"),
        _jail(),
        _memory(),
        _disk(settings.data),
        _data(settings.data),
        _srs(),
        _kernels(),
    ]


def _python() -> Finding:
    wanted = ".".join(map(str, _PYTHON))
    return Finding("python", sys.version_info[:2] >= _PYTHON, f"{platform.python_version()}; needs {wanted}")


def _loads(package: str) -> Finding:
    try:
        return Finding(package, ok=True, detail=f"{_probe('load', package=package)}, loads in a jailed child")
    except CouldNotCheck as error:
        return Finding(package, ok=False, detail=error.message)


def _jail() -> Finding:
    try:
        found = _probe("escapes")
    except CouldNotCheck as error:
        return Finding("jail", ok=False, detail=error.message)
    detail = (
        f"a child could open: {', '.join(found)}"
        if found
        else "a child can open no network socket and start no program"
    )
    return Finding("jail", not found, "; but ".join((detail, *lacking())))


def _probe(function: str, **arguments: str) -> Any:
    try:
        with tempfile.TemporaryDirectory(prefix="verinfer-doctor-") as directory:
            return child.run(
                "verinfer.service._probe", function, arguments, limits=_LIMITS, directory=Path(directory)
            )
    except OSError as error:
        raise CouldNotCheck("file-missing", f"No child process can be started: {error}.") from error


def _memory() -> Finding:
    total = machine_memory()
    return Finding(
        "memory", total >= LEAST_MEMORY, f"{total / GIB:.1f} GiB; small circuits need {LEAST_MEMORY // GIB}"
    )


def _disk(data: Path) -> Finding:
    free = shutil.disk_usage(_existing(data)).free
    return Finding(
        "disk", free >= LEAST_DISK, f"{free / GIB:.1f} GiB free for {data}; needs {LEAST_DISK // GIB}"
    )


def _data(data: Path) -> Finding:
    if not data.exists():
        try:
            with tempfile.TemporaryDirectory(dir=_existing(data)):
                return Finding("data folder", ok=True, detail=f"{data} is made on first start")
        except OSError as error:
            return Finding("data folder", ok=False, detail=f"{data} cannot be made: {error.strerror}")
    lax = [path.name for path in (data, data / "service.pem", data / "verinfer.db") if _is_lax(path)]
    detail = f"others may read {', '.join(lax)} in {data}; chmod go= them" if lax else f"{data} is private"
    return Finding("data folder", not lax, detail)


def _srs() -> Finding:
    try:
        names = sorted(path.name for path in cache_folder("srs").glob("*.srs"))
    except CouldNotCheck as error:
        return Finding("srs", ok=False, detail=error.message)
    return Finding("srs", ok=True, detail=f"cached: {', '.join(names) or 'none yet'}")


def _kernels() -> Finding:
    state = (
        "compiled"
        if kernels.are_ready()
        else "not compiled yet; 'verinfer warmup' does it, or the first start"
    )
    return Finding("kernels", ok=True, detail=state)


def _is_lax(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
