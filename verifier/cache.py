"""Where things are kept between runs: ``$XDG_CACHE_HOME/verinfer``, else ``$HOME/.cache/verinfer``.

Source: XDG Base Directory Specification.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import CouldNotCheck


def cache_folder(name: str) -> Path:
    """The folder `name` of the cache, made if it is missing.

    Raises `CouldNotCheck` (``file-missing``) where there is none that nobody else can write to: what lies here is believed.
    """
    home = _absolute("XDG_CACHE_HOME") or _absolute("HOME", ".cache")
    if home is None:
        # Not below the folder for temporary files: there everybody could have been first.
        raise CouldNotCheck("file-missing", "There is no home for cached files; set XDG_CACHE_HOME.")
    folder = home / "verinfer" / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lax = next((path for path in (folder.parent, folder) if _others_write(path)), None)
    except OSError as error:
        raise CouldNotCheck(
            "file-missing", f"Cannot make {folder}: {error.strerror}; set XDG_CACHE_HOME."
        ) from error
    if lax is not None:
        raise CouldNotCheck(
            "file-missing", f"Others may write to {lax}; chmod go-w it, or set XDG_CACHE_HOME."
        )
    return folder


def _others_write(folder: Path) -> bool:
    facts = folder.stat()
    return facts.st_uid != os.geteuid() or bool(facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _absolute(variable: str, below: str = "") -> Path | None:
    """The folder that the environment names; a relative one is none."""
    path = Path(os.environ.get(variable, ""))
    return path / below if path.is_absolute() else None
