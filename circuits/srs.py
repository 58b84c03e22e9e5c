"""The structured reference string: made locally for trials, or fetched from the ceremony and checked.

Gives paths to full SRS files, kept outside the repository by digest and logrows, and the verifier's 516-byte cut.
File layout (halo2 ParamsKZG, raw bytes): k (u32 LE), 2^k points g·s^i, 2^k Lagrange points, g2, s·g2;
coordinates in Montgomery form, little-endian, 32 bytes each.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from verinfer.verifier import files
from verinfer.verifier.cache import cache_folder
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, UsageError
from verinfer.verifier.jail import GIB, Limits
from verinfer.verifier.srs import CEREMONY_CUT, CUT_BYTES, Provenance, provenance

from .ceremony import CEREMONY_DIGESTS
from .disk import naming_full_disk
from .native import Workplace

_FIELD = 0x30644E72E131A029B85045B68181585D97816A916871CA8D3C208C16D87CFD47
_SCALARS = 0x30644E72E131A029B85045B68181585D2833E84879B9709143E1F593F0000001
_MONTGOMERY = pow(1 << 256, -1, _FIELD)
_POINT = 64
_TAIL = 256

MOST_LOCAL_LOGROWS = 23
"""The largest SRS that is made here: time doubles with each k, from 150 s at k = 19 on two cores."""

Point = tuple[int, int] | None
"""A point of BN254's G1 in affine coordinates (EIP-196), or None at infinity."""


@dataclass(frozen=True, slots=True)
class Srs:
    """A full SRS file, by digest, with its cut."""

    path: Path
    logrows: int
    digest: str
    cut: bytes

    @property
    def provenance(self) -> Provenance:
        """Derived from the cut's bytes, never declared."""
        return provenance(self.cut)


def open_srs(path: Path) -> Srs:
    """Read a full SRS file; raises `Malformed` (``srs-malformed``) if it is none."""
    size, logrows = 0, 0
    if path.is_file():
        with path.open("rb") as file:
            size, logrows = path.stat().st_size, int.from_bytes(file.read(4), "little")
    if not 1 <= logrows <= max(CEREMONY_DIGESTS) or size != 4 + 2 * _POINT * (1 << logrows) + _TAIL:
        raise Malformed("srs-malformed", f"{path} is no SRS file.")
    srs = Srs(path, logrows, files.digest_of(path), cut(path))
    if srs.provenance == "ceremony" and srs.digest != CEREMONY_DIGESTS[logrows]:
        # The cut holds only the first points: the others decide what a vk commits to.
        raise Rejected(
            "insecure-srs", f"{path} starts as the ceremony's file for k = {logrows} but is not it."
        )
    return srs


def find_ceremony(logrows: int) -> Srs | None:
    """The ceremony's file for this size, if the cache has it."""
    path = cache_folder("srs") / f"ceremony-{logrows}.srs"
    return open_srs(path) if path.exists() else None


def make_insecure(logrows: int) -> Srs:
    """A local SRS, made once per size: whoever made it can forge proofs. Two processes at once make one.

    Raises `UsageError` (``usage``) beyond `MOST_LOCAL_LOGROWS`.
    """
    if logrows > MOST_LOCAL_LOGROWS:
        raise UsageError(
            "usage",
            f"An SRS for k = {logrows} takes hours to make; get the ceremony's: 'verinfer srs fetch FILE'.",
        )
    path = cache_folder("srs") / f"insecure-local-{logrows}.srs"
    with _lock(path), _aside(path.parent) as directory, naming_full_disk(path.parent):
        if path.exists():
            try:
                return open_srs(path)
            except Malformed:
                path.unlink()
        aside = directory / "kzg.srs"
        limits = Limits(memory_bytes=8 * GIB, cpu_seconds=7200, file_bytes=16 * GIB, wall_seconds=7200)
        Workplace(directory=directory, limits=limits).ezkl("gen_srs", path=aside, logrows=logrows)
        if open_srs(aside).logrows != logrows:
            raise CouldNotCheck("artifact-torn", f"EZKL made no SRS for k = {logrows}.")
        files.publish(aside, path, files.digest_of(aside))
    return open_srs(path)


def adopt_ceremony(source: Path) -> Srs:
    """Take a ceremony file that the user has: only one whose digest and cut are the public table's.

    Raises `Rejected` (``insecure-srs``) or `Malformed` (``srs-malformed``).
    """
    srs = open_srs(source)
    if srs.digest != CEREMONY_DIGESTS[srs.logrows] or sha256(srs.cut) != CEREMONY_CUT:
        raise Rejected("insecure-srs", f"{source} is not the ceremony's file for k = {srs.logrows}.")
    path = cache_folder("srs") / f"ceremony-{srs.logrows}.srs"
    with _lock(path), _aside(path.parent) as directory, naming_full_disk(path.parent):
        shutil.copyfile(source, directory / "kzg.srs")
        files.publish(directory / "kzg.srs", path, srs.digest)
    return open_srs(path)


def choose(logrows: int, *, given: Path | None, insecure: bool) -> Srs:
    """The SRS to build with: the given file, else the ceremony's from the cache, else a local one if that is asked for."""
    if given is not None:
        srs = open_srs(given)
        if srs.logrows != logrows:
            raise UsageError("usage", f"{given} has k = {srs.logrows}; this circuit needs {logrows}.")
        if srs.provenance != "ceremony" and not insecure:
            raise UsageError("usage", f"{given} is not the ceremony's; for a trial, say --insecure-srs.")
        return srs
    if insecure:
        return make_insecure(logrows)
    found = find_ceremony(logrows)
    if found is None:
        raise UsageError(
            "srs-missing",
            f"This circuit needs the ceremony's SRS for k = {logrows}: get the file and run 'verinfer srs fetch FILE',"
            " or say --insecure-srs for a trial.",
        )
    return found


def cut(path: Path) -> bytes:
    """The canonical k=1 file of a larger one: k, g, s·g, (g+s·g)/2, (g-s·g)/2, g2, s·g2; 516 bytes."""
    with path.open("rb") as file:
        file.seek(4)
        g, s_g = file.read(_POINT), file.read(_POINT)
        file.seek(-_TAIL, os.SEEK_END)
        tail = file.read(_TAIL)
    one, other = _decode(g), _decode(s_g)
    half = pow(2, -1, _SCALARS)
    lagrange = _encode(_multiply(_add(one, other), half)) + _encode(
        _multiply(_add(one, _negate(other)), half)
    )
    data = (1).to_bytes(4, "little") + g + s_g + lagrange + tail
    assert len(data) == CUT_BYTES
    return data


def _decode(data: bytes) -> Point:
    x, y = (int.from_bytes(half, "little") * _MONTGOMERY % _FIELD for half in (data[:32], data[32:]))
    if (y * y - x * x * x - 3) % _FIELD:
        raise Malformed("srs-malformed", "A point of the SRS is not on the curve.")
    return x, y


def _encode(point: Point) -> bytes:
    if point is None:
        raise Malformed("srs-malformed", "The SRS is degenerate: s is 1 or -1.")
    return b"".join(((value << 256) % _FIELD).to_bytes(32, "little") for value in point)


def _negate(point: Point) -> Point:
    return point and (point[0], -point[1] % _FIELD)


def _add(left: Point, right: Point) -> Point:
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2:
        if (y1 + y2) % _FIELD == 0:
            return None
        slope = 3 * x1 * x1 * pow(2 * y1, -1, _FIELD)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, _FIELD)
    x = (slope * slope - x1 - x2) % _FIELD
    return x, (slope * (x1 - x) - y1) % _FIELD


def _multiply(point: Point, scalar: int) -> Point:
    result: Point = None
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point, scalar = _add(point, point), scalar >> 1
    return result


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A private folder on the same file system, so that a finished file can be renamed."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".aside.") as directory:
        yield Path(directory)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
