"""The verify bundle: the few small files that checking a circuit's proofs needs, each compared with its pinned digest.

A bundle may come from anywhere, the operator too: the policy pins the manifest, and the manifest pins the rest.
Which files there are beside the manifest is a matter of the proof system.
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
from .sumcheck.description import LARGEST
from .sumcheck_files import KEY_PROOF_LIMIT, check_description, check_key_proof
from .sumcheck_system import SumcheckSystem

MANIFEST = "manifest.json"

FILE_LIMITS: Mapping[str, Mapping[str, int]] = {
    "ezkl-halo2-kzg": {"settings.json": SETTINGS_LIMIT, "vk.key": 64 << 20, "kzg1.srs": CUT_BYTES},
    "verinfer-sc-1": {"description.json": LARGEST, "key.proof": KEY_PROOF_LIMIT},
}
"""By proof system: the files of a bundle beside its manifest, and the most bytes each may have."""

_KEPT = 8


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files have the digests that the circuit's identity demands."""

    circuit: str
    manifest: Manifest
    files: Mapping[str, bytes]
    """All of them, by name."""
    provenance: Provenance

    @property
    def insecure_srs(self) -> bool:
        """Whether whoever made its SRS can forge proofs."""
        return self.provenance not in ("ceremony", "transparent")


class Bundles(Protocol):
    """Where a verifier keeps its bundles."""

    def read(self, circuit: str) -> Mapping[str, bytes]:
        """The files of one circuit, unchecked; raises `CouldNotCheck` (``bundle-missing``)."""
        ...


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """Bundles on disk: ``FOLDER/<circuit digest>/{manifest.json,…}``."""

    folder: Path

    def has(self, circuit: str) -> bool:
        """Whether there is a folder for this circuit."""
        return (self.folder / circuit).is_dir()

    def read(self, circuit: str) -> Mapping[str, bytes]:
        """The files of one circuit, unchecked; raises `CouldNotCheck` (``bundle-missing``)."""
        home = self.folder / circuit
        if not self.has(circuit):
            raise CouldNotCheck(
                "bundle-missing", f"There is no bundle at {home}; get it from the model's owner."
            )
        return read_files(home)


def read_files(home: Path) -> dict[str, bytes]:
    """The files in `home` that a bundle may have, unchecked.

    Raises `CouldNotCheck` (``file-missing``) where there is no manifest, `Malformed` (``too-large``).
    """
    content = {MANIFEST: files.read(home / MANIFEST, limit=MANIFEST_LIMIT)}
    for limits in FILE_LIMITS.values():
        content |= {
            name: files.read(home / name, limit=limit)
            for name, limit in limits.items()
            if (home / name).exists()
        }
    return content


def open_bundle(content: Mapping[str, bytes], circuit: str) -> Bundle:
    """Check the files of the circuit `circuit` against its identity; others in `content` are left out.

    Raises `Rejected` (``bundle-mismatch`` for a wrong digest or key proof, ``security-too-low``), `CouldNotCheck`
    (``file-missing``), `Malformed` for a file that says nonsense.
    """
    if sha256(content[MANIFEST]) != circuit:
        raise Rejected("bundle-mismatch", "manifest.json is not the pinned circuit's.", field=MANIFEST)
    manifest = _manifest(content[MANIFEST])
    found = {MANIFEST: content[MANIFEST]}
    for name in FILE_LIMITS[manifest.proof_system.name]:
        if name not in content:
            raise CouldNotCheck("file-missing", f"The bundle of {circuit} has no {name}.", field=name)
        found[name] = content[name]
    for name, digest in _pinned(manifest).items():
        if sha256(found[name]) != digest:
            raise Rejected("bundle-mismatch", f"{name} does not have the digest in the manifest.", field=name)
    if isinstance(manifest.proof_system, SumcheckSystem):
        _require_network(found["description.json"], found["key.proof"], found[MANIFEST])
        return Bundle(circuit, manifest, found, "transparent")
    _require_settings(found["settings.json"], found[MANIFEST])
    return Bundle(circuit, manifest, found, provenance(found["kzg1.srs"]))


def _pinned(manifest: Manifest) -> dict[str, str]:
    """The digests that the manifest has of other files; a key proof has none, since it proves itself."""
    system = manifest.proof_system
    if isinstance(system, SumcheckSystem):
        return {"description.json": system.description}
    return {"settings.json": system.settings, "vk.key": system.vk, "kzg1.srs": system.srs.cut}


# A verifier opens the same few bundles for each receipt, and what bytes say does not change; failures are not kept.
@lru_cache(maxsize=_KEPT)
def _manifest(data: bytes) -> Manifest:
    return parse_manifest(data)


@lru_cache(maxsize=_KEPT)
def _require_settings(settings: bytes, manifest: bytes) -> None:
    check_settings(settings, _manifest(manifest))


@lru_cache(maxsize=_KEPT)
def _require_network(description: bytes, key_proof: bytes, manifest: bytes) -> None:
    check_description(description, _manifest(manifest))
    check_key_proof(description, key_proof, _manifest(manifest))
