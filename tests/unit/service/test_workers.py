"""Workers of verinfer-sc/1: one for each package, which lives on, and is replaced when it dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits.native import heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.prove_sumcheck import key_files
from verinfer.circuits.provers import prover_for
from verinfer.circuits.worker import KeyFiles
from verinfer.service.catalogue import Catalogue
from verinfer.service.data_folder import DataFolder
from verinfer.service.database import Database
from verinfer.service.groups import Groups
from verinfer.service.job_store import JobStore
from verinfer.service.jobs import Order
from verinfer.service.proofs import EzklProofs, SumcheckProofs
from verinfer.service.settings import Settings
from verinfer.service.standby import PreparedPlace, Standby
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import Rejected
from verinfer.verifier.evidence import SUMCHECK_KIND, Proof
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.quantise import to_integers
from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck_system import SumcheckSystem

CHALLENGE = bytes(range(32))
INPUTS = {"habits": (5, -6, 7)}


def _quiet(_phase: str, _share: float) -> None:
    """Progress that nobody sees."""


def _system(manifest: Manifest) -> SumcheckSystem:
    assert isinstance(manifest.proof_system, SumcheckSystem)
    return manifest.proof_system


def _verify(package: Package, inputs: tuple[int, ...], outputs: tuple[int, ...], proof: bytes) -> None:
    """What a verifier does with a proof, from the bundle alone."""
    system = _system(package.manifest)
    x = [value + system.input_zero for value in inputs]
    root = bytes.fromhex(system.root)
    check(package.bundle.files["description.json"], root, CHALLENGE, x, outputs, proof)


@dataclass
class Lane:
    """A place whose workers live on, as in the service."""

    place: PreparedPlace
    groups: Path

    def workers(self) -> set[int]:
        """Every process that is written down."""
        return {int(path.name) for path in self.groups.iterdir()}


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """One for all tests, each of which takes the worker that the one before left; one answer may take 20 seconds."""
    tmp_path = tmp_path_factory.mktemp("lane")
    for name in ("standby", "groups", "work"):
        (tmp_path / name).mkdir()
    limits = heavy_limits()._replace(wall_seconds=20.0)
    standby = Standby(tmp_path / "standby", limits, Groups(tmp_path / "groups"))
    place = PreparedPlace(directory=tmp_path / "work", limits=limits, standby=standby)
    yield Lane(place, tmp_path / "groups")
    standby.close()


def test_what_is_proven_is_what_the_model_computes(
    quick: Path, sumcheck_package: Package, lane: Lane
) -> None:
    """Of a sample, and of an input beyond all: fp32's answer or one that saturates, and a proof that a verifier takes."""
    manifest, prover = sumcheck_package.manifest, prover_for(sumcheck_package.manifest)
    (given,) = manifest.tensors("input")
    assert prover.kind == SUMCHECK_KIND
    with np.load(quick / "samples.npz") as samples:
        sample = samples["habits"][0].ravel().tolist()
    lane.place.standby.load([key_files(sumcheck_package)])
    (worker,) = lane.workers()
    for values in (sample, [1e30, -1e30, 0.0]):
        integers = to_integers(manifest, given, values)
        witness = prover.forward(sumcheck_package, {"habits": integers}, lane.place)
        evidence = prover.prove(sumcheck_package, witness, CHALLENGE, lane.place, _quiet)
        assert isinstance(evidence, Proof)
        outputs = witness.outputs["body"]
        _verify(sumcheck_package, integers, outputs, evidence.data)
        with pytest.raises(Rejected):
            _verify(sumcheck_package, integers, (outputs[0] + 1, *outputs[1:]), evidence.data)
    # One process did all of it, and a job's end leaves it there.
    lane.place.standby.clear()
    assert lane.workers() == {worker}


def test_a_proof_is_of_its_own_input(sumcheck_package: Package, lane: Lane) -> None:
    """What an earlier forward pass left in the worker is not what a later one's proof is of."""
    prover = prover_for(sumcheck_package.manifest)
    first, second = (
        prover.forward(sumcheck_package, {"habits": values}, lane.place) for values in ((5, -6, 7), (9, 9, 9))
    )
    for witness in (first, second, first):
        evidence = prover.prove(sumcheck_package, witness, CHALLENGE, lane.place, _quiet)
        assert isinstance(evidence, Proof)
        _verify(sumcheck_package, tuple(witness.inputs["habits"]), witness.outputs["body"], evidence.data)


@pytest.mark.parametrize("how", ["killed", "too slow"])
def test_a_worker_that_dies_in_a_proof_is_replaced(sumcheck_package: Package, lane: Lane, how: str) -> None:
    """The job gets a code that says what happened; the next one gets a new worker, and its proof."""
    prover = prover_for(sumcheck_package.manifest)
    witness = prover.forward(sumcheck_package, INPUTS, lane.place)
    (worker,) = lane.workers()
    os.kill(worker, signal.SIGSTOP)
    if how == "killed":
        threading.Timer(0.3, os.kill, (worker, signal.SIGKILL)).start()
    else:
        # As if the operator had set a shorter time.
        lane.place.standby.worker(key_files(sumcheck_package))._seconds = 0.3  # noqa: SLF001 - it is read when it starts
    with pytest.raises(ChildFailed) as caught:
        prover.prove(sumcheck_package, witness, CHALLENGE, lane.place, _quiet)
    assert caught.value.code == ("child-killed" if how == "killed" else "child-out-of-time")
    lane.place.standby.clear()
    assert lane.workers() == set()
    witness = prover.forward(sumcheck_package, INPUTS, lane.place)
    assert isinstance(prover.prove(sumcheck_package, witness, CHALLENGE, lane.place, _quiet), Proof)
    assert worker not in lane.workers()


def test_a_worker_that_was_killed_while_it_waited_costs_no_job(sumcheck_package: Package, lane: Lane) -> None:
    """Its end may be noticed with the next job's first question only; that is asked again, of a new one."""
    prover = prover_for(sumcheck_package.manifest)
    witness = prover.forward(sumcheck_package, INPUTS, lane.place)
    (worker,) = lane.workers()
    # So that it still looks alive when it is asked.
    os.kill(worker, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (worker, signal.SIGKILL)).start()
    assert prover.forward(sumcheck_package, INPUTS, lane.place).outputs == witness.outputs
    lane.place.standby.clear()
    assert len(lane.workers() - {worker}) == 1


def test_a_proof_that_is_not_wanted_any_more_ends(sumcheck_package: Package, lane: Lane) -> None:
    """Its worker ends with it, whatever it was doing."""
    prover, unwanted = prover_for(sumcheck_package.manifest), threading.Event()
    witness = prover.forward(sumcheck_package, INPUTS, lane.place)
    unwanted.set()
    stopped = PreparedPlace(
        directory=lane.place.directory,
        limits=lane.place.limits,
        cancelled=unwanted,
        standby=lane.place.standby,
    )
    with pytest.raises(ChildFailed) as caught:
        prover.prove(sumcheck_package, witness, CHALLENGE, stopped, _quiet)
    assert caught.value.code == "child-cancelled"


def test_our_own_system_has_a_lane_of_its_own(
    sumcheck_package: Package,
    database: Database,
    make_order: Callable[..., Order],
    tmp_path: Path,
) -> None:
    """Its jobs are taken by the lane with workers, whatever waits before them; all others, of gone circuits too, by EZKL's."""
    settings, store, key = Settings(data=tmp_path / "data"), JobStore(database), Ed25519PrivateKey.generate()
    DataFolder(settings.data).make()
    catalogue = Catalogue([sumcheck_package], tuple)
    ezkl, ours = (lane(settings, store, catalogue, key) for lane in (EzklProofs, SumcheckProofs))
    for circuit in ("a" * 64, "0" * 64, sumcheck_package.digest):
        store.add(make_order(circuit=circuit), now=1.0, queue_limit=9)
    taken = []
    for lane in (ours, ours, ezkl, ezkl, ezkl):
        lease = lane.lease(now=2.0, until=60.0)
        taken.append(None if lease is None else lease.order.circuit)
    assert taken[:2] == [sumcheck_package.digest, None]
    assert (set(taken[2:4]), taken[4]) == ({"a" * 64, "0" * 64}, None)


def test_a_worker_that_cannot_start_is_not_started_over_and_over(
    sumcheck_package: Package, lane: Lane
) -> None:
    """Between jobs it is tried once; whoever asks for a proof hears why."""
    key = key_files(sumcheck_package)
    bad = KeyFiles(key.description, key.weights, "0" * 64)
    lane.place.standby.load([bad])
    before = lane.workers()
    lane.place.standby.load([bad])
    assert lane.workers() == before
    with pytest.raises(ChildFailed) as caught:
        lane.place.prover(bad, "forward", x=[0, 0, 0])
    assert caught.value.code == "artifact-torn"


def test_the_one_that_was_used_longest_ago_makes_room(
    sumcheck_package: Package, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more packages are served than workers are kept; and none is started again and again between jobs."""
    monkeypatch.setattr("verinfer.service.standby.MOST_WORKERS", 1)
    first = key_files(sumcheck_package)
    copy = tmp_path / "description.json"
    copy.write_bytes(first.description.read_bytes())
    second = KeyFiles(copy, first.weights, first.root)
    standby = lane.place.standby
    older = standby.worker(first)
    newer = standby.worker(second)
    assert (older.lives, newer.lives) == (False, True)
    standby.load([first, second])
    assert newer.lives
    assert standby.worker(second) is newer
