"""One package of the smallest model, made once for the whole folder, with a cache of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package

BMI = Path(__file__).parents[3] / "models" / "zoo" / "bmi"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty SRS cache, so that nothing depends on what the machine has."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def bmi() -> Path:
    """The committed model folder of ``bmi``."""
    return BMI


@pytest.fixture(scope="session")
def package(cache: Path, bmi: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:  # noqa: ARG001
    """The package of ``bmi``; tests must not change it."""
    out = tmp_path_factory.mktemp("packages") / "bmi"
    return compile_model(bmi, out, srs=None, insecure_srs=True, on_progress=lambda _phase, _share: None)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A fresh directory for children, with the limits of a proof."""
    home = tmp_path / "place"
    home.mkdir()
    return Workplace(directory=home, limits=heavy_limits())
