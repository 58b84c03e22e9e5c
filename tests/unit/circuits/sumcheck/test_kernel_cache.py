"""Compiled kernels are never those of another version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from verinfer.circuits.sumcheck import kernel_cache, tables
from verinfer.circuits.sumcheck.kernel_cache import sources_digest
from verinfer.verifier.errors import CouldNotCheck


def test_a_change_in_any_source_is_another_version(tmp_path: Path) -> None:
    """What kernels are kept under changes with the name and the content of each file that they are compiled from."""
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.py").write_text("y = 1")
    digests = [sources_digest(tmp_path)]
    (tmp_path / "b.py").write_text("y = 2")
    digests.append(sources_digest(tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    digests.append(sources_digest(tmp_path))
    assert len(set(digests)) == 3
    assert digests[-1] == sources_digest(tmp_path)


def test_kernels_lie_in_their_versions_folder() -> None:
    """Every kernel of this process is kept in the folder of these sources, wherever caches are."""
    version = sources_digest(Path(kernel_cache.__file__).parent)[:16]
    dispatcher: Any = tables.fold  # our types hide what numba made of it
    assert version in dispatcher.stats.cache_path


def test_a_cache_that_others_may_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the cache is run: by default it is a folder of the user's alone."""
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "verinfer" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(CouldNotCheck):
        kernel_cache.use_cache()
