"""A full disk, told apart: Python says so, EZKL does not and fails later or elsewhere."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verinfer.verifier.errors import CouldNotCheck, VerinferError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NEARLY_FULL_BYTES = 64 << 10


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Failures inside that a full disk under `folder` explains become `CouldNotCheck` (``disk-full``).

    To be entered after whatever cleans up: then the disk is still full when it is looked at.
    """
    try:
        yield
    except (OSError, VerinferError) as error:
        full = isinstance(error, OSError) and error.errno in _FULL
        if full or shutil.disk_usage(folder).free < _NEARLY_FULL_BYTES:
            raise CouldNotCheck(
                "disk-full", f"No space left under {folder}; free some and try again."
            ) from error
        raise
