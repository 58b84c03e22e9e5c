"""Where compiled kernels are kept: ``$NUMBA_CACHE_DIR``, else ``$XDG_CACHE_HOME/verinfer/kernels``; a folder for each version.

Beside it is ``<version>.ready``, where `kernels` keeps all of them for children, which is never written to while it is there.

numba compiles a kernel anew when its own file has changed. But a kernel holds compiled parts of others, from other files:
after an upgrade it would go on computing with what they were. So the folder's name is a digest of all our sources.
Within it numba tells processors and its own versions apart.
What lies there is run, so by default it is where nobody else can write, and not beside the sources, as numba would have it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from verinfer.verifier.cache import cache_folder

IN_A_CHILD = "kernels"
"""Where a child has its copy, in its own directory."""


def version_folder() -> Path:
    """The folder of these sources, which may not be there yet; raises as `cache_folder`."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else cache_folder("kernels")
    return folder / sources_digest(Path(__file__).parent)[:16]


def ready_folder() -> Path:
    """Where all kernels of these sources are, if they were made ready; raises as `cache_folder`."""
    folder = version_folder()
    return folder.with_name(f"{folder.name}.ready")


def use_cache() -> Path:
    """Let numba keep the kernels that are declared from now on in their version's folder; raises as `cache_folder`."""
    # Where kernels lie is also asked by processes that run none.
    import numba

    folder = version_folder()
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not folder.exists() and ready_folder().exists():
        # Whoever is first has the same; what cannot be copied is compiled.
        with suppress(OSError), tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            shutil.copytree(ready_folder(), Path(aside) / "copy").rename(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    settings: Any = numba.config  # numba makes its settings when it is loaded
    settings.CACHE_DIR = str(folder)
    return folder


def sources_digest(folder: Path) -> str:
    """A digest of the names and contents of a folder's Python files."""
    digest = sha256()
    for path in sorted(folder.glob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)} ".encode() + data)
    return digest.hexdigest()
