"""The verify bundle: the four small files that checking a circuit's proofs needs, each compared with its pinned digest.

A bundle may come from anywhere, the operator too: the policy pins the manifest, and the manifest pins the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from . import files
from .digest import sha256
from .errors import CouldNotCheck, Rejected
from .manifest import MANIFEST_LIMIT, Manifest, parse_manifest
from .settings import SETTINGS_LIMIT, check_settings
from .srs import CUT_BYTES, Provenance, provenance

FILE_LIMITS = {
    "manifest.json": MANIFEST_LIMIT,
    "settings.json": SETTINGS_LIMIT,
    "vk.key": 64 << 20,
    "kzg1.srs": CUT_BYTES,
}
"""The files of a bundle and the most bytes each may have."""

_KEPT = 8


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files have the digests that the circuit's identity demands."""

    circuit: str
    manifest: Manifest
    settings: bytes
    vk: bytes
    srs: bytes
    provenance: Provenance


class Bundles(Protocol):
    """Where a verifier keeps its bundles."""

    def read(self, circuit: str) -> Mapping[str, bytes]:
        """The four files of one circuit, unchecked; raises `CouldNotCheck` (``bundle-missing``)."""
        ...


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """Bundles on disk: ``FOLDER/<circuit digest>/{manifest.json,settings.json,vk.key,kzg1.srs}``."""

    folder: Path

    def has(self, circuit: str) -> bool:
        """Whether there is a folder for this circuit."""
        return (self.folder / circuit).is_dir()

    def read(self, circuit: str) -> Mapping[str, bytes]:
        """The four files of one circuit, unchecked; raises `CouldNotCheck` (``bundle-missing``)."""
        home = self.folder / circuit
        if not self.has(circuit):
            raise CouldNotCheck(
                "bundle-missing", f"There is no bundle at {home}; get it from the model's owner."
            )
        return read_files(home)


def read_files(home: Path) -> dict[str, bytes]:
    """The four files in `home`, unchecked; raises `CouldNotCheck` (``file-missing``) or `Malformed` (``too-large``)."""
    return {name: files.read(home / name, limit=limit) for name, limit in FILE_LIMITS.items()}


def open_bundle(content: Mapping[str, bytes], circuit: str) -> Bundle:
    """Check the files of the circuit `circuit` against its identity.

    Raises `Rejected` (``bundle-mismatch``) for a wrong digest, `Malformed` for a file that says nonsense.
    """
    if sha256(content["manifest.json"]) != circuit:
        raise Rejected("bundle-mismatch", "manifest.json is not the pinned circuit's.", field="manifest.json")
    manifest = _manifest(content["manifest.json"])
    system = manifest.proof_system
    for name, digest in {
        "settings.json": system.settings,
        "vk.key": system.vk,
        "kzg1.srs": system.srs.cut,
    }.items():
        if sha256(content[name]) != digest:
            raise Rejected("bundle-mismatch", f"{name} does not have the digest in the manifest.", field=name)
    _require_settings(content["settings.json"], content["manifest.json"])
    return Bundle(
        circuit=circuit,
        manifest=manifest,
        settings=content["settings.json"],
        vk=content["vk.key"],
        srs=content["kzg1.srs"],
        provenance=provenance(content["kzg1.srs"]),
    )


# A verifier opens the same few bundles for each receipt, and what bytes say does not change; failures are not kept.
@lru_cache(maxsize=_KEPT)
def _manifest(data: bytes) -> Manifest:
    return parse_manifest(data)


@lru_cache(maxsize=_KEPT)
def _require_settings(settings: bytes, manifest: bytes) -> None:
    check_settings(settings, _manifest(manifest))
