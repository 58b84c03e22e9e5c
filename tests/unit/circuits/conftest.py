"""What the tests of circuits share beside the one package of the whole suite."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package


@pytest.fixture(scope="session")
def bmi() -> Path:
    """The committed model folder of ``bmi``."""
    return Path(__file__).parents[3] / "models" / "zoo" / "bmi"


@pytest.fixture(scope="session")
def quick(bmi: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bmi`` with a few of its samples: compiles in half the time."""
    folder = tmp_path_factory.mktemp("models") / "quick"
    shutil.copytree(bmi, folder)
    with np.load(bmi / "samples.npz", allow_pickle=False) as samples:
        few = {name: samples[name][:32] for name in samples.files}
    np.savez(folder / "samples.npz", allow_pickle=False, **few)
    return folder


@pytest.fixture(scope="session")
def quick_package(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of ``quick``; tests must not write into it."""
    out = tmp_path_factory.mktemp("packages") / "quick"
    return compile_model(quick, out, srs=None, insecure_srs=True, on_progress=lambda _phase, _share: None)


@pytest.fixture(scope="session")
def batch_package(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of ``quick`` for four samples at once; tests must not write into it."""
    out = tmp_path_factory.mktemp("packages") / "batch"
    return compile_model(
        quick, out, srs=None, insecure_srs=True, on_progress=lambda _phase, _share: None, batch=4
    )


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A fresh directory for children, with the limits of a proof."""
    home = tmp_path / "place"
    home.mkdir()
    return Workplace(directory=home, limits=heavy_limits())
