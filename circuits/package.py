"""The circuit package: one folder that serves and describes one circuit.

``manifest.json`` is the identity; ``package.json`` lists every file with its digest, and what was measured.
``verify/`` is the small bundle for verifiers. Opening checks every digest, so a torn or exchanged file never proves anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from verinfer.verifier import files, strict_json
from verinfer.verifier.bundle import Bundle, open_bundle, read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.wire import Hex32, Natural, Text, Wire, validate

PACKAGE_TYPE = "urn:verinfer:package:v1"
PACKAGE_LIMIT = 1 << 20

SECRET = ("pk.key", "model.compiled", "network.onnx", "wrapped.onnx", "samples.npz")
"""Files that hold the weights or samples in clear; only their owner may read them."""

PARTS = (*SECRET, "spec.json", "kzg.srs", "card.json", "card.md", "card.html")
BUNDLE_PARTS = ("verify/manifest.json", "verify/settings.json", "verify/vk.key", "verify/kzg1.srs")


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
    logrows: Natural
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


def write_index(folder: Path, measured: Measured, logrows: int) -> None:
    """Record the digests of everything in `folder`, which must hold all parts; the last step of building."""
    for part in (*PARTS, *BUNDLE_PARTS):
        path = folder / part
        path.chmod(files.PRIVATE if part in SECRET else files.PUBLIC)
        _sync(path)
    index = validate(
        PackageIndex,
        {
            "type": PACKAGE_TYPE,
            "circuit": files.digest_of(folder / "verify" / "manifest.json"),
            "logrows": logrows,
            "files": {part: files.digest_of(folder / part) for part in (*PARTS, *BUNDLE_PARTS)},
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
    if set(index.files) != {*PARTS, *BUNDLE_PARTS}:
        raise Malformed("package-malformed", f"{folder} does not list the files of a package.")
    for part, digest in index.files.items():
        if files.digest_of(folder / part) != digest:
            raise CouldNotCheck(
                "artifact-torn", f"{folder / part} is not the file that was built; build it again."
            )
    content = read_files(folder / "verify")
    if sha256(content["manifest.json"]) != index.circuit:
        raise Malformed("package-malformed", f"{folder} names another circuit than its manifest's.")
    bundle = open_bundle(content, index.circuit)
    if files.digest_of(folder / "kzg.srs") != bundle.manifest.ezkl.srs.full:
        raise Malformed("package-malformed", f"{folder / 'kzg.srs'} is not the SRS that the manifest names.")
    return Package(folder, index, bundle)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
