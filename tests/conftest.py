"""What several folders of tests share: one compiled circuit, made once a run with real EZKL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from verinfer.circuits.compile import compile_model
from verinfer.circuits.package import Package
from verinfer.verifier.bundle import Bundle
from verinfer.verifier.evidence import Evidence
from verinfer.verifier.ezkl_proof import EzklCheck, WaitingChildren
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.statement import Statement

ZOO = Path(__file__).parents[1] / "models" / "zoo"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the user's cache of SRS files."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def bmi_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The smallest model, compiled; tests must not write into it."""
    out = tmp_path_factory.mktemp("packages") / "bmi"
    return compile_model(
        ZOO / "bmi", out, srs=None, insecure_srs=True, on_progress=lambda _phase, _share: None
    )


@pytest.fixture(scope="module")
def ezkl() -> Iterator[ProofSystem]:
    """The real check of proofs, with a child in waiting to save time."""
    children = WaitingChildren()
    yield EzklCheck(children)
    children.close()


class _AcceptsAll:
    """A broken proof system: whatever is refused with it, something else refuses."""

    def check(self, statement: Statement, bundle: Bundle, evidence: Evidence) -> None:
        """Accept."""


@pytest.fixture(scope="session")
def accepts_all() -> ProofSystem:
    """A check that accepts every proof, to show what else finds a lie."""
    return _AcceptsAll()
