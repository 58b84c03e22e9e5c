"""What several folders of tests share: two small circuits, made once a run with real EZKL."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verinfer.circuits.compile import compile_model
from verinfer.circuits.package import Package, open_package
from verinfer.circuits.systems.port import SystemName
from verinfer.verifier.bundle import Bundle
from verinfer.verifier.digest import sha256
from verinfer.verifier.evidence import Evidence
from verinfer.verifier.evm import solc
from verinfer.verifier.ezkl_proof import EzklCheck, WaitingChildren
from verinfer.verifier.manifest import Visibility
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.statement import Statement

ZOO = Path(__file__).parents[1] / "models" / "zoo"

# Kernels take half a minute to compile: all processes of all runs share them, and the user's own stay out of it.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "kernels"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one run share; what is in it is made once."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _own_cache(shared: Path) -> Iterator[None]:
    """Tests neither read nor fill the user's cache of SRS files."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(shared / "cache")
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


def _once(folder: Path, make: Callable[[Path], object]) -> Path:
    """`folder` (or file), made by the first process that asks for it."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(folder)
    return folder


@pytest.fixture(scope="session")
def once() -> Callable[[Path, Callable[[Path], object]], Path]:
    """Makes a file or folder in ``shared`` unless another process has made it."""
    return _once


@pytest.fixture(scope="session")
def quick(shared: Path) -> Path:
    """The smallest model with a few of its samples: compiles in half the time."""

    def make(folder: Path) -> None:
        aside = folder.with_name(f"{folder.name}.aside")
        shutil.copytree(ZOO / "bmi", aside)
        with np.load(ZOO / "bmi" / "samples.npz", allow_pickle=False) as samples:
            few = {name: samples[name][:32] for name in samples.files}
        np.savez(aside / "samples.npz", allow_pickle=False, **few)
        aside.rename(folder)

    return _once(shared / "quick", make)


def _compiled(
    model: Path, out: Path, *, batch: int = 1, inputs: Visibility = "public", system: SystemName = "ezkl"
) -> Package:
    def make(folder: Path) -> None:
        compile_model(
            model,
            folder,
            srs=None,
            insecure_srs=system == "ezkl",
            on_progress=lambda _phase, _share: None,
            batch=batch,
            inputs=inputs,
            system=system,
        )

    return open_package(_once(out, make))


@pytest.fixture(scope="session")
def bmi_package(quick: Path, shared: Path) -> Package:
    """The package of ``quick``; tests must not write into it."""
    return _compiled(quick, shared / "bmi-package")


@pytest.fixture(scope="session")
def sumcheck_package(quick: Path, shared: Path) -> Package:
    """The package of ``quick`` in verinfer-sc/1; tests must not write into it."""
    return _compiled(quick, shared / "sumcheck-package", system="sumcheck")


@pytest.fixture(scope="session")
def batch_package(quick: Path, shared: Path) -> Package:
    """The package of ``quick`` for two samples at once; tests must not write into it."""
    return _compiled(quick, shared / "batch-package", batch=2)


@pytest.fixture(scope="session")
def hashed_package(quick: Path, shared: Path) -> Package:
    """The package of ``quick`` that hashes its input; tests must not write into it."""
    return _compiled(quick, shared / "hashed-package", inputs="hashed")


@pytest.fixture(scope="session")
def private_package(quick: Path, shared: Path) -> Package:
    """The package of ``quick`` that shows nothing of its input; tests must not write into it."""
    return _compiled(quick, shared / "private-package", inputs="private")


@pytest.fixture(scope="module")
def ezkl() -> Iterator[ProofSystem]:
    """The real check of proofs, with a child in waiting to save time."""
    children = WaitingChildren()
    yield EzklCheck(children)
    children.close()


@pytest.fixture(scope="module")
def compiled_once(shared: Path) -> Iterator[None]:
    """In this process the Solidity compiler is asked each question once a run: its answers, which are its own, take seconds."""
    ask = solc.standard_json

    def recalled(question: dict[str, Any]) -> dict[str, Any]:
        path = shared / f"solc-{sha256(json.dumps(question, sort_keys=True).encode())}.json"
        answer: dict[str, Any] = json.loads(
            _once(path, lambda path: path.write_text(json.dumps(ask(question)))).read_text()
        )
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solc, "standard_json", recalled)
        yield


class _AcceptsAll:
    """A broken proof system: whatever is refused with it, something else refuses."""

    def check(self, statement: Statement, bundle: Bundle, evidence: Evidence) -> None:
        """Accept."""

    def hash_tensors(self, tensors: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """Zeros."""
        return ("0" * 64,) * len(tensors)


@pytest.fixture(scope="session")
def accepts_all() -> ProofSystem:
    """A check that accepts every proof, to show what else finds a lie."""
    return _AcceptsAll()
