"""Reads raw samples from JSON, NPY, CSV rows or a PNG, in the form that the model's spec describes.

Takes a path and the model's inputs; gives flat lists of numbers by input name, still in raw units, one sample after the other.
How many there must be is for `preprocess.to_input` to say, which knows the circuit.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

from . import files, strict_json
from .errors import CouldNotCheck, Malformed, UsageError, VerinferError
from .model_spec import InputSpec, RawFields, RawImage
from .wire import printable

SAMPLE_LIMIT = 64 << 20
_EIGHT_BITS = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Kinds of images that become grey without losing what they say; deeper ones would be cut at 255."""

Sample = dict[str, list[float | int]]


def read_sample(path: Path, inputs: Sequence[InputSpec]) -> Sample:
    """The sample in `path`, by the file's ending; raises `Malformed` (``sample-malformed``), `UsageError` or `CouldNotCheck`."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError("usage", f"{path.name}: a sample is one of {', '.join(sorted(_READERS))}.")
    return reader(files.read(path, limit=SAMPLE_LIMIT), inputs)


def _read_json(data: bytes, inputs: Sequence[InputSpec]) -> Sample:
    value = strict_json.parse(data, limit=SAMPLE_LIMIT, what="sample", floats=True)
    if not isinstance(value, dict):
        value = {_only(inputs).name: value}
    sizes = {spec.name: prod(spec.shape) for spec in inputs}
    return {name: _read_nested(item, name, sizes.get(name)) for name, item in value.items()}


def _read_nested(value: Any, name: str, size: int | None) -> list[float | int]:
    """The numbers of a list, nested as it may be; where they are more than one sample's, each item is a sample."""
    flat = _flatten(value, name)
    items = value if isinstance(value, list) else []
    if size not in (None, len(flat)) and any(isinstance(item, list) for item in items):
        _require_samples([len(_flatten(item, name)) for item in items], size, name)
    return flat


def _require_samples(lengths: Sequence[int], size: int | None, name: str) -> None:
    """Raise unless each has as many numbers as a sample: else a file that is written by columns would be taken by rows."""
    for length in lengths:
        if length != size:
            shown = printable(name, most=64)
            raise Malformed(
                "sample-malformed", f"{shown}: each sample has {size} numbers, not {length}.", field=shown
            )


def _read_npy(data: bytes, inputs: Sequence[InputSpec]) -> Sample:
    try:
        import numpy as np
    except ImportError as error:
        raise CouldNotCheck(
            "native-missing", "Reading .npy needs numpy: pip install 'verinfer[client]'."
        ) from error
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise Malformed(
            "sample-malformed", f"Not an NPY file of numbers: {printable(str(error))}."
        ) from error
    if array.dtype.kind == "f":
        # Python has no other floats, and those of numpy would go on as what they are.
        with np.errstate(all="ignore"):
            array = array.astype(np.float64)
    elif array.dtype.kind not in "iu":
        what = printable(str(array.dtype), most=64)
        raise Malformed("sample-malformed", f"The NPY array is of {what}, not of numbers.")
    spec = _only(inputs)
    if array.ndim > 1 and array.size != prod(spec.shape):
        _require_samples([prod(array.shape[1:])], prod(spec.shape), spec.name)
    return {spec.name: array.ravel().tolist()}


def _read_csv(data: bytes, inputs: Sequence[InputSpec]) -> Sample:
    spec = _only(inputs)
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig")), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Malformed("sample-malformed", f"Not a CSV file: {printable(str(error))}.") from error
    header = rows.pop(0) if rows and not _is_number(rows[0][0]) else None
    if not rows:
        raise Malformed(
            "sample-malformed", "A CSV file has a row of numbers for each sample; this one has none."
        )
    samples = [[_number(cell, spec.name) for cell in row] for row in rows]
    _require_samples([len(sample) for sample in samples], prod(spec.shape), spec.name)
    if header is None:
        return {spec.name: [number for sample in samples for number in sample]}
    if not isinstance(spec.raw, RawFields) or sorted(header) != sorted(spec.raw.fields):
        raise Malformed("sample-malformed", "The CSV header does not name the model's fields, each once.")
    places = [header.index(field) for field in spec.raw.fields]
    return {spec.name: [sample[place] for sample in samples for place in places]}


def _read_png(data: bytes, inputs: Sequence[InputSpec]) -> Sample:
    spec = _only(inputs)
    if not isinstance(spec.raw, RawImage):
        raise UsageError("usage", f"{spec.name} is not an image.")
    try:
        from PIL import Image
    except ImportError as error:
        raise CouldNotCheck(
            "native-missing", "Reading .png needs pillow: pip install 'verinfer[client]'."
        ) from error
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (spec.raw.width, spec.raw.height):
                raise UsageError(
                    "shape-mismatch",
                    f"The image is {image.width}×{image.height}; {spec.name} takes {spec.raw.width}×{spec.raw.height}.",
                    field=spec.name,
                )
            if image.mode not in _EIGHT_BITS:
                raise Malformed(
                    "sample-malformed", f"A PNG of the kind {image.mode} is more than 8 bits deep."
                )
            pixels = image.convert("L").tobytes()
    except VerinferError:
        raise
    except Exception as error:
        raise Malformed("sample-malformed", f"Not a PNG image: {printable(str(error))}.") from error
    return {spec.name: [pixel * spec.raw.maximum / 255 for pixel in pixels]}


_READERS: dict[str, Callable[[bytes, Sequence[InputSpec]], Sample]] = {
    ".json": _read_json,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".png": _read_png,
}


def _only(inputs: Sequence[InputSpec]) -> InputSpec:
    if len(inputs) != 1:
        raise UsageError("usage", "This model has several inputs: give a JSON object by input name.")
    return inputs[0]


def _flatten(value: Any, name: str) -> list[float | int]:
    if isinstance(value, list):
        return [number for item in value for number in _flatten(item, name)]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        shown = printable(name, most=64)
        raise Malformed("sample-malformed", f"{shown}: a sample holds numbers only.", field=shown)
    return [value]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, name: str) -> float:
    if not _is_number(text):
        raise Malformed("sample-malformed", f"{name}: {text[:40]!a} is not a number.", field=name)
    return float(text)
