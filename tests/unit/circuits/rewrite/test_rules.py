"""The list of rules as a whole: on the committed models, in other processes, in EZKL's rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from verinfer.circuits.native import EZKL, heavy_limits
from verinfer.circuits.rewrite.rules import RULES, replay
from verinfer.verifier import child
from verinfer.verifier.errors import CouldNotCheck

NAMES = [rule.name for rule in RULES]
LENET = Path(__file__).parents[4] / "models" / "zoo" / "lenet" / "network.onnx"
REPLAY = """
import hashlib, sys, onnx
from verinfer.circuits.rewrite.rules import replay
model = replay(onnx.load(sys.argv[1]), sys.argv[2:])
print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_committed_models_keep_their_meaning(
    zoo: Path, rewritten: Callable[..., onnx.ModelProto]
) -> None:
    """All rules together change no output of a committed model by more than 1e-5 of the largest; a second time nothing."""
    rewritten(onnx.load(str(zoo)), *NAMES)


def test_another_process_makes_the_same_bytes(zoo: Path) -> None:
    """Two processes with different hash seeds write the same file."""
    digests = {
        subprocess.run(
            [sys.executable, "-P", "-c", REPLAY, str(zoo), *NAMES],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_an_unknown_rule_is_refused(zoo: Path) -> None:
    """A manifest of a later version is not half replayed."""
    with pytest.raises(CouldNotCheck) as raised:
        replay(onnx.load(str(zoo)), ["fold", "made-up"])
    assert raised.value.code == "rewrite-unknown"


def test_the_rules_lower_the_rows_of_lenet(tmp_path: Path) -> None:
    """EZKL counts less than half the rows for LeNet-5 after rewriting."""
    after = tmp_path / "after.onnx"
    after.write_bytes(replay(onnx.load(str(LENET)), NAMES).SerializeToString(deterministic=True))
    args: dict[str, Any] = {"input_scale": 7, "param_scale": 7, "scale_rebase_multiplier": 2, "logrows": 17}
    args |= {"num_inner_cols": 1, "decomp_base": 16384, "decomp_legs": 2, "param_visibility": "fixed"}
    before_rows, after_rows = (
        child.run(
            EZKL,
            "count_rows",
            {"model": str(path), "directory": str(tmp_path), "candidates": [args]},
            limits=heavy_limits(),
            directory=tmp_path,
        )[0]["num_rows"]
        for path in (LENET, after)
    )
    assert 2 * after_rows < before_rows, (before_rows, after_rows)
