"""What the tests of circuits share beside the one package of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package


@pytest.fixture(scope="session")
def bmi() -> Path:
    """The committed model folder of ``bmi``."""
    return Path(__file__).parents[3] / "models" / "zoo" / "bmi"


@pytest.fixture(scope="session")
def quick_package(bmi_package: Package) -> Package:
    """The one package of ``quick``; tests must not write into it."""
    return bmi_package


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A fresh directory for children, with the limits of a proof."""
    home = tmp_path / "place"
    home.mkdir()
    return Workplace(directory=home, limits=heavy_limits())
