"""What a search has found so far, so that one that was stopped goes on where it was.

One file in the cache for each model, samples, targets and version; every finding is a line, written when it is known, under
the digest of the question that it answers.
The file is for its owner alone, since outputs on the samples are in it, and it goes when the package is there.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from verinfer.verifier import files
from verinfer.verifier.cache import cache_folder
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck

_FORM = 1
"""Raised whenever an older version's findings would mislead."""

_KEPT_SECONDS = 30 * 86_400
"""How long the findings of a search that nobody took up again are kept."""


class Journal:
    """Findings by question; remembered in `file` too, where there is one."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._found: dict[str, Any] = dict(_read(file)) if file else {}

    @property
    def resumed(self) -> bool:
        """Whether anything is known already."""
        return bool(self._found)

    def once(
        self,
        step: str,
        question: object,
        find: Callable[[], Any],
        *,
        keep: Callable[[Any], bool] | None = None,
    ) -> Any:
        """The answer in plain JSON values, found now unless it is known; `keep` says whether it is worth remembering."""
        key = sha256(json.dumps([step, question], sort_keys=True).encode())
        if key in self._found:
            return self._found[key]
        # In its written form also the first time, so that nothing depends on whether it was remembered.
        line = json.dumps({"key": key, "found": find()}).encode()
        found = json.loads(line)["found"]
        if keep is None or keep(found):
            self._found[key] = found
            self._write(line)
        return found

    def _write(self, line: bytes) -> None:
        if self._file:
            # Only a convenience: where there is no room for it, the search goes on.
            with suppress(OSError):
                # A line that a crash cut short must not spoil this one.
                self._file.write(b"\n" + line + b"\n")
                self._file.flush()


@contextmanager
def open_journal(*identity: str, folder: Path | None = None) -> Iterator[Journal]:
    """The journal of the search that `identity` names, which is removed when it ends well.

    It lies in `folder`, or in the cache. Where another process has it, or there is no cache, findings are remembered until
    the end only.
    """
    try:
        folder = folder or cache_folder("searches")
        _prune(folder)
        path = folder / f"{sha256(json.dumps([_FORM, *identity]).encode())}.jsonl"
        file = path.open("a+b")
    except (CouldNotCheck, OSError):
        yield Journal()
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.chmod(files.PRIVATE)
        except OSError:
            yield Journal()
            return
        yield Journal(file)
        path.unlink(missing_ok=True)


def _prune(folder: Path) -> None:
    for path in folder.glob("*.jsonl"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink()


def _read(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The findings of a file; a line that was not written whole is none."""
    file.seek(0)
    for line in file:
        with suppress(ValueError, KeyError, TypeError):
            item = json.loads(line)
            key, found = item["key"], item["found"]
            if isinstance(key, str):
                yield key, found
