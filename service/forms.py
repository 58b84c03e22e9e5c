"""Reads a ``multipart/form-data`` body as it arrives: files go to disk, short texts stay in memory, nothing else is taken.

Takes chunks of bytes of any size; gives a `Form`. Names and sizes of parts are bounded; what a client calls its files is ignored.
Source: RFC 7578; python-multipart splits the body, and never holds more than the chunk it is given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from verinfer.verifier import files
from verinfer.verifier.errors import CouldNotCheck, Malformed

from .errors import Refused

_MOST_HEADER_BYTES = 4096
_TEXT_BYTES = 4096
"""The longest text; long enough for every target."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file that was received: where it lies, how large it is, and its SHA-256."""

    path: Path
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Form:
    """All parts of a body, by name; each name came once at most."""

    texts: Mapping[str, str]
    files: Mapping[str, Part]


def read_boundary(content_type: str | None) -> bytes:
    """The boundary in a ``Content-Type``; raises `Refused` (``media-type-unsupported``)."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        raise Refused(
            "media-type-unsupported",
            "An upload is multipart/form-data with a boundary, as 'curl --form' sends it.",
            field="Content-Type",
        )
    return boundary


class FormReader:
    """Takes the chunks of one body.

    `files` names the parts that go to disk, each with its file's name in `folder` and the most bytes that it may have; `texts`
    are the names of the others.
    """

    def __init__(
        self, boundary: bytes, folder: Path, *, files: Mapping[str, tuple[str, int]], texts: frozenset[str]
    ) -> None:
        self._folder = folder
        self._allowed = files
        self._names = texts
        self._texts: dict[str, str] = {}
        self._files: dict[str, Part] = {}
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._part: _Text | _File | None = None
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": lambda data, start, end: self._add(self._field, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(self._value, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin,
                "on_part_data": self._take,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def write(self, data: bytes) -> None:
        """Take a chunk.

        Raises `Refused` (``request-malformed``), `Malformed` (``too-large``) or `CouldNotCheck` (``disk-full``, …).
        """
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise _malformed("The body is not multipart/form-data.") from error

    def close(self) -> None:
        """Close what is open."""
        if isinstance(self._part, _File):
            self._part.file.close()

    def form(self) -> Form:
        """What was received; raises `Refused` (``request-malformed``) if the body's end is missing."""
        if not self._ended:
            raise _malformed("The body ends before its last boundary.")
        return Form(self._texts, self._files)

    def _add(self, to: bytearray, data: bytes) -> None:
        to += data
        if len(to) > _MOST_HEADER_BYTES:
            raise _malformed("A part of the body has a header that is too long.")

    def _end_header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _begin(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if disposition != b"form-data" or b"content-transfer-encoding" in self._headers:
            raise _malformed("A part of the body is not form-data as it is.")
        if name in self._texts or name in self._files:
            raise _malformed(f"There are two parts called {name}.", field=name)
        if name in self._names:
            self._part = _Text(name)
        elif name in self._allowed:
            file, most = self._allowed[name]
            self._part = _File(name, self._folder / file, most)
        else:
            known = ", ".join(sorted({*self._names, *self._allowed}))
            raise _malformed(f"A part has an unknown name; the known ones are {known}.", field=name[:64])

    def _take(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part.take(data[start:end])

    def _end(self) -> None:
        part, self._part = self._part, None
        if isinstance(part, _Text):
            self._texts[part.name] = part.text()
        elif part is not None:
            self._files[part.name] = part.end()

    def _finish(self) -> None:
        self._ended = True


class _Text:
    """A part that stays in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._data = bytearray()

    def take(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > _TEXT_BYTES:
            raise Malformed("too-large", f"{self.name} is longer than {_TEXT_BYTES} bytes.", field=self.name)

    def text(self) -> str:
        try:
            return self._data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _malformed(f"{self.name} is not UTF-8.", field=self.name) from error


class _File:
    """A part that goes to disk."""

    def __init__(self, name: str, path: Path, most: int) -> None:
        self.name = name
        self._path = path
        self._most = most
        self._size = 0
        self._digest = hashlib.sha256()
        with files.naming_trouble(path):
            self.file: IO[bytes] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._most:
            raise Malformed("too-large", f"{self.name} is larger than {self._most} bytes.", field=self.name)
        self._digest.update(data)
        with files.naming_trouble(self._path):
            self.file.write(data)

    def end(self) -> Part:
        digest = self._digest.hexdigest()
        with files.naming_trouble(self._path), self.file:
            self.file.flush()
            os.fsync(self.file.fileno())
        if files.digest_of(self._path) != digest:
            raise CouldNotCheck("artifact-torn", f"{self._path} was not written whole; is the disk full?")
        return Part(self._path, self._size, digest)


def _malformed(message: str, *, field: str = "body") -> Refused:
    return Refused("request-malformed", message, field=field)
