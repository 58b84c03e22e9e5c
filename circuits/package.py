"""The circuit package: one folder that serves and describes one circuit.

``manifest.json`` is the identity; ``package.json`` lists every file with its digest, and what was measured.
``verify/`` is the small bundle for verifiers. Opening checks every digest, so a torn or exchanged file never proves anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from verinfer.verifier import files, strict_json
from verinfer.verifier.bundle import FILE_LIMITS, MANIFEST, Bundle, open_bundle, read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed
from verinfer.verifier.manifest import MANIFEST_LIMIT, Manifest, parse_manifest
from verinfer.verifier.wire import Hex32, Natural, Text, Wire, validate

PACKAGE_TYPE = "urn:verinfer:package:v1"
PACKAGE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of a package of one proof system; `secret` ones hold weights or samples in clear, for their owner alone."""

    secret: tuple[str, ...]
    open: tuple[str, ...]
    bundle: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every file but ``package.json``."""
        return (*self.secret, *self.open, *self.bundle)


_SECRET = ("network.onnx", "samples.npz")
_OPEN = ("spec.json", "card.json", "card.md", "card.html")

PARTS: Mapping[str, Parts] = {
    system: Parts(
        (*secret, *_SECRET),
        (*open_, *_OPEN),
        tuple(f"verify/{name}" for name in (MANIFEST, *FILE_LIMITS[system])),
    )
    for system, secret, open_ in (
        ("ezkl-halo2-kzg", ("pk.key", "model.compiled", "wrapped.onnx"), ("kzg.srs",)),
        ("verinfer-sc-1", ("weights.bin",), ()),
    )
}
"""By the manifest's proof system."""


class Measured(Wire):
    """What building and one proof cost here: milliseconds and bytes, for progress and admission."""

    setup_ms: Natural
    witness_ms: Natural
    prove_ms: Natural
    verify_ms: Natural
    prove_peak_bytes: Natural


class PackageIndex(Wire):
    """``package.json``: storage digests, the circuit's identity, and what was measured."""

    type: Literal["urn:verinfer:package:v1"]
    circuit: Hex32
    logrows: Natural | None = None
    """Of a circuit that has rows, EZKL's."""
    files: dict[Text, Hex32]
    measured: Measured


@dataclass(frozen=True, slots=True)
class Package:
    """An opened package; every file had the recorded digest when it was opened."""

    folder: Path
    index: PackageIndex
    bundle: Bundle

    @property
    def manifest(self) -> Manifest:
        """The circuit's identity."""
        return self.bundle.manifest

    @property
    def digest(self) -> str:
        """The circuit's digest."""
        return self.bundle.circuit

    @property
    def measured(self) -> Measured:
        """What a proof cost when the package was made."""
        return self.index.measured

    def path(self, part: str) -> Path:
        """The path of one of the package's files."""
        return self.folder / part


class Published(Protocol):
    """A circuit as its maker describes it: a package, or what a service publishes of one."""

    @property
    def manifest(self) -> Manifest:
        """The circuit's identity."""
        ...

    def path(self, part: str) -> Path:
        """The path of one of the files."""
        ...


@dataclass(frozen=True, slots=True)
class Download:
    """What a service publishes of a package, as ``verinfer upload`` keeps it: the verify bundle and the SRS."""

    folder: Path
    bundle: Bundle

    @property
    def manifest(self) -> Manifest:
        """The circuit's identity."""
        return self.bundle.manifest

    def path(self, part: str) -> Path:
        """The path of one of the files."""
        return self.folder / part


def open_published(folder: Path) -> Package | Download:
    """Open a package, or what was downloaded of one; raises what `open_package` and `open_bundle` raise."""
    if (folder / "package.json").exists():
        return open_package(folder)
    content = read_files(folder / "verify")
    return Download(folder, open_bundle(content, sha256(content["manifest.json"])))


def write_index(folder: Path, measured: Measured, logrows: int | None) -> None:
    """Record the digests of everything in `folder`, which must hold all parts; the last step of building."""
    manifest = parse_manifest(files.read(folder / "verify" / MANIFEST, limit=MANIFEST_LIMIT))
    parts = PARTS[manifest.proof_system.name]
    for part in parts.all:
        path = folder / part
        path.chmod(files.PRIVATE if part in parts.secret else files.PUBLIC)
        _sync(path)
    index = validate(
        PackageIndex,
        {
            "type": PACKAGE_TYPE,
            "circuit": manifest.digest,
            **({} if logrows is None else {"logrows": logrows}),
            "files": {part: files.digest_of(folder / part) for part in parts.all},
            "measured": measured.to_json(),
        },
        code="package-malformed",
    )
    files.write_atomically(folder / "package.json", index.canonical() + b"\n")


def open_package(folder: Path) -> Package:
    """Open and check a package; raises `CouldNotCheck` (``file-missing``, ``artifact-torn``) or `Malformed`."""
    data = files.read(folder / "package.json", limit=PACKAGE_LIMIT)
    index = validate(
        PackageIndex,
        strict_json.parse(data, limit=PACKAGE_LIMIT, what="package.json"),
        code="package-malformed",
    )
    system = next((name for name, parts in PARTS.items() if set(index.files) == set(parts.all)), None)
    if system is None:
        raise Malformed("package-malformed", f"{folder} does not list the files of a package.")
    for part, digest in index.files.items():
        if files.digest_of(folder / part) != digest:
            raise CouldNotCheck(
                "artifact-torn", f"{folder / part} is not the file that was built; build it again."
            )
    content = read_files(folder / "verify")
    if sha256(content[MANIFEST]) != index.circuit:
        raise Malformed("package-malformed", f"{folder} names another circuit than its manifest's.")
    bundle = open_bundle(content, index.circuit)
    if bundle.manifest.proof_system.name != system:
        raise Malformed("package-malformed", f"{folder} has the files of another proof system.")
    if bundle.provenance != "transparent" and (
        files.digest_of(folder / "kzg.srs") != bundle.manifest.ezkl.srs.full
    ):
        raise Malformed("package-malformed", f"{folder / 'kzg.srs'} is not the SRS that the manifest names.")
    return Package(folder, index, bundle)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
