"""No sample, however odd its bytes, causes another failure than an error with a code: JSON, NPY, CSV and PNG."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from verinfer.verifier import numbers
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.model_spec import InputSpec, parse_spec
from verinfer.verifier.preprocess import check_names, to_input
from verinfer.verifier.samples import read_sample

ZOO = Path(__file__).parents[2] / "models" / "zoo"
BMI, DIGITS = (parse_spec((ZOO / name / "spec.json").read_bytes()).inputs for name in ("bmi", "digits"))
WHOLE = (BMI[0].model_copy(update={"dtype": "INT64", "preprocessing": ()}),)

many = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def _read(home: Path, name: str, data: bytes, inputs: tuple[InputSpec, ...]) -> None:
    """Read, preprocess and quantise, as `infer` and `verify` do: plain numbers come of it, or an error with clean words."""
    (home / name).write_bytes(data)
    message = ""
    try:
        sample = read_sample(home / name, inputs)
        check_names(inputs, sample)
        for spec in inputs:
            values = to_input(spec, sample[spec.name])
            json.dumps(values, allow_nan=False)
            numbers.encode(values, spec.dtype)
            for value in values:
                numbers.quantise(value, 7, bound=1 << 28, field=spec.name)
    except VerinferError as error:
        message = error.message
    assert message.isprintable()
    assert len(message) < 2000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files of all examples."""
    return tmp_path_factory.mktemp("samples")


def _damaged(data: bytes, source: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(source.randint(1, 6)):
        position = source.randrange(len(damaged)) if damaged else 0
        match source.randrange(4):
            case 0 if damaged:
                damaged[position] = source.randrange(256)
            case 1:
                del damaged[position : position + source.randint(1, 20)]
            case 2:
                damaged[position:position] = source.randbytes(source.randint(1, 8))
            case _:
                damaged[position:position] = damaged[position : position + source.randint(1, 40)]
    return bytes(damaged)


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _png(mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8), 7 if len(mode) == 1 or ";" in mode else None).save(buffer, format="PNG")
    return buffer.getvalue()


ENDINGS = st.sampled_from(["s.json", "s.npy", "s.csv", "s.png", "s"])
MODELS = st.sampled_from([BMI, DIGITS, WHOLE, (*BMI, *DIGITS)])
BASES = {
    "s.json": [b'{"habits": [[1.5, -2, 3e2]]}', b"[7, 3.25, 8]", b'{"pixels": [[1, 2], [3, 4]]}'],
    "s.npy": [
        _npy(np.asarray([1, 0, 3]).astype(kind))
        for kind in ("<f4", ">f8", "<i8", "u1", "g", "e", "?", "<U3", "<c8")
    ]
    + [_npy(np.zeros(3, dtype=[("a\nb", "<f4"), ("c", "<i4")])), _npy(np.zeros((3, 0)))],
    "s.csv": [b"1.5,2,3\n", b"training,eating,sleep\n3,1.5,2\n", b'"1","2\n",3\r\n', b"\xef\xbb\xbf1,2,3"],
    "s.png": [_png(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from(["habits", "pixels", "", "\u202e", "x" * 99]), inner, max_size=3)
    ),
    max_leaves=20,
)


@many
@given(name=ENDINGS, data=st.binary(max_size=300), inputs=MODELS)
def test_any_bytes(name: str, data: bytes, inputs: tuple[InputSpec, ...], home: Path) -> None:
    """Bytes of no format at all."""
    _read(home, name, data, inputs)


@many
@given(source=st.randoms(use_true_random=False), inputs=MODELS)
@pytest.mark.parametrize("name", BASES)
def test_damaged_files(name: str, source: random.Random, inputs: tuple[InputSpec, ...], home: Path) -> None:
    """Files of each format and kind, as they are and damaged."""
    base = source.choice(BASES[name])
    _read(home, name, base, inputs)
    _read(home, name, _damaged(base, source), inputs)


@many
@given(value=JSON_VALUES, inputs=MODELS)
def test_any_json(value: Any, inputs: tuple[InputSpec, ...], home: Path) -> None:
    """Any values, in any nesting, also the numbers that JSON does not have."""
    _read(home, "s.json", json.dumps(value).encode(), inputs)


@many
@given(
    rows=st.lists(
        st.lists(st.text(max_size=6) | st.floats().map(str) | st.integers().map(str), max_size=5), max_size=4
    ),
    inputs=MODELS,
)
def test_any_csv(rows: list[list[str]], inputs: tuple[InputSpec, ...], home: Path) -> None:
    """Any cells, among them infinities, other scripts' digits and line ends."""
    _read(home, "s.csv", "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass"), inputs)


HEADERS = st.fixed_dictionaries(
    {
        "descr": st.sampled_from(
            ["<f4", "<f8", "|O", "<M8[D]", "V8", "", "<f99", ["x"], [("a", "<f4")], 3, None]
        ),
        "fortran_order": st.sampled_from([True, False, 1, "x"]),
        "shape": st.sampled_from(
            [(3,), (), (-1,), (2**31, 2**31), (2**62,), (2**70,), (0, 9), "x", (True,), (1.5,)]
        ),
    }
)


@many
@given(header=HEADERS, body=st.binary(max_size=40), version=st.sampled_from([1, 2, 3, 9]))
def test_any_npy_header(header: dict[str, Any], body: bytes, version: int, home: Path) -> None:
    """Headers that name objects, other kinds, and sizes that no file has."""
    text = repr(header).encode()
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    _read(home, "s.npy", b"\x93NUMPY" + bytes([version, 0]) + size + text + body, BMI)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@many
@given(
    facts=st.tuples(
        st.sampled_from([1, 2, 4, 8, 16, 99]), st.sampled_from([0, 2, 3, 4, 6, 9]), st.integers(0, 2)
    ),
    chunks=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"PLTE",
                    b"tRNS",
                    b"iCCP",
                    b"zTXt",
                    b"iTXt",
                    b"tEXt",
                    b"gAMA",
                    b"acTL",
                    b"fcTL",
                    b"IDAT",
                    b"IEND",
                ]
            ),
            st.binary(max_size=30),
        ),
        max_size=5,
    ),
)
def test_any_png_chunks(facts: tuple[int, int, int], chunks: list[tuple[bytes, bytes]], home: Path) -> None:
    """Images of the right size with chunks that are whole and say nonsense."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, facts[0], facts[1], 0, 0, facts[2]))
    body = b"".join(_chunk(kind, data) for kind, data in chunks)
    pixels = _chunk(b"IDAT", zlib.compress(bytes(8 * 9 * 4)))
    _read(home, "s.png", b"\x89PNG\r\n\x1a\n" + head + body + pixels + _chunk(b"IEND", b""), DIGITS)
