"""A lowered package can be rebuilt by anybody, and a useless one, or one that computes something else, is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verinfer.circuits import calibrate, lowering, offers, stages, tune
from verinfer.circuits.compile import compile_model
from verinfer.circuits.cost import Cost
from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Measured, Package
from verinfer.circuits.plan import Plan, Product, Sites, Value
from verinfer.circuits.provers import prover_for
from verinfer.circuits.reproduce import reproduce
from verinfer.circuits.systems import ezkl
from verinfer.circuits.systems.port import check_cost
from verinfer.circuits.targets import Targets
from verinfer.verifier.errors import CouldNotCheck, Rejected, UsageError


def _quiet(_phase: str, _share: float) -> None:
    """Progress that nobody sees."""


COARSE = Targets(error=0.08)
"""What owner and auditors of the lowered package ask for: short tables, whose keys are made in a second."""


def _only_lowerings(patch: pytest.MonkeyPatch) -> None:
    """Few numbers, to save time, and none of EZKL's own."""
    patch.setattr(tune, "plain_offers", lambda *_arguments, **_named: [])
    patch.setattr(tune, "_MOST_PROVED", 1)
    for name, numbers in {"SCALES": (5,), "ACTIVATION_BITS": (7, 8), "WEIGHT_BITS": (6,)}.items():
        patch.setattr(lowering, name, numbers)


def _compile(model: Path, out: Path, **options: Any) -> Package:
    return compile_model(model, out, srs=None, insecure_srs=True, on_progress=_quiet, **options)


@dataclass(frozen=True)
class Lowered:
    """The smallest model as a lowered package, which tests must not write into, and what the search chose for it."""

    package: Package
    choice: tune.Choice


@pytest.fixture(scope="module")
def made(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    """Made once, since the search takes a while."""
    choose, choices = tune.choose, list[tune.Choice]()

    def kept(*arguments: Any, **named: Any) -> tune.Choice:
        choices.append(choose(*arguments, **named))
        return choices[-1]

    with pytest.MonkeyPatch.context() as patch:
        _only_lowerings(patch)
        patch.setattr(tune, "choose", kept)
        package = _compile(quick, tmp_path_factory.mktemp("packages") / "lowered", targets=COARSE)
    return Lowered(package, choices[-1])


@pytest.fixture
def lowered(made: Lowered) -> Package:
    """The lowered package."""
    return made.package


def test_a_rebuild_gives_the_packages_identity(lowered: Package, quick: Path) -> None:
    """The numbers of the lowering are in the manifest, and replaying them is enough."""
    assert lowered.manifest.rewrites[-1].name == "fixed-point"
    result = reproduce(lowered, quick / "network.onnx", spec=None, on_progress=_quiet, targets=COARSE)
    assert result.circuit == lowered.digest
    # One's own samples, or the owner's: the result says which.
    assert not result.own_samples


def test_an_input_beyond_the_tables_is_told_with_its_layer(lowered: Package, place: Workplace) -> None:
    """The circuit's bound would hold it, a table does not; the prover is never started, since it would not end."""
    (tensor,) = lowered.manifest.tensors("input")
    unusual = {tensor.name: (lowered.manifest.proof_system.bound - 1,) * tensor.size}
    with pytest.raises(UsageError) as caught:
        prover_for(lowered.manifest).forward(lowered, unusual, place)
    assert caught.value.code == "value-out-of-range"
    assert "relu_" in caught.value.message or "gemm_" in caught.value.message


def _forge(made: Lowered, quick: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> Package:
    """A dishonest owner's package, with other numbers than the search found and keys that fit."""
    rewrites = made.choice.offer.rewrites
    assert rewrites.plan is not None
    plan = replace(rewrites.plan, **changed)
    offer = replace(made.choice.offer, rewrites=replace(rewrites, plan=plan))
    with monkeypatch.context() as owner:
        owner.setattr(tune, "choose", lambda *_arguments, **_named: replace(made.choice, offer=offer))
        owner.setattr(stages, "same_function", lambda *_arguments: True)
        return _compile(quick, out, targets=COARSE)


def test_useless_numbers_are_not_reproduced(
    made: Lowered, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of no bits have the fp32 function that the model has, and on samples of the owner's choice they may agree."""
    plan = made.choice.offer.rewrites.plan
    assert plan is not None
    package = _forge(made, quick, tmp_path / "bad", monkeypatch, weights=tuple(1 for _ in plan.weights))
    monkeypatch.setattr(calibrate, "good", lambda *_arguments: True)
    with pytest.raises(Rejected) as caught:
        reproduce(package, quick / "network.onnx", spec=None, on_progress=_quiet, targets=COARSE)
    assert caught.value.code == "not-reproduced"
    assert "bits" in caught.value.message


def test_useless_values_are_not_reproduced(
    made: Lowered, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values between layers with hardly a bit: weights say nothing of that, samples do."""
    plan = made.choice.offer.rewrites.plan
    assert plan is not None
    coarse = tuple(min(fraction, 0) for fraction in plan.fractions)
    # As fine in the weights between layers as the values are coarse, so that fp32 shows nothing of it.
    fine = (plan.weights[0], *(exponent + 5 for exponent in plan.weights[1:]))
    package = _forge(made, quick, tmp_path / "bad", monkeypatch, fractions=coarse, weights=fine)
    with pytest.raises(Rejected) as caught:
        reproduce(package, quick / "network.onnx", spec=None, on_progress=_quiet, targets=COARSE)
    assert caught.value.code == "not-reproduced"
    assert "samples" in caught.value.message


def test_an_auditor_brings_samples(lowered: Package, quick: Path, tmp_path: Path) -> None:
    """The package's are its owner's choice, and the result says whose they were."""
    mine = tmp_path / "mine.npz"
    with np.load(quick / "samples.npz", allow_pickle=False) as samples:
        np.savez(mine, allow_pickle=False, **{name: samples[name][:5] for name in samples.files})
    network = quick / "network.onnx"
    result = reproduce(lowered, network, spec=None, samples=mine, on_progress=_quiet, targets=COARSE)
    assert (result.own_samples, result.fidelity.samples) == (True, 5)


def test_a_lowering_is_the_last_rewrite_and_the_only_one(lowered: Package, quick: Path) -> None:
    """Twice the same would be the same circuit under another name."""
    rewrites = lowered.manifest.rewrites
    manifest = lowered.manifest.model_copy(update={"rewrites": (*rewrites, rewrites[-1])})
    renamed = replace(lowered, bundle=replace(lowered.bundle, manifest=manifest))
    with pytest.raises(Rejected, match="one at most"):
        reproduce(renamed, quick / "network.onnx", spec=None, on_progress=_quiet, targets=COARSE)


def test_a_lowering_with_a_sample_on_a_ramp_is_not_offered(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search drops it, so that what is chosen can be published: EZKL's own numbers here."""
    monkeypatch.setattr(tune, "QUICK", 0.0)
    monkeypatch.setattr(tune, "same_function", lambda *_arguments: False)
    for name, numbers in {"SCALES": (5,), "ACTIVATION_BITS": (10,), "WEIGHT_BITS": (8,)}.items():
        monkeypatch.setattr(lowering, name, numbers)
    monkeypatch.setattr(offers, "shapes", lambda *_arguments: pytest.fail("it was offered"))
    monkeypatch.setattr(tune, "shapes", lambda *_arguments: pytest.fail("it was offered"))
    package = _compile(quick, tmp_path / "plain", budget=0.0)
    assert stages.LOWERING not in {item.name for item in package.manifest.rewrites}


SITES = Sites(
    (
        Product("first", rows=1, terms=2, columns=2, largest=0.7, integral=False),
        Product("counts", rows=1, terms=2, columns=2, largest=3.0, integral=True),
    ),
    (Value("x", "value"),),
)
PLAN = Plan(scale=5, weights=(5, 0), fractions=(5,), paired=(False, False))


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": (1, 0)},
        {"weights": (5,)},
        {"weights": (5, 0, 5)},
        {"fractions": ()},
        {"fractions": (5, 5)},
        {"fractions": (129,)},
        {"fractions": (-129,)},
        {"weights": (5, 129)},
        {"paired": (False,)},
        {"scale": 2},
    ],
)
def test_numbers_that_no_search_gives_are_a_fault(changed: dict[str, Any]) -> None:
    """Too few bits or absurdly many, or other counts than the network has places: those would give one circuit many names."""
    assert lowering.fault_of(PLAN, SITES) is None
    assert lowering.fault_of(replace(PLAN, **changed), SITES)


def test_an_owner_cannot_publish_a_network_that_computes_something_else(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rules did, the wrapped network's fp32 outputs are compared with the given one's."""
    monkeypatch.setattr(stages, "REWRITE_TOLERANCE", -1.0)
    with pytest.raises(CouldNotCheck) as caught:
        _compile(quick, tmp_path / "other")
    assert caught.value.code == "rewrite-differs"
    assert not (tmp_path / "other").exists()


def test_an_auditor_compares_the_networks_too(
    quick_package: Package, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's word that a rewrite keeps the function is none."""
    monkeypatch.setattr(stages, "REWRITE_TOLERANCE", -1.0)
    with pytest.raises(Rejected) as caught:
        reproduce(quick_package, quick / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.code == "not-reproduced"
    assert "does not compute" in caught.value.message


_COST = Cost(
    prove_seconds=2.0,
    setup_seconds=1.0,
    prove_bytes=2000,
    setup_bytes=1,
    pk_bytes=1,
    vk_bytes=1,
    proof_bytes=1,
    verify_seconds=0.02,
    verify_gas=500_000,
    contract_bytes=10_000,
    logrows=9,
    blocks=1,
)
_MEASURED = Measured(setup_ms=1, witness_ms=1, prove_ms=2000, verify_ms=1, prove_peak_bytes=2000)


@pytest.mark.parametrize(
    ("targets", "met"),
    [
        (Targets(), True),
        (Targets(memory_bytes=2000, seconds=2.0), True),
        (Targets(memory_bytes=1999), False),
        (Targets(seconds=1.99), False),
    ],
)
def test_a_target_bounds_estimates_and_real_proofs(targets: Targets, met: bool) -> None:
    """Bytes and seconds, up to what was asked for and no further, by estimate in the search and by the clock after it."""
    offer = offers.Offer(offers.Rewrites(), {}, {}, _COST)
    assert offers.affordable(offer, targets) == met
    if met:
        check_cost(_MEASURED, targets)
    else:
        with pytest.raises(CouldNotCheck):
            check_cost(_MEASURED, targets)


@pytest.mark.parametrize("blind", ["search", "proof"])
def test_a_circuit_dearer_than_the_target_is_never_published(
    blind: str, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search refuses it by estimate, and if that was too low the real proof does."""
    if blind == "search":
        monkeypatch.setattr(tune, "affordable", lambda *_arguments: True)
    else:
        monkeypatch.setattr(ezkl, "check_cost", lambda *_arguments: None)
    with pytest.raises(CouldNotCheck) as caught:
        _compile(quick, tmp_path / "dear", targets=Targets(memory_bytes=1))
    assert caught.value.code == "no-circuit"
    assert not (tmp_path / "dear").exists()


def test_an_agreement_that_no_circuit_has_gives_none(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of a few bits are never exact; nothing is published as if they were."""
    monkeypatch.setattr(tune, "_MOST_MEASURED", 2)
    with pytest.raises(CouldNotCheck) as caught:
        _compile(quick, tmp_path / "exact", targets=Targets(error=1e-12))
    assert caught.value.code == "no-circuit"


def test_an_auditor_may_ask_for_more_than_the_owner(quick_package: Package, quick: Path) -> None:
    """What counts as agreement is the auditor's to say."""
    with pytest.raises(Rejected) as caught:
        reproduce(
            quick_package,
            quick / "network.onnx",
            spec=None,
            on_progress=_quiet,
            targets=Targets(error=1e-12),
        )
    assert caught.value.code == "not-reproduced"


def _offer(prove: float, verify: float, gas: int = 500_000) -> offers.Offer:
    cost = replace(_COST, prove_seconds=prove, verify_seconds=verify, verify_gas=gas)
    args = {"input_scale": 7, "scale_rebase_multiplier": 2, "logrows": 9, "num_inner_cols": 1}
    return offers.Offer(offers.Rewrites(), {**args, "decomp_base": 256, "decomp_legs": 2}, {}, cost)


def test_of_equally_cheap_circuits_the_one_that_verifies_faster_comes_first() -> None:
    """A tenth of proving time counts for nothing against the time of every check; more than that decides."""
    slow_check, quick_check, dear = _offer(2.0, 0.12), _offer(2.05, 0.03), _offer(3.0, 0.01)
    found = sorted([dear, slow_check, quick_check], key=partial(offers.order_of, targets=Targets()))
    assert found == [quick_check, slow_check, dear]


def test_for_a_chain_gas_comes_before_time() -> None:
    """A circuit that takes less gas is first however slow; of those that take the same, the fastest; nobody else looks at gas."""
    quick, cheap, slow = _offer(1.0, 0.02, 900_000), _offer(4.0, 0.02), _offer(9.0, 0.02, 501_000)
    given = [slow, quick, cheap]
    assert sorted(given, key=partial(offers.order_of, targets=Targets(evm=True))) == [cheap, slow, quick]
    assert sorted(given, key=partial(offers.order_of, targets=Targets())) == [quick, cheap, slow]
