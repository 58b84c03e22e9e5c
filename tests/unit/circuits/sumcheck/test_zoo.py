"""Models of the zoo in our own proof system: as good as fp32, and proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from verinfer.circuits.model import Model, read_model
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.sumcheck.choose import Chosen, import_network
from verinfer.circuits.sumcheck.description import canon
from verinfer.circuits.sumcheck.prover import Prover, setup
from verinfer.circuits.targets import Targets
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected
from verinfer.verifier.sumcheck.check import check

ZOO = Path(__file__).parents[4] / "models" / "zoo"
CHALLENGE = bytes(range(32))

Imported = tuple[Model, Chosen]


@pytest.fixture(scope="module", params=["bmi", "breast_cancer", "digits", "lenet"])
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A model, and its integer network for the default targets."""
    place = Workplace(directory=tmp_path_factory.mktemp(request.param), limits=heavy_limits())
    model = read_model(ZOO / request.param, place)
    return model, import_network(model.onnx, model.reference, Targets(), place)


def test_integers_answer_as_fp32_does(imported: Imported) -> None:
    """On samples that nothing was fitted to, 99.5 % of labels are fp32's; a regression is within 2 % of its range."""
    model, chosen = imported
    found, targets = chosen.trial.held_out, Targets()
    assert found.samples + chosen.trial.fitted.samples == len(model.fp32)
    if model.spec.task == "classification":
        assert found.agreement >= targets.agreement
    else:
        values = np.array(model.fp32)[:, 0]
        assert found.error <= targets.error * np.ptp(values)


def test_every_input_is_proven_and_checked(imported: Imported) -> None:
    """A sample's answer has a proof that the verifier takes, and so has an input far beyond all samples, which saturates."""
    model, chosen = imported
    made = chosen.quantised
    key = setup(made.description, made.weights)
    prover = Prover(key)
    (samples,) = model.samples.values()
    for values in (np.array(samples[1]), np.full(len(samples[1]), 1e30)):
        x = made.admit(values).ravel().tolist()
        proof = prover.prove(np.array(x), CHALLENGE)
        y = proof.y.ravel().tolist()
        check(canon(made.description), key.root, CHALLENGE, x, y, proof.data)
        with pytest.raises(Rejected):
            check(canon(made.description), key.root, CHALLENGE, x, [y[0] + 1, *y[1:]], proof.data)
    outputs = made.real(prover.prove(made.admit(np.array(samples[1])), CHALLENGE).y).ravel()
    assert outputs.tolist() == chosen.trial.held_out.outputs[0][0]


def test_a_target_that_no_bits_meet_is_an_error(tmp_path: Path) -> None:
    """The error says how near the best choice came."""
    place = Workplace(directory=tmp_path, limits=heavy_limits())
    model = read_model(ZOO / "bmi", place)
    with pytest.raises(CouldNotCheck, match="best agrees") as refused:
        import_network(model.onnx, model.reference, Targets(error=1e-9), place)
    assert refused.value.code == "no-circuit"


def test_a_node_is_refused_out_of_the_child(tmp_path: Path) -> None:
    """What the child refuses comes out of it with its code and the node's name, as of any other model."""
    place = Workplace(directory=tmp_path, limits=heavy_limits())
    model = read_model(ZOO / "digits_lstm", place)
    with pytest.raises(Malformed, match="LSTM") as refused:
        import_network(model.onnx, model.reference, Targets(), place)
    assert refused.value.code == "model-unsupported"
