from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from verinfer.service.database import Database
from verinfer.service.jobs import Order


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database of the newest schema."""
    opened = Database(tmp_path / "verinfer.db")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def make_order() -> Callable[..., Order]:
    """Makes orders; every field has a value unless another is given."""

    def make(**changes: object) -> Order:
        fields: dict[str, object] = {
            "model": "bmi",
            "version": "1",
            "circuit": "c" * 64,
            "mode": "zk",
            "nonce": "0" * 64,
            "audience": None,
            "inputs": {"habits": (1, -2, 3)},
        }
        return Order(**{**fields, **changes})  # type: ignore[arg-type]  # each value fits its own field

    return make
