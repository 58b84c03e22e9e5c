"""The consumer, the example on it and its registry, in any order of calls: what happens is what the rules say, and nothing else.

`scripts/fuzz-consumer` does the same for longer.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.solc import Compiled

from .chain import Chain
from .planned import PLAN, Prepared, bound_of
from .rules import Rules
from .test_consumer import World

EXAMPLES = int(os.environ.get("VERINFER_FUZZ_EXAMPLES", "20"))
"""How many runs; `scripts/fuzz-consumer` sets it."""
STEPS = 25


@pytest.fixture(scope="module")
def prepared(
    bmi_package: Package,
    bmi_verifier: Contract,
    own: dict[str, Compiled],
    tmp_path_factory: pytest.TempPathFactory,
) -> Prepared:
    """A proof of each planned request, and one for the first one's nonce on the second one's input."""
    place = Workplace(directory=tmp_path_factory.mktemp("proofs"), limits=heavy_limits())
    bare = Prepared(World(Chain(), bmi_package, bmi_verifier, own, "", "", place), ())
    world, _ = bare.deployed()
    honest = [
        world.proof(bound_of(world, number, planned).nonce, planned.values)
        for number, planned in PLAN.items()
    ]
    stolen = world.proof(bound_of(world, 1, PLAN[1]).nonce, PLAN[2].values)
    return Prepared(world, (*honest, stolen))


def test_no_order_of_calls_breaks_a_rule(prepared: Prepared) -> None:
    """No second settlement, no lost request, no change by what reverts, events that tell the state, and no wei lost."""
    run_state_machine_as_test(
        lambda: Rules(prepared),  # type: ignore[arg-type]  # any factory does, as its documentation says
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
