import json
from pathlib import Path
from typing import Any

import pytest

from verinfer.circuits import cost
from verinfer.circuits.columns import count_columns
from verinfer.circuits.cost import Coefficients, Measurement

# Measured with ezkl 23.0.5: settings, then the columns that EZKL logs, and the sizes of pk, vk and proof.
PLAIN: dict[str, Any] = {"logrows": 12, "inner": 1, "cells": 2048}
CASES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "one block": (PLAIN, {"advice": 3, "selectors": 11, "pk": 11803299, "vk": 6471, "proof": 1952}),
    "nine blocks": (
        {"logrows": 10, "inner": 1, "cells": 8450},
        {"advice": 27, "selectors": 99, "pk": 15551523, "vk": 17607, "proof": 11424},
    ),
    "two inner columns": (
        {"logrows": 13, "inner": 2, "cells": 2048},
        {"advice": 6, "selectors": 16, "pk": 34621195, "vk": 17671, "proof": 3072},
    ),
    "three lookups": (
        {"logrows": 12, "inner": 1, "cells": 2368, "lookups": 3},
        {"advice": 3, "selectors": 14, "pk": 17310475, "vk": 8455, "proof": 2848},
    ),
    "a table of several columns": (
        {"logrows": 10, "inner": 1, "cells": 2241, "lookups": 2, "table": [-2048, 2047]},
        {"advice": 9, "selectors": 39, "pk": 15541027, "vk": 7879, "proof": 10592},
    ),
    "Freivalds, one block": (
        {"logrows": 12, "inner": 1, "cells": 3840, "products": 538},
        {"advice": 9, "selectors": 36, "pk": 22827379, "vk": 20167, "proof": 3360},
    ),
    "Freivalds, three blocks": (
        {"logrows": 10, "inner": 1, "cells": 3840, "products": 538},
        {"advice": 30, "selectors": 155, "pk": 22836443, "vk": 27143, "proof": 10848},
    ),
}


def settings(
    *,
    logrows: int,
    inner: int,
    cells: int,
    lookups: int = 0,
    table: list[int] | None = None,
    products: int = 0,
    disable: bool = False,
) -> dict[str, Any]:
    """What `count_columns` reads of EZKL's settings for an [8, 16] network with base 256 and two legs."""
    checks: list[list[Any]] = [["abc,abc->ab", {"a": 8, "b": 16, "c": 2}]] * 3
    return {
        "run_args": {
            "logrows": logrows,
            "num_inner_cols": inner,
            "lookup_range": table or [-128, 128],
            "disable_freivalds": disable,
        },
        "total_assignments": cells,
        "module_sizes": {"polycommit": [], "poseidon": [0, [0]]},
        "required_range_checks": [[-1, 1], [0, 255]],
        "required_lookups": list(range(lookups)),
        "model_instance_shapes": [[8, 16], [8, 16]],
        "einsum_params": {"equations": checks, "total_einsum_col_size": products},
    }


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", CASES)
def test_columns_are_those_that_ezkl_makes(name: str) -> None:
    """Advice columns and selectors are exact; keys and proofs within a tenth of the real files, and most proofs exactly."""
    given, wanted = CASES[name]
    found = count_columns(settings(**given), uncompressed=False)
    predicted = cost.predict(settings(**given), default())
    assert (found.advice, found.selectors) == (wanted["advice"], wanted["selectors"])
    assert predicted.pk_bytes == pytest.approx(wanted["pk"], rel=0.11)
    assert predicted.vk_bytes == pytest.approx(wanted["vk"], rel=0.11)
    is_exact = name not in ("a table of several columns", "Freivalds, three blocks")
    assert predicted.proof_bytes == pytest.approx(wanted["proof"], rel=0 if is_exact else 0.11)


def test_without_freivalds_there_are_no_columns_for_it() -> None:
    """`disable_freivalds` puts products into the main columns."""
    plain = settings(logrows=12, inner=1, cells=3968, products=538, disable=True)
    assert count_columns(plain, uncompressed=False).product_blocks == 0


@pytest.mark.parametrize(
    ("name", "vk"),
    [("Freivalds, one block", 3207), ("Freivalds, three blocks", 12167)],
)
def test_a_column_for_each_selector_makes_a_short_vk(name: str, vk: int) -> None:
    """The vk has only points then, as many as EZKL's own file; the pk is longer for it."""
    given, _ = CASES[name]
    each, shared = (
        cost.predict(settings(**given), default(), uncompressed=uncompressed)
        for uncompressed in (True, False)
    )
    assert each.vk_bytes == vk
    assert each.pk_bytes > shared.pk_bytes
    assert each.prove_bytes > shared.prove_bytes
    assert each.vk_bytes < shared.vk_bytes


def test_a_check_compares_shared_selectors() -> None:
    """As measured for LeNet-5: 58 ms with 88 of them at k = 15, and 31 ms with a column for each, whose proof is longer."""
    given = settings(logrows=15, inner=2, cells=60_000, products=120_000)
    shared, each = (cost.predict(given, default(), uncompressed=apart) for apart in (False, True))
    assert each.proof_bytes > shared.proof_bytes
    assert shared.verify_seconds > each.verify_seconds + 0.015
    assert 0.02 < each.verify_seconds < 0.05


def test_selectors_share_columns_until_reading_the_vk_takes_too_long() -> None:
    """Up to k = 15 a check may take 50 ms, above that 200 ms; a small circuit's selectors take no time."""
    assert not cost.prefers_uncompressed(settings(logrows=12, inner=1, cells=3968, products=538))
    apart = {
        logrows: cost.prefers_uncompressed(settings(logrows=logrows, inner=1, cells=60_000, products=80_000))
        for logrows in (15, 16)
    }
    assert apart == {15: True, 16: False}


def test_a_larger_circuit_never_costs_less() -> None:
    """Every figure grows with k at equal columns, and with cells at equal k: the search compares nothing else."""
    small = cost.predict(settings(**PLAIN), default())
    for change in ({"logrows": 13}, {"cells": 30_000}, {"lookups": 4, "cells": 5000}, {"products": 3000}):
        large = cost.predict(settings(**{**PLAIN, **change}), default())
        assert large.prove_seconds > small.prove_seconds
        assert large.prove_bytes > small.prove_bytes
        assert large.setup_seconds > small.setup_seconds
        assert large.pk_bytes > small.pk_bytes


def test_solving_finds_the_prices_that_made_the_measurements() -> None:
    """Measurements that follow the model exactly give predictions that equal them, and no price below zero."""
    measured = [made(settings(**given)) for given, _ in CASES.values()]
    solved = cost.solve(measured, {"processor": "test"})
    for item in measured:
        predicted = cost.predict(item.settings, solved)
        assert predicted.prove_seconds * solved.parallel == pytest.approx(item.prove_seconds, rel=0.02)
        assert predicted.setup_bytes == pytest.approx(item.setup_bytes, rel=0.02)
    assert min(price for prices in solved.terms.values() for price in prices.values()) >= 0


def test_fitted_coefficients_are_used_instead_of_the_defaults() -> None:
    """What was saved for this machine is what is loaded; before, the defaults are."""
    assert cost.load_coefficients() == default()
    other = Coefficients(
        {"processor": "x"},
        4.0,
        {figure: dict.fromkeys(prices, 1.0) for figure, prices in default().terms.items()},
    )
    cost.save(other, cost.fitted_file())
    assert cost.load_coefficients() == other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 0}',
        '{"version": 1, "terms": {"prove_seconds": {}}}',
        '{"version": 1, "terms": 3}',
    ],
)
def test_a_spoilt_file_of_coefficients_is_passed_over(text: str) -> None:
    """A cache file that is not of this version never stops a compilation."""
    cost.fitted_file().write_text(text)
    assert cost.load_coefficients() == default()


def default() -> Coefficients:
    """The committed coefficients, read without the code under test."""
    value = json.loads(cost.DEFAULTS.read_text())
    return Coefficients(value["machine"], value["parallel"], value["terms"])


def made(described: dict[str, Any]) -> Measurement:
    """A measurement that follows the model, with the default prices."""
    exact = cost.predict(described, default())
    factor = default().parallel
    return Measurement(
        described,
        exact.prove_seconds * factor,
        exact.setup_seconds * factor,
        exact.prove_bytes,
        exact.setup_bytes,
        factor,
    )
