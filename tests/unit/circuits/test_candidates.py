"""The price of run args, and that none is taken that a rebuild could round differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verinfer.circuits.candidates import (
    count_all,
    count_blocks,
    count_rows,
    is_steady,
)
from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package


def test_a_block_ends_before_two_to_the_k() -> None:
    """The thresholds that EZKL 23.0.5 showed: the most cells for so many blocks, and one more."""
    for columns, logrows, blocks, most in [
        (1, 9, 6, 3029),
        (1, 10, 3, 3050),
        (2, 10, 2, 4069),
        (3, 11, 1, 6123),
    ]:
        assert count_blocks(most, columns, logrows) == blocks
        assert count_blocks(most + 2, columns, logrows) == blocks + 1


def test_candidates_are_the_same_each_time_and_all_hold_a_limb(bmi: Path, place: Workplace) -> None:
    """Each entry can carry a challenge, its table fits, and its settings are of its own size."""
    wrapped = place.directory / "wrapped.onnx"
    place.onnx("wrap", model=bmi / "network.onnx", output=wrapped)
    first, second = count_all(str(wrapped), place), count_all(str(wrapped), place)
    assert [candidate for candidate, _ in first] == [candidate for candidate, _ in second]
    for candidate, settings in first:
        assert candidate.base**candidate.legs >= 1 << 16
        assert candidate.base < 1 << candidate.logrows
        assert settings["run_args"]["logrows"] == candidate.logrows


def test_a_model_that_ezkl_cannot_import_has_no_circuit(place: Workplace, tmp_path: Path) -> None:
    """There is nothing to choose from, which is not a failure of a child."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    assert count_all(str(path), place) == []


def _settings(rows: int) -> dict[str, Any]:
    return {
        "num_rows": rows,
        "total_assignments": rows,
        "required_range_checks": [],
        "required_lookups": [],
        "run_args": {"num_inner_cols": 1, "logrows": 12},
    }


def test_some_counts_are_too_close_to_the_edge() -> None:
    """Of all counts of one to two blocks most are steady, and each that is has neighbours with the same settings."""
    steady = [rows for rows in range(1000, 8000) if is_steady(_settings(rows))]
    assert 0.8 < len(steady) / 7000 < 1


def test_the_chosen_settings_are_steady(quick_package: Package, place: Workplace) -> None:
    """What was published is what a rebuild gets, a few rows more or less."""
    run_args = quick_package.manifest.ezkl.run_args.to_json()
    (settings,) = count_rows(str(quick_package.path("wrapped.onnx")), [run_args], place)
    assert settings is not None
    assert is_steady(settings)
