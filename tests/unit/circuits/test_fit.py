from pathlib import Path

import pytest

from verinfer.circuits import cost
from verinfer.circuits.fit import Toy, fit, measure
from verinfer.circuits.native import Workplace


def test_what_was_fitted_is_what_later_predictions_use(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real circuits are measured, the result is kept for this machine, and progress is said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    progress: list[float] = []
    toys = (Toy("a", (2, 8), 9), Toy("as", (2, 8), 9), Toy("m", (4, 8), 9, 2))
    found = fit(place, progress.append, toys)
    assert progress == [0, 1 / 3, 2 / 3]
    assert cost.load_coefficients() == found
    assert found.machine == cost.this_machine()
    # No more cores work than there are: what the process did before the call, such as importing, does not count.
    assert 1 <= found.parallel <= found.machine["cores"]


def test_the_defaults_predict_a_circuit_that_they_were_not_fitted_on(place: Workplace) -> None:
    """Processor time within a factor of two even on a busy machine, memory within a half, of a real setup and proof."""
    defaults = cost._read(cost.DEFAULTS)  # noqa: SLF001 - what this machine has fitted must not decide a test
    measured = measure(Toy("sat", (6, 24), 11), place)
    predicted = cost.predict(measured.settings, defaults)
    assert predicted.prove_bytes == pytest.approx(measured.prove_bytes, rel=0.5)
    assert predicted.setup_bytes == pytest.approx(measured.setup_bytes, rel=0.5)
    if defaults.machine == cost.this_machine():
        seconds = predicted.prove_seconds * defaults.parallel
        assert measured.prove_seconds / 2 < seconds < measured.prove_seconds * 2
