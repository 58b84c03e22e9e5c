"""The commands: their exit codes, and what they print for people and for programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits import srs
from verinfer.circuits.package import Package
from verinfer.verifier.digest import sha256

from ...command import Done, verinfer


def _run(*arguments: str | Path, cwd: Path | None = None) -> Done:
    return verinfer(*arguments, home=cwd or Path())


def _code(done: Done) -> str:
    assert "Traceback" not in done.stderr
    code: str = json.loads(done.stdout or done.stderr)["code"]
    return code


def test_compile_refuses_a_hostile_model(quick: Path, tmp_path: Path) -> None:
    """A model that is malformed ends with exit code 3, a stable code and no package."""
    folder = tmp_path / "model"
    shutil.copytree(quick, folder)
    graph = helper.make_graph(
        [helper.make_node("RandomNormal", [], ["body"], shape=[1, 2])],
        "g",
        [helper.make_tensor_value_info("habits", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("body", TensorProto.FLOAT, [1, 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "network.onnx")
    spec = json.loads((folder / "spec.json").read_text())
    spec["onnx"] = sha256((folder / "network.onnx").read_bytes())
    (folder / "spec.json").write_text(json.dumps(spec))
    done = _run("compile", folder, "--out", tmp_path / "out", "--insecure-srs", "--json")
    assert (done.returncode, _code(done)) == (3, "model-refused")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with a bare ONNX file of two features, three classes and a Softmax, and samples with their answers."""
    random = np.random.default_rng(3)
    weights = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.5]], np.float32)
    inputs = random.normal(size=(40, 2)).astype(np.float32)
    answers = (inputs @ weights).argmax(axis=1)
    np.savez(tmp_path / "data.npz", allow_pickle=False, x=inputs, expected=answers)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path


def test_a_bare_file_is_compiled_without_its_head_and_rebuilt(bare: Path) -> None:
    """The auditor has the file with the head, and is told that it was cut off, and whose samples were measured."""
    model, data, out = bare / "model.onnx", bare / "data.npz", bare / "package"
    options = ("--data", data, "--cut-head", "--insecure-srs", "--out", out)
    done = _run("compile", model, *options, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["agreement"] == 1.0
    done = _run("reproduce", out, model, "--samples", data, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["adopted"], found["own_samples"], found["srs"]) == (["cut-head"], True, "insecure-local")
    said = _run("reproduce", out, model).stdout
    for part in ("REPRODUCED", "HEAD CUT", "THE OWNER'S SAMPLES", "INSECURE SRS", "NOT COMPARED"):
        assert part in said


def test_a_packages_own_spec_is_not_its_published_one(quick_package: Package) -> None:
    """An auditor who names the package's own files compares its owner with himself, and must not be told otherwise."""
    done = _run("reproduce", quick_package.folder, quick_package.path("network.onnx"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["meaning_compared"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("compile", "absent", "--out", "out"),
        ("compile", "model.onnx", "--out", "out"),
        ("compile", "model.onnx", "--data", "data.npz", "--out", "there"),
        ("compile", "model.onnx", "--data", "data.npz", "--name", "my model", "--out", "out"),
        ("compile", "model.onnx", "--data", "data.npz", "--version", "../2", "--out", "out"),
        ("compile", "my model.onnx", "--data", "data.npz", "--out", "out"),
        ("compile", "model.onnx", "--data", "data.npz", "--labels", "latin.txt", "--out", "out"),
        ("compile", "model.onnx", "--data", "data.npz", "--target", "error<=0.1", "--out", "out"),
        ("compile", "model.onnx", "--data", "data.npz", "--budget", "soon", "--out", "out"),
        ("estimate", "model.onnx", "--memory", "nan"),
        ("estimate", "model.onnx", "--memory", "inf"),
        ("profile", "model.onnx", "--plot", "picture.png"),
        ("srs", "make", "24"),
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[str, ...], bare: Path) -> None:
    """Exit code 2 and one line that says what to write instead; never a fault of verinfer, and nothing is made."""
    (bare / "there").mkdir()
    (bare / "latin.txt").write_bytes("groß\nklein\nmittel".encode("latin-1"))
    shutil.copyfile(bare / "model.onnx", bare / "my model.onnx")
    done = _run(*arguments, cwd=bare)
    assert done.returncode == 2, done.stderr
    assert "internal" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bare / "out").exists()


def test_reproduce_rejects_another_model(quick_package: Package, tmp_path: Path) -> None:
    """Exit code 1 says that the package is not to be believed."""
    other = tmp_path / "network.onnx"
    other.write_bytes(quick_package.path("network.onnx").read_bytes() + b"\0")
    done = _run("reproduce", quick_package.folder, other, "--json")
    assert (done.returncode, _code(done)) == (1, "not-reproduced")


def test_card_speaks_to_people_and_programs(quick_package: Package) -> None:
    """Both forms say the circuit, the cost and that the SRS is insecure."""
    text, data = (
        _run("card", quick_package.folder),
        json.loads(_run("card", quick_package.folder, "--json").stdout),
    )
    assert text.returncode == 0
    assert "INSECURE SRS" in text.stdout
    assert quick_package.digest in text.stdout
    assert data["circuit"] == quick_package.digest
    assert data["srs"] == "insecure-local"
    assert data["fidelity"]["samples"] == 32
    assert data["cost"]["prove_ms"] > 0


def test_card_of_a_torn_package_is_no_card(quick_package: Package, tmp_path: Path) -> None:
    """Exit code 4: nothing can be said about files that are not those that were built."""
    copy = tmp_path / "copy"
    shutil.copytree(quick_package.folder, copy)
    (copy / "card.json").write_text("{}")
    done = _run("card", copy, "--json")
    assert (done.returncode, _code(done)) == (4, "artifact-torn")


def test_srs_make_and_show_say_that_it_is_insecure() -> None:
    """Who makes an SRS is told what it is worth; provenance is derived from the bytes."""
    made = _run("srs", "make", "3")
    assert made.returncode == 0
    assert "INSECURE" in made.stdout
    path = srs.make_insecure(3).path
    shown = json.loads(_run("srs", "show", path, "--json").stdout)
    assert shown["provenance"] == "insecure-local"
    assert shown["sha256"] == sha256(path.read_bytes())


@pytest.mark.parametrize("name", ["network.onnx", "pk.key"])
def test_srs_fetch_takes_only_an_srs(name: str, quick_package: Package) -> None:
    """A file that is no SRS is malformed (3); a local SRS is rejected (1)."""
    assert _run("srs", "fetch", quick_package.path(name)).returncode == 3
    assert _run("srs", "fetch", quick_package.path("kzg.srs")).returncode == 1


def test_what_was_downloaded_is_reproduced_with_samples_of_ones_own(
    quick: Path, quick_package: Package, tmp_path: Path
) -> None:
    """The verify bundle and the SRS are enough; without samples it says what is missing; labels that differ are found."""
    shutil.copytree(quick_package.path("verify"), tmp_path / "mine" / "verify")
    shutil.copyfile(quick_package.path("kzg.srs"), tmp_path / "mine" / "kzg.srs")
    network, samples = quick / "network.onnx", quick / "samples.npz"
    done = _run("reproduce", tmp_path / "mine", network, "--json")
    assert (done.returncode, _code(done)) == (2, "usage")
    assert "--samples" in done.stderr
    done = _run("reproduce", tmp_path / "mine", network, "--data", samples, "--samples", samples, "--json")
    assert (done.returncode, _code(done)) == (2, "usage")
    # As the owner of a bare file would: its name and fields are not those that the package's spec has.
    bare = ("--data", samples, "--name", "bmi", "--task", "regression")
    done = _run("reproduce", tmp_path / "mine", network, *bare, "--json")
    assert (done.returncode, _code(done)) == (1, "not-reproduced")
    done = _run("reproduce", tmp_path / "mine", network, "--samples", samples, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["own_samples"], found["meaning_compared"]) == (True, True)
