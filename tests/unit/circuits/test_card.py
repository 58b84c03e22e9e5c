import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from verinfer.circuits import on_chain
from verinfer.circuits.accuracy import ClassAgreement, compare
from verinfer.circuits.card_page import page
from verinfer.circuits.package import Package
from verinfer.circuits.plots import Bar, Dot, bars, scatter
from verinfer.verifier.evm.costs import Rates

HOSTILE = "<script>alert('x')</script>\"&"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def card(**changes: Any) -> dict[str, Any]:
    """A card as `write_card` writes it, with hostile strings wherever a model's owner can put one."""
    point = {"label": HOSTILE, "logrows": 9, "rows": 900, "prove_bytes": 10**8, "error": 0.1}
    made: dict[str, Any] = {
        "model": {"name": HOSTILE, "version": "1", "onnx": "00" * 32},
        "circuit": "11" * 32,
        "task": "classification",
        "srs": "insecure-local",
        "ezkl": "23.0.5",
        "run_args": {"logrows": 9, "lookup_range": [-8, 8]},
        "rewrites": [{"name": HOSTILE}],
        "rows": 1024,
        "candidates_tried": 3,
        "fidelity": {"samples": 32, "agreement_with_fp32": 1.0, "largest_error": 0.01},
        "cost": {
            "setup_ms": 1,
            "witness_ms": 1,
            "prove_ms": 1,
            "verify_ms": 1,
            "prove_peak_bytes": 1,
            "pk_bytes": 1,
            "proof_bytes": 1,
            "estimated_prove_seconds": 1.0,
        },
        "machine": {"processor": HOSTILE, "cores": 2, "memory_bytes": 1, "python": "3"},
        "digests": {"ONNX file": "00" * 32},
        "caveats": [HOSTILE],
        "accuracy": {
            "samples": 32,
            "fp32": 0.9,
            "circuit": 0.9,
            "agreement": 1.0,
            "mean_error": 0.001,
            "largest_error": 0.01,
            "classes": [{"label": HOSTILE, "samples": 4, "agreed": 3}],
        },
        "frontier": [
            {**point, "seconds": 0.5, "agreement": 1.0, "chosen": True},
            {**point, "seconds": 0.4, "agreement": 0.9, "chosen": False},
        ],
        "layers": [{"name": HOSTILE, "operator": HOSTILE, "cells": 9, "share": 1.0}],
    }
    return {**made, **changes}


def test_the_page_is_one_file_without_scripts_and_escapes_every_string() -> None:
    """Whatever a model's owner writes is text; nothing is fetched from anywhere."""
    text = page(card())
    found = _Tags()
    found.feed(text)
    assert "script" not in found.tags
    assert not {"link", "img", "iframe", "object", "base", "form", "a"} & set(found.tags)
    names = {name for name, _ in found.attributes}
    assert not {"src", "href", "onload", "onerror", "onclick"} & names
    assert not re.search(r"url\(|@import", text)
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") >= 8


def test_the_page_shows_what_was_measured() -> None:
    """Accuracy of both, agreement by class, the frontier with the chosen point, cells per layer, digests and caveats."""
    text = page(card())
    for part in ("90.00%", "75.0%", "chosen", "Cells per layer", "00" * 32, "Caveats", "Insecure SRS"):
        assert part in text
    assert text.count("<circle") == 2
    assert text.count('class="chosen"') == 1


@pytest.mark.parametrize("missing", ["accuracy", "frontier", "layers", "digests", "caveats", "rewrites"])
def test_a_card_of_an_older_version_is_a_page_too(missing: str) -> None:
    """A part that an older card lacks is left out."""
    older = card()
    del older[missing]
    assert page(older).endswith("</html>\n")


def test_a_regression_has_errors_and_no_labels() -> None:
    """Agreement of labels does not apply, and the page does not show any."""
    fidelity = {"samples": 32, "agreement_with_fp32": None, "largest_error": 0.25}
    accuracy = {**card()["accuracy"], "fp32": None, "circuit": None, "agreement": None, "classes": []}
    text = page(card(task="regression", fidelity=fidelity, accuracy=accuracy))
    assert "0.25" in text
    assert "true labels" not in text


def test_accuracy_is_counted_on_the_same_samples() -> None:
    """fp32 and circuit are compared with the truth and with each other, class by class."""
    fp32 = [[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]]
    circuit = [[[0.9, 0.0]], [[0.0, 0.5]], [[0.0, 1.0]], [[0.0, 1.0]]]
    found = compare(circuit, fp32, [0, 1, 1, 0, 1], ["no", "yes"], "classification")
    assert (found.fp32, found.circuit, found.agreement) == (0.5, 0.75, 0.75)
    assert found.classes == (ClassAgreement("no", 2, 1), ClassAgreement("yes", 2, 2))
    assert found.largest_error == 1.0
    assert found.mean_error == pytest.approx((0.1 + 1.0 + 0.5) / 8)


def test_accuracy_of_a_batch_is_that_of_its_samples() -> None:
    """Two samples to a pass: each has its label, and its truth."""
    fp32 = [[[0.0, 1.0, 5.0, 2.0]], [[3.0, 1.0, 0.0, 2.0]]]
    circuit = [[[0.0, 1.0, 5.0, 6.0]], [[3.0, 1.0, 0.0, 2.0]]]
    found = compare(circuit, fp32, [1, 0, 0, 0], ["a", "b"], "classification", 2)
    assert (found.samples, found.fp32, found.circuit, found.agreement) == (4, 0.75, 0.5, 0.75)
    assert found.classes == (ClassAgreement("a", 2, 1), ClassAgreement("b", 2, 2))


def test_a_card_with_a_contract_has_a_table_of_gas_and_money() -> None:
    """Size against the limit, each step's gas, and USD at the rates that are named; a card without one has no such part."""
    descriptor = {
        "form": "reusable",
        "code_hash": "22" * 32,
        "requires": {"code_limit": 24_576},
        "sizes": {"Verifier": 10_854, "InferenceConsumer": 5_000},
        "price": {"deploy": 2_000_000, "register_vka": 300_000, "verify": 1_500_000, "verify_bytes": 20_000},
    }
    assert on_chain.as_markdown(card()) == []
    assert "On chain" not in page(card())
    plain = "\n".join(on_chain.as_markdown(on_chain.with_contract(card(), descriptor)))
    assert "| verifier | 10,854 of at most 24,576 bytes |" in plain
    assert "| verify, Prague | 1,500,000 gas |" in plain
    assert "USD" not in plain
    text = page(on_chain.with_contract(card(), descriptor, Rates(gwei=2, usd=1000)))
    assert "<td>register the circuit</td><td>300,000 gas, 0.60 USD</td>" in text
    assert "2 Gwei a gas, 1,000 USD a token" in text


def test_without_true_labels_there_is_no_accuracy() -> None:
    """Agreement stands alone where nobody said what is right, or for too few samples."""
    outputs = [[[1.0, 0.0]], [[0.0, 1.0]]]
    for truth in (None, [0]):
        found = compare(outputs, outputs, truth, None, "classification")
        assert (found.fp32, found.circuit, found.agreement) == (None, None, 1.0)


def test_plots_hold_equal_and_single_values() -> None:
    """A frontier of one point, or of points that are all alike, is drawn."""
    for dots in ([Dot(1.0, 2.0, "a")], [Dot(1.0, 2.0, "a", chosen=True)] * 3):
        text = scatter(dots, "t", "x", "y")
        assert text.count("<circle") == len(dots)
        assert "nan" not in text
    assert scatter([], "t", "x", "y") == ""
    assert bars([Bar("a", 0.0, "0")], "t").count("<rect") == 1


def test_a_package_has_a_card_for_programs_and_one_for_people(quick_package: Package) -> None:
    """``card.html`` is made of ``card.json`` alone; layers and accuracy are in it."""
    facts = json.loads(quick_package.path("card.json").read_text())
    assert sum(layer["share"] for layer in facts["layers"]) == pytest.approx(1, abs=0.01)
    assert facts["accuracy"]["samples"] == facts["fidelity"]["samples"]
    assert facts["accuracy"]["largest_error"] == pytest.approx(facts["fidelity"]["largest_error"], rel=1e-6)
    assert any(point["chosen"] for point in facts["frontier"])
    assert quick_package.path("card.html").read_text() == page(facts)
