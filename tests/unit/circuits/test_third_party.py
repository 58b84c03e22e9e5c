"""ONNX files that nobody here made: each is adopted, rewritten, and taken by EZKL, or refused with a reason, within a minute.

They lie beside the checkout, in ``../shared/models`` or where ``VERINFER_THIRD_PARTY_MODELS`` says; they are not committed.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from verinfer.circuits.candidates import Candidate
from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.circuits.rewrite.adoption import adopt
from verinfer.circuits.rewrite.rules import RULES
from verinfer.verifier.errors import Malformed

HOME = Path(os.environ.get("VERINFER_THIRD_PARTY_MODELS", Path(__file__).parents[4] / "shared" / "models"))
MODELS = sorted(path.parent.name for path in HOME.glob("*/network.onnx"))
REFUSED = {"nanoGPT": "Equal"}
"""Files that no version of ONNX allows, and what the reason must name."""
SECONDS = 60
RUN_ARGS = Candidate(scale=7, rebase=2, base=16384, legs=2).run_args()

pytestmark = pytest.mark.skipif(not MODELS, reason=f"there are no third-party models in {HOME}")


@pytest.fixture
def light(tmp_path: Path) -> Workplace:
    """A directory for children, with the limits for parsing."""
    return Workplace(directory=tmp_path, limits=PARSE_LIMITS)


def _answers(model: onnx.ModelProto, name: str) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    given = json.loads((HOME / name / "input.json").read_text())["input_data"]
    feed = {
        value.name: np.array(flat, np.float32 if value.type == "tensor(float)" else np.int64).reshape(
            value.shape
        )
        for value, flat in zip(session.get_inputs(), given, strict=True)
    }
    return list(session.run(None, feed))


@pytest.mark.parametrize("name", [name for name in MODELS if name not in REFUSED])
def test_a_third_party_model_reaches_ezkl(light: Workplace, name: str) -> None:
    """Adopted and rewritten by all rules it computes the same on its sample, and EZKL counts its rows."""
    started = time.monotonic()
    plain = light.directory / "plain.onnx"
    light.onnx("adopt", model=HOME / name / "network.onnx", output=plain)
    adopted = onnx.load(str(plain))
    rewritten = adopted
    for rule in RULES:
        rewritten = rule.apply(rewritten)
    for before, after in zip(_answers(adopted, name), _answers(rewritten, name), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, atol=1e-4 * max(float(np.abs(before).max()), 1e-9), rtol=0)
    path = light.directory / "rewritten.onnx"
    path.write_bytes(rewritten.SerializeToString())
    light.ezkl("gen_settings", model=path, output=light.directory / "settings.json", run_args=RUN_ARGS)
    assert json.loads((light.directory / "settings.json").read_text())["num_rows"] > 0
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize("name", [name for name in MODELS if name in REFUSED])
def test_what_cannot_be_taken_is_refused_with_a_reason(light: Workplace, name: str) -> None:
    """The reason names the operator at fault, within a minute."""
    started = time.monotonic()
    with pytest.raises(Malformed, match=REFUSED[name]) as caught:
        light.onnx("adopt", model=HOME / name / "network.onnx", output=light.directory / "plain.onnx")
    assert caught.value.code == "model-refused"
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize("name", [name for name in MODELS if name not in REFUSED])
def test_adoption_finds_nothing_to_do_twice(name: str) -> None:
    """A plain form is plain."""
    once, _ = adopt(onnx.load(str(HOME / name / "network.onnx")))
    again, steps = adopt(once)
    assert steps in ([], ["static-shapes"])
    assert len(again.graph.node) == len(once.graph.node)
