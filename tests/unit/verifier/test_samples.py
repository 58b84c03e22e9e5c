"""Samples in every form, and what is wrong with those that cannot be read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verinfer.verifier.errors import VerinferError
from verinfer.verifier.model_spec import InputSpec, parse_spec
from verinfer.verifier.preprocess import to_input, to_labels
from verinfer.verifier.samples import read_sample

ZOO = Path(__file__).parents[3] / "models" / "zoo"


def _inputs(name: str) -> tuple[InputSpec, ...]:
    return parse_spec((ZOO / name / "spec.json").read_bytes()).inputs


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, format="PNG")
    return buffer.getvalue()


def test_one_sample_in_four_forms(tmp_path: Path) -> None:
    """JSON by name, a bare JSON list, NPY and CSV, with its header in any order, give the same numbers."""
    (spec,) = _inputs("bmi")
    forms = {
        "named.json": b'{"habits": [[1.5, 2, 3]]}',
        "bare.json": b"[1.5, 2, 3]",
        "a.npy": _npy(np.asarray([[1.5, 2, 3]])),
        "plain.csv": b"1.5,2,3\n",
        "headed.csv": b"training,eating,sleep\n3,1.5,2\n",
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        assert read_sample(tmp_path / name, [spec]) == {"habits": [1.5, 2, 3]}, name


WRONG: dict[str, tuple[str, str, bytes, str]] = {
    "an unknown ending": ("bmi", "s.txt", b"1,2,3", "usage"),
    "text in a list": ("bmi", "s.json", b'[1, "2", 3]', "sample-malformed"),
    "true for one": ("bmi", "s.json", b"[1, true, 3]", "sample-malformed"),
    "null for a list": ("bmi", "s.json", b'{"habits": null}', "sample-malformed"),
    "NaN in JSON": ("bmi", "s.json", b"[1, NaN, 3]", "json-invalid"),
    "a number too long": ("bmi", "s.json", b"[" + b"9" * 400 + b"]", "json-invalid"),
    "a float too large": ("bmi", "s.json", b"[1e999]", "json-invalid"),
    "no NPY": ("bmi", "s.npy", b"hello", "sample-malformed"),
    "NPY of text": ("bmi", "s.npy", _npy(np.asarray(["a"])), "sample-malformed"),
    "NPY of truths": ("bmi", "s.npy", _npy(np.asarray([True])), "sample-malformed"),
    "CSV rows of different lengths": ("bmi", "s.csv", b"1,2,3\n4,5\n", "sample-malformed"),
    "CSV rows of different lengths under a header": (
        "bmi",
        "s.csv",
        b"eating,sleep,training\n1,2,3\n4,5\n",
        "sample-malformed",
    ),
    "CSV by columns": ("bmi", "s.csv", b"1,2\n3,4\n5,6\n", "sample-malformed"),
    "one CSV column": ("bmi", "s.csv", b"1\n2\n3\n", "sample-malformed"),
    "NPY by columns": ("bmi", "s.npy", _npy(np.ones((3, 2))), "sample-malformed"),
    "JSON by columns": ("bmi", "s.json", b"[[1, 2], [3, 4], [5, 6]]", "sample-malformed"),
    "JSON of uneven samples": ("bmi", "s.json", b"[[1, 2, 3], [4, 5]]", "sample-malformed"),
    "a header without rows": ("bmi", "s.csv", b"eating,sleep,training\n", "sample-malformed"),
    "an empty CSV": ("bmi", "s.csv", b"", "sample-malformed"),
    "a foreign CSV header": ("bmi", "s.csv", b"a,b,c\n1,2,3\n", "sample-malformed"),
    "a CSV field twice": ("bmi", "s.csv", b"eating,eating,sleep\n1,2,3\n", "sample-malformed"),
    "a CSV row too short": ("bmi", "s.csv", b"eating,sleep,training\n1,2\n", "sample-malformed"),
    "text in a CSV row": ("bmi", "s.csv", b"1,x,3\n", "sample-malformed"),
    "CSV in another encoding": ("bmi", "s.csv", b"\xff\xfe1", "sample-malformed"),
    "an image for fields": ("bmi", "s.png", _png((8, 8)), "usage"),
    "an image of another size": ("digits", "s.png", _png((9, 8)), "shape-mismatch"),
    "no image": ("digits", "s.png", b"hello", "sample-malformed"),
    "half an image": ("digits", "s.png", _png((8, 8))[:40], "sample-malformed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_sample_that_cannot_be_read_says_why(tmp_path: Path, case: str) -> None:
    """Each form has its own ways to be wrong; none of them is a traceback."""
    model, name, data, code = WRONG[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(VerinferError) as caught:
        read_sample(tmp_path / name, _inputs(model))
    assert caught.value.code == code


def test_a_bare_list_needs_a_model_with_one_input(tmp_path: Path) -> None:
    """With two inputs only names can say which is which."""
    (spec,) = _inputs("bmi")
    (tmp_path / "s.json").write_text(json.dumps([1, 2, 3]))
    with pytest.raises(VerinferError) as caught:
        read_sample(tmp_path / "s.json", [spec, spec])
    assert caught.value.code == "usage"


def test_several_samples_in_three_forms(tmp_path: Path) -> None:
    """Rows of CSV, of NPY and of a JSON list are samples, one after the other; the circuit says how many there must be."""
    (spec,) = _inputs("bmi")
    forms = {
        "a.json": b"[[1.5, 2, 3], [4, 5, 6]]",
        "a.npy": _npy(np.asarray([[1.5, 2, 3], [4, 5, 6]])),
        "plain.csv": b"1.5,2,3\n4,5,6\n",
        "headed.csv": b"training,eating,sleep\n3,1.5,2\n6,4,5\n",
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        assert read_sample(tmp_path / name, [spec]) == {"habits": [1.5, 2, 3, 4, 5, 6]}, name
    both = to_input(spec, [1.5, 2, 3, 4, 5, 6], 2)
    assert both == [*to_input(spec, [1.5, 2, 3]), *to_input(spec, [4, 5, 6])]
    for samples, given in (
        (1, "one sample of 3 numbers; given are 2 samples"),
        (3, "3 samples at once, of 3 numbers each"),
    ):
        with pytest.raises(VerinferError) as caught:
            to_input(spec, [1.5, 2, 3, 4, 5, 6], samples)
        assert caught.value.code == "shape-mismatch"
        assert given in caught.value.message


def test_each_sample_has_its_label() -> None:
    """The largest score of its own row; a tie in any row is told."""
    labels = ["a", "b", "c"]
    assert to_labels(labels, [0.0, 2.0, 1.0, 9.0, 8.0, 7.0]) == (("b", "a"), False)
    assert to_labels(labels, [0.0, 2.0, 2.0]) == (("b",), True)
    assert to_labels(labels, [0.0, 2.0, 1.0, 5.0, 1.0, 5.0]) == (("b", "a"), True)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ([1, 2], "shape-mismatch"),
        ([1, 2, float("nan")], "value-not-finite"),
        ([1, 2, 10**400], "value-not-finite"),
        ([1, 2, 1e308], "value-out-of-range"),
    ],
)
def test_a_raw_sample_becomes_an_input_or_an_error(raw: list[float], code: str) -> None:
    """Lengths, NaN and numbers beyond binary64 or binary32 are refused with the input's name."""
    (spec,) = _inputs("bmi")
    with pytest.raises(VerinferError) as caught:
        to_input(spec, raw)
    assert (caught.value.code, caught.value.field) == (code, "habits")
