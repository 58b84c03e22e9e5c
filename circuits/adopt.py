"""From a bare ONNX file and an NPZ file of samples to a model folder that `verinfer compile` takes.

The folder's ``network.onnx`` is the plain form of the file (`rewrite.adoption`), byte for byte the file itself if that is plain.
Its spec takes raw numbers: no preprocessing, a field for each element.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from verinfer.verifier import files
from verinfer.verifier.errors import Malformed, UsageError
from verinfer.verifier.model_spec import SPEC_TYPE, ModelSpec, parse_spec

from .native import Workplace
from .stages import MOST_SAMPLES

Task = Literal["classification", "regression"]
EXPECTED = "expected"
"""The array of true labels ([N], integers) or targets ([N, …]) in an NPZ file of samples."""

_Rows = dict[str, list[list[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A bare model: its ONNX file, its samples, and what its owner says of it; None where that follows from the file."""

    onnx: Path
    samples: Path
    name: str
    version: str = "1"
    task: Task | None = None
    labels: Sequence[str] | None = None
    without_head: bool = False
    """A last Softmax or ArgMax is left to whoever gets the scores."""


def make_folder(given: Given, out: Path, place: Workplace) -> ModelSpec:
    """Write the model folder `out` whole; gives its spec.

    Raises `UsageError` (``exists``, ``usage``, ``shape-mismatch``) or `Malformed` (``model-refused``, ``model-unsupported``,
    ``sample-malformed``, ``spec-malformed``).
    """
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or choose another place.")
    with files.folder_aside(out.absolute()) as aside:
        home = aside / "model"
        home.mkdir()
        network = home / "network.onnx"
        found = place.onnx("adopt", model=given.onnx, output=network, without_head=given.without_head)
        edges = place.onnx("inspect", model=network)
        rows, expected = _read_samples(given, edges["inputs"], found["inputs"], place)
        samples = home / "samples.npz"
        tensors = {item["name"]: {**item, "values": rows[item["name"]]} for item in edges["inputs"]}
        place.onnx("write_samples", path=samples, tensors=tensors)
        answers = place.onnx("run_many", model=network, inputs=samples)
        task = given.task or _task(edges["outputs"])
        accuracy = _accuracy(task, expected, [answer[0] for answer in answers])
        tensors[EXPECTED] = _expected_tensor(task, expected)
        place.onnx("write_samples", path=samples, tensors=tensors)
        spec = _spec(given, network, edges, found["steps"], task, accuracy)
        files.write_atomically(
            home / "spec.json", json.dumps(spec, indent=2, sort_keys=True).encode() + b"\n"
        )
        parsed = parse_spec((home / "spec.json").read_bytes())
        shutil.move(home, out)
    return parsed


def _task(outputs: list[dict[str, Any]]) -> Task:
    """A single output of several numbers is read as scores."""
    return "classification" if len(outputs) == 1 and prod(outputs[0]["shape"]) > 1 else "regression"


def _read_samples(
    given: Given, inputs: list[dict[str, Any]], names_before: list[str], place: Workplace
) -> tuple[_Rows, list[list[float]]]:
    """Samples by the inputs' plain names, and what is expected of them; arrays may have the names before or after adoption."""
    renamed = {item["name"]: before for item, before in zip(inputs, names_before, strict=True)}
    if EXPECTED in renamed:
        raise UsageError(
            "usage", f"An input is called {EXPECTED}, which is the name of the true answers; rename it."
        )
    try:
        found = _read(given, [*renamed.values(), EXPECTED], place)
        rows = {name: found[before] for name, before in renamed.items()}
    except Malformed:
        found = _read(given, [*renamed, EXPECTED], place)
        rows = {name: found[name] for name in renamed}
    for item in inputs:
        count = prod(item["shape"])
        if any(len(row) != count for row in rows[item["name"]]):
            raise UsageError(
                "shape-mismatch",
                f"{given.samples}: each sample of {item['name']} must have {count} numbers, as the shape {item['shape']} says; "
                "the first dimension of an array counts the samples.",
            )
    return rows, found[EXPECTED]


def _read(given: Given, names: list[str], place: Workplace) -> _Rows:
    found: _Rows = place.onnx("read_samples", path=given.samples, names=names, most=MOST_SAMPLES)
    return found


def _accuracy(task: Task, expected: list[list[float]], answers: list[list[float]]) -> dict[str, Any]:
    """How well the fp32 network does on these samples, as a spec says it."""
    width = 1 if task == "classification" else len(answers[0])
    if any(len(row) != width for row in expected):
        raise UsageError(
            "shape-mismatch",
            f"{EXPECTED} must have {width} number{'s' * (width > 1)} for each sample, for a {task}.",
        )
    if task == "classification":
        right = sum(
            row[0] == max(range(len(answer)), key=answer.__getitem__)
            for row, answer in zip(expected, answers, strict=True)
        )
        return {"metric": "accuracy", "value": f"{right / len(answers):.6f}", "samples": len(answers)}
    errors = [
        abs(one - two)
        for row, answer in zip(expected, answers, strict=True)
        for one, two in zip(row, answer, strict=True)
    ]
    value = f"{sum(errors) / len(errors):.9f}"
    return {"metric": "mean-absolute-error", "value": value, "samples": len(answers)}


def _expected_tensor(task: Task, expected: list[list[float]]) -> dict[str, Any]:
    if task == "classification":
        return {"shape": [], "dtype": "INT64", "values": [row[0] for row in expected]}
    return {"shape": [len(expected[0])], "dtype": "FP32", "values": expected}


def _spec(
    given: Given,
    network: Path,
    edges: dict[str, Any],
    steps: list[str],
    task: Task,
    accuracy: dict[str, Any],
) -> dict[str, Any]:
    adopted = f", adopted by {', '.join(steps)}" if steps else ""
    spec: dict[str, Any] = {
        "type": SPEC_TYPE,
        "name": given.name,
        "version": given.version,
        "title": given.name,
        "task": task,
        "onnx": files.digest_of(network),
        "data": f"From the ONNX file with SHA-256 {files.digest_of(given.onnx)}{adopted}; samples as its owner gave them.",
        "seed": 0,
        "accuracy": accuracy,
        "inputs": [{**item, "raw": _fields(item), "preprocessing": []} for item in edges["inputs"]],
        "outputs": [{**item, "postprocessing": []} for item in edges["outputs"]],
    }
    if task == "classification":
        count = prod(edges["outputs"][0]["shape"])
        labels = list(given.labels) if given.labels is not None else [str(number) for number in range(count)]
        if len(labels) != count:
            raise UsageError("usage", f"There are {len(labels)} labels for {count} scores.")
        spec["labels"] = labels
    elif given.labels is not None:
        raise UsageError("usage", "Labels belong to a classification.")
    return spec


def _fields(item: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "fields", "fields": [f"x{number}" for number in range(prod(item["shape"]))]}
