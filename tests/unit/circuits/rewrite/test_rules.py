"""The list of rules as a whole: on the committed models, in other processes, in EZKL's rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from verinfer.circuits.native import EZKL, Workplace, heavy_limits
from verinfer.circuits.rewrite.rules import RULES, replay
from verinfer.verifier import child
from verinfer.verifier.errors import CouldNotCheck

NAMES = [rule.name for rule in RULES]
ZOO = sorted((Path(__file__).parents[4] / "models" / "zoo").glob("*/network.onnx"))
(LENET,) = (path for path in ZOO if path.parent.name == "lenet")
REPLAY = """
import hashlib, sys, onnx
from verinfer.circuits.rewrite.rules import replay
for path in sys.argv[2:]:
    model = replay(onnx.load(path), sys.argv[1].split(","))
    print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_committed_models_keep_their_meaning(
    zoo: Path, rewritten: Callable[..., onnx.ModelProto]
) -> None:
    """All rules together change no output of a committed model by more than 1e-5 of the largest; a second time nothing."""
    rewritten(onnx.load(str(zoo)), *NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_rule_alone_keeps_the_meaning(
    name: str, zoo: Path, rewritten: Callable[..., onnx.ModelProto]
) -> None:
    """No rule relies on another: the compiler leaves out what does not lower the rows."""
    rewritten(onnx.load(str(zoo)), name)


def test_a_child_rewrites_and_compares(tmp_path: Path) -> None:
    """The rewritten file has the given interface, and over a few samples the same fp32 outputs."""
    place = Workplace(directory=tmp_path, limits=heavy_limits())
    after = tmp_path / "after.onnx"
    found = place.onnx("rewrite", model=LENET, output=after, rules=NAMES)
    given = place.onnx("inspect", model=LENET)
    assert [found[role] for role in ("inputs", "outputs")] == [given[role] for role in ("inputs", "outputs")]
    few = tmp_path / "few.npz"
    random = np.random.default_rng(1)
    np.savez(
        few,
        allow_pickle=False,
        **{item["name"]: random.normal(size=(8, *item["shape"])).astype("f4") for item in found["inputs"]},
    )
    assert place.onnx("compare", first=LENET, second=after, inputs=few) <= 1e-5


def test_a_comparison_finds_a_difference(tmp_path: Path, build: Any) -> None:
    """Half the largest output is 0.5."""
    paths = {factor: tmp_path / f"{factor}.onnx" for factor in (1.0, 1.5)}
    for factor, path in paths.items():
        node = helper.make_node("Mul", ["x", "c"], ["y"])
        path.write_bytes(build([1, 2], [node], {"c": np.array([factor], np.float32)}).SerializeToString())
    np.savez(tmp_path / "x.npz", allow_pickle=False, x=np.array([[[1, -4]], [[2, 3]]], np.float32))
    place = Workplace(directory=tmp_path, limits=heavy_limits())
    assert place.onnx("compare", first=paths[1.0], second=paths[1.5], inputs=tmp_path / "x.npz") == 0.5


def test_another_process_makes_the_same_bytes() -> None:
    """Two processes with different hash seeds write the same files."""
    digests = {
        subprocess.run(
            [sys.executable, "-P", "-c", REPLAY, ",".join(NAMES), *map(str, ZOO)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().split()) == len(ZOO)


def test_an_unknown_rule_is_refused() -> None:
    """A manifest of a later version is not half replayed."""
    with pytest.raises(CouldNotCheck) as raised:
        replay(onnx.load(str(LENET)), ["fold", "made-up"])
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


@pytest.mark.parametrize(
    "inputs",
    [[1.0, 1e30, 2.0], [1.0, 2.0, 3e38], [1.0, 2.0, np.nan], [1.0, np.inf, 2.0]],
    ids=["one huge sample", "the last one huge", "not a number", "infinite"],
)
def test_no_sample_hides_what_the_others_show(tmp_path: Path, build: Any, inputs: list[float]) -> None:
    """An owner who may choose the samples cannot make the comparison blind with one of them."""
    paths = {offset: tmp_path / f"{offset}.onnx" for offset in (0.0, 3.0)}
    for offset, path in paths.items():
        node = helper.make_node("Add", ["x", "c"], ["y"])
        path.write_bytes(build([1, 1], [node], {"c": np.array([offset], np.float32)}).SerializeToString())
    np.savez(tmp_path / "x.npz", allow_pickle=False, x=np.asarray(inputs, np.float32).reshape(-1, 1, 1))
    place = Workplace(directory=tmp_path, limits=heavy_limits())
    found = place.onnx("compare", first=paths[0.0], second=paths[3.0], inputs=tmp_path / "x.npz")
    assert not found <= 0.5
