"""Kernels: this process takes those that the packages' children have, where it would compile its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from verinfer.circuits import kernels
from verinfer.circuits.sumcheck.kernel_cache import ready_folder, version_folder


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels(shared: Path, once: Callable[[Path, Callable[[Path], object]], Path]) -> None:
    """All of them are compiled once for all processes of all runs."""

    def copy(mark: Path) -> None:
        kernels.make(lambda _phase, _share: None)
        if not list(version_folder().glob("**/*.nbi")):
            shutil.copytree(ready_folder(), version_folder(), dirs_exist_ok=True)
        mark.touch()

    once(shared / "kernels-copied", copy)
