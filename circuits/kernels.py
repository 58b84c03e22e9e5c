"""The compiled kernels of verinfer-sc/1 on this machine: made once by a child, then copied into every child that proves.

No child writes to the cache. What lies there is run by all others, and one that a hostile network has taken over must not reach
them; so each works on a copy of its own, and what a maker's child compiled is moved into the cache by its parent.
"""

from __future__ import annotations

import fcntl
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from verinfer.verifier import child, files
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.jail import GIB, Limits

from .sumcheck.kernel_cache import IN_A_CHILD, ready_folder, version_folder

_MODULE = "verinfer.circuits._sumcheck"
_LIMITS = Limits(memory_bytes=8 * GIB, cpu_seconds=1800, file_bytes=GIB, wall_seconds=1800.0)
_READY = "ready"
_COUNT = re.compile(r"kernels (\d+)/(\d+)")
_OF_A_KIND = ("model name", "flags", "Features", "CPU implementer", "CPU part")
"""What /proc/cpuinfo says of a processor that kernels depend on."""


def are_ready() -> bool:
    """Whether the cache has every kernel for this version, Python and processor."""
    try:
        return (ready_folder() / _READY).read_text(encoding="utf-8") == _here()
    except (OSError, CouldNotCheck):
        return False


def make(on_progress: Callable[[str, float], None]) -> bool:
    """Compile what is not in the cache, half a minute of a core; says whether there was anything to do.

    Raises `ChildFailed`, and `CouldNotCheck` where there is no cache.
    """
    if are_ready():
        return False
    folder = ready_folder()
    with files.naming_trouble(folder):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            # Whoever was first has made them when the lock is free.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if are_ready():
                return False
            _make(folder, on_progress)
    return True


def require() -> None:
    """Raise `CouldNotCheck` (``kernels-missing``) unless they are ready: no request waits for a compiler."""
    if not are_ready():
        raise CouldNotCheck("kernels-missing")


def copy_to(directory: Path) -> None:
    """Give a child in `directory` its own copy; raises `CouldNotCheck` (``kernels-missing``)."""
    require()
    try:
        shutil.copytree(ready_folder(), directory / IN_A_CHILD / version_folder().name, symlinks=True)
    except (OSError, shutil.Error) as error:
        raise CouldNotCheck(
            "kernels-missing", f"The kernels in {ready_folder()} cannot be copied: {error}."
        ) from error


def _make(folder: Path, on_progress: Callable[[str, float], None]) -> None:
    on_progress("kernels", 0.0)

    def on_line(line: str) -> None:
        if match := _COUNT.search(line):
            on_progress("kernels", int(match[1]) / int(match[2]))

    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True
    ) as aside:
        home = Path(aside)
        made = home / IN_A_CHILD / version_folder().name
        if version_folder().is_dir():
            # Some are there perhaps, from a process that proved without a child.
            shutil.copytree(version_folder(), made, symlinks=True)
        child.run(_MODULE, "compile_kernels", {}, limits=_LIMITS, directory=home, on_line=on_line)
        files.write_atomically(made / _READY, _here().encode())
        with suppress(FileNotFoundError):
            folder.rename(home / "before")
        made.rename(folder)


def _here() -> str:
    """What compiled kernels are good for, beside the version of our sources."""
    processor = sha256()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines():
            if line.startswith(_OF_A_KIND):
                processor.update(f"{line}\n".encode())
    packages = (f"{name} {version(name)}" for name in ("numba", "llvmlite", "numpy"))
    # Another warm-up may call more of them.
    maker = files.digest_of(Path(__file__).with_name("_sumcheck.py"))
    return "\n".join([*packages, maker, platform.python_version(), platform.machine(), processor.hexdigest()])
