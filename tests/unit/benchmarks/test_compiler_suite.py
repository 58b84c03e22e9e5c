"""The suite that compares circuits: its measured children, its means, and what it writes."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from verinfer.circuits.package import Package
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.instances import from_field_hex, to_field_hex

SCRIPTS = Path(__file__).parents[3] / "scripts"
COMMITTED = [
    ("receipt", "report"), ("compiler", "compiler_report"), ("contract", "contract_report"), ("sumcheck", "sumcheck_report"),
]  # fmt: skip
RESULTS = SCRIPTS / "benchmarks" / "results"


@pytest.fixture(name="suite")
def _suite(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`scripts/benchmarks` is no part of the installation; it is found as `scripts/bench` finds it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("benchmarks")


def _module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


def _samples(*values: float, unit: str = "s") -> dict[str, Any]:
    result: dict[str, Any] = _module("measure").Samples(unit, values).to_json()
    return result


def _side(prove: float, peak: float) -> dict[str, Any]:
    return {
        "logrows": 15,
        "rows": 2852,
        **{name: _samples(prove) for name in ("compile", "setup", "witness", "verify")},
        "prove": _samples(prove, prove * 1.02),
        "prove_peak": _samples(peak, unit="B"),
        "setup_peak": _samples(peak, unit="B"),
        "pk_bytes": 138_479_371,
        "vk_bytes": 66_823,
        "proof_bytes": 3072,
        "agreement": {"samples": 599, "of": 599, "share": 1.0, "refused": 0, "beyond_lookup_range": 0},
    }


def _results() -> dict[str, Any]:
    ratios = {"prove_ratio": 8.0, "memory_ratio": 2.0, "setup_ratio": 4.0, "setup_memory_ratio": 4.0}
    estimate = {"prove_factor": 1.2, "memory_factor": 0.9}
    cases = {
        "digits_mlp": {
            "stock": _side(8.0, 4e8),
            "ours": _side(1.0, 2e8),
            "estimate": estimate,
            "commit": "c",
            **ratios,
        },
        "digits": {"failed": "EZKL's prove took more than 1800 s.", "commit": "c"},
    }
    packages = {"ezkl": "23.0.5"}
    machine = {
        "processor": "P", "cores": 2, "memory_gib": 24.0, "packages": packages, "python": "3.11", "commit": "c",
    }  # fmt: skip
    return {"machine": machine, "cases": cases, "geomean": _module("compiler").geomean(cases)}


def _inputs(package: Package, count: int) -> list[list[list[str]]]:
    size = package.manifest.tensors("input")[0].size
    return [[[to_field_hex(index)] * size, [to_field_hex(0)] * 16] for index in range(count)]


def test_a_package_is_set_up_proved_and_verified_by_bare_calls(
    suite: ModuleType, bmi_package: Package, tmp_path: Path
) -> None:
    """The files that `compile_model` leaves are enough, and every step says its seconds and memory."""
    assert suite.__name__ == "benchmarks"
    one = _module("contestants").Contestant(
        home=tmp_path,
        compiled=bmi_package.path("model.compiled"),
        settings=bmi_package.path("verify/settings.json"),
        srs=bmi_package.path("kzg.srs"),
        inputs=_inputs(bmi_package, 1),
        seconds={},
    )
    compiler = _module("compiler")
    costs = {"setup": compiler.make_keys(one), **compiler.prove_once(one)}
    assert set(costs) == {"setup", "witness", "prove", "verify"}
    assert all(cost.seconds > 0 and cost.peak_bytes > 1 << 20 for cost in costs.values())


@pytest.mark.usefixtures("suite")
def test_a_childs_memory_is_its_own(bmi_package: Package, tmp_path: Path) -> None:
    """What the benchmark itself holds is not counted: a small step stays small under a large parent."""
    ballast = bytearray(b"x") * (400 << 20)
    (tmp_path / "input.json").write_text(json.dumps({"input_data": _inputs(bmi_package, 1)[0]}))
    cost = _module("steps").run(
        "gen_witness",
        tmp_path,
        data=tmp_path / "input.json",
        compiled=bmi_package.path("model.compiled"),
        witness=tmp_path / "witness.json",
    )
    assert cost.peak_bytes < len(ballast) / 2


@pytest.mark.usefixtures("suite")
def test_a_step_that_fails_or_hangs_ends_with_a_code(bmi_package: Package, tmp_path: Path) -> None:
    """EZKL's refusal is told apart from the time limit, and neither is a measurement."""
    run = _module("steps").run
    with pytest.raises(ChildFailed) as caught:
        run("gen_settings", tmp_path, model=tmp_path / "none", settings=tmp_path / "settings")
    assert caught.value.code == "child-refused"
    assert "gen_settings" in caught.value.message
    keys = {"vk": tmp_path / "vk.key", "pk": tmp_path / "pk.key"}
    given = {"compiled": bmi_package.path("model.compiled"), "srs": bmi_package.path("kzg.srs")}
    with pytest.raises(ChildFailed) as caught:
        run("setup", tmp_path, limit=0.001, **given, **keys)
    assert caught.value.code == "child-out-of-time"
    assert "setup" in caught.value.message


@pytest.mark.usefixtures("suite")
def test_forward_passes_keep_the_order_of_samples(bmi_package: Package, tmp_path: Path) -> None:
    """However many processes share the samples, each answer is its sample's; one that EZKL refuses has none."""
    inputs = _inputs(bmi_package, 5)
    inputs[3] = [[to_field_hex(1 << 200)] * len(inputs[3][0]), inputs[3][1]]
    compiled, steps = bmi_package.path("model.compiled"), _module("steps")
    found = steps.forward_all(compiled, inputs, tmp_path, limit=60.0)
    single = [steps.forward_all(compiled, [item], tmp_path, limit=60.0)[0] for item in inputs]
    assert found == single
    assert found[3] == {}
    assert len({from_field_hex(answer["outputs"][0]) for answer in found if answer}) > 1


@pytest.mark.usefixtures("suite")
def test_samples_that_the_time_did_not_reach_are_not_counted(bmi_package: Package, tmp_path: Path) -> None:
    """At a time limit of nothing there is no answer, which is not the same as a refusal."""
    compiled, inputs = bmi_package.path("model.compiled"), _inputs(bmi_package, 3)
    assert _module("steps").forward_all(compiled, inputs, tmp_path, limit=0.0) == [None] * 3


@pytest.mark.usefixtures("suite")
def test_means_are_geometric_and_leave_out_what_failed() -> None:
    """8 and 2 make 4; a failed case is not in the count, and without any case there is no mean."""
    geomean = _module("compiler").geomean
    names = ("prove_ratio", "memory_ratio", "setup_ratio", "setup_memory_ratio")
    cases = {"a": dict.fromkeys(names, 8.0), "b": dict.fromkeys(names, 2.0), "c": {"failed": "why"}}
    assert geomean(cases) == {"cases": 2, **dict.fromkeys(names, pytest.approx(4.0))}
    assert geomean({"c": {"failed": "why"}}) == {"cases": 0, **dict.fromkeys(names)}


@pytest.mark.usefixtures("suite")
def test_the_table_shows_ratios_flags_and_failures() -> None:
    """A reader sees both medians, the factor, an unstable figure's question mark, and why a case is missing."""
    results = _results()
    results["cases"]["lenet"] = copy.deepcopy(results["cases"]["digits_mlp"])
    results["cases"]["lenet"]["ours"]["prove"] = _samples(1.0, 2.0)
    lines = _module("compiler_report").as_table(results).splitlines()
    row = {name: next(line for line in lines if line.startswith(f"| {name} ")) for name in results["cases"]}
    assert lines[0].endswith("commit c.")
    assert "8.08 s (8.00 to 8.16) → 1.01 s (1.00 to 1.02) | 8.0×" in row["digits_mlp"]
    assert "400 MB → 200 MB | 2.0×" in row["digits_mlp"]
    assert row["digits_mlp"].endswith("| 1.20, 0.90 |")
    widths = {line.count("|") for line in lines[lines.index("") + 1 :] if line.startswith("| case | k")}
    assert {line.count("|") for line in row.values()} == widths
    assert "1.50 s (1.00 to 2.00) ?" in row["lenet"]
    assert "failed: EZKL's prove took more than 1800 s." in row["digits"]


@pytest.mark.usefixtures("suite")
def test_results_are_written_where_they_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All cases: three files, exit code 1 for the failed case. Some cases without --out, or Ctrl-C: nothing is written."""
    compiler, bench = _module("compiler"), importlib.import_module("benchmarks.__main__").bench
    results = _results()
    measured = {"cases": results["cases"], "geomean": results["geomean"]}
    monkeypatch.setattr(compiler, "run", lambda *_arguments: iter([measured]))
    done = CliRunner().invoke(bench, ["compiler", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert json.loads(done.stdout.splitlines()[-1])["geomean"]["prove_ratio"] == pytest.approx(8.0)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {"compiler.json", "compiler.md", "compiler.svg"}

    measured["cases"] = {"digits_mlp": results["cases"]["digits_mlp"]}
    done = CliRunner().invoke(bench, ["compiler", "--case", "digits_mlp"])
    assert done.exit_code == 0
    assert set(json.loads(done.stdout.splitlines()[-1])["cases"]) == {"digits_mlp"}

    def interrupted(*_arguments: object) -> Iterator[dict[str, Any]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(compiler, "run", interrupted)
    assert CliRunner().invoke(bench, ["compiler", "--out", str(tmp_path)]).exit_code != 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


@pytest.mark.usefixtures("suite")
def test_cases_measured_apart_keep_their_commits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--add` keeps what was measured before, and the table names commits and processors; other sizes of machine are refused."""
    compiler, environment = _module("compiler"), _module("environment")
    bench = importlib.import_module("benchmarks.__main__").bench
    results = _results()
    later = {**results["machine"], "processor": "Q", "commit": "d", "load_before": 1.0}
    monkeypatch.setattr(environment, "describe", lambda: later)
    monkeypatch.setattr(compiler, "_case_or_failure", lambda *_arguments: {"failed": "why"})
    (tmp_path / "compiler.json").write_text(
        json.dumps({**results, "machine": {**later, "processor": "P", "commit": "c"}})
    )
    arguments = ["compiler", "--case", "lenet", "--add", "--out", str(tmp_path)]
    done = CliRunner().invoke(bench, arguments)
    written = json.loads((tmp_path / "compiler.json").read_text())
    assert {name: case["commit"] for name, case in written["cases"].items()} == {
        "digits_mlp": "c",
        "digits": "c",
        "lenet": "d",
    }
    table = (tmp_path / "compiler.md").read_text()
    assert "commit c (digits_mlp, digits), d (lenet)." in table
    assert "P (digits_mlp, digits), Q (lenet), 2 cores" in table
    assert done.exit_code == 1

    (tmp_path / "compiler.json").write_text(json.dumps({**results, "machine": {**later, "cores": 64}}))
    before = (tmp_path / "compiler.json").read_bytes()
    done = CliRunner().invoke(bench, arguments)
    assert done.exit_code == 1
    assert "a machine of another size" in done.stderr
    assert (tmp_path / "compiler.json").read_bytes() == before


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize(("name", "writer"), COMMITTED)
def test_committed_tables_are_of_the_committed_values(name: str, writer: str) -> None:
    """What people read is what the raw values give, with the columns that there are today."""
    home = RESULTS / name
    results = json.loads(home.with_suffix(".json").read_text())
    assert _module(writer).as_table(results) == home.with_suffix(".md").read_text()
