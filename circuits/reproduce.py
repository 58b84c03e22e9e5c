"""Rebuilds a package's circuit from the ONNX file and compares the two.

A proof alone says "this circuit ran". Only a rebuild says which model the circuit is, and that it ignores the challenge.
Nothing of the package is believed but its manifest, which is what the rebuild must give.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from verinfer.verifier import files
from verinfer.verifier.errors import Malformed, Rejected
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.model_spec import SPEC_LIMIT, ModelSpec, parse_spec
from verinfer.verifier.srs import Provenance

from . import stages
from .calibrate import Fidelity, Reference
from .disk import naming_full_disk
from .native import PARSE_LIMITS, Workplace, heavy_limits
from .package import Published
from .systems.choice import BY_MANIFEST
from .systems.port import DEFAULT_TARGETS, OnProgress, Rebuilding, same
from .targets import Targets, require_suitable


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What a rebuild confirmed."""

    circuit: str
    fidelity: Fidelity
    provenance: Provenance
    adopted: tuple[str, ...]
    """Steps that made the model of the auditor's file; none where it is that file."""
    own_samples: bool
    meaning_compared: bool


def reproduce(
    package: Published,
    network: Path,
    *,
    spec: Path | None,
    samples: Path | None = None,
    on_progress: OnProgress,
    targets: Targets = DEFAULT_TARGETS,
) -> Reproduced:
    """Rebuild from `network`, the ONNX file as its owner published it, and compare meanings with its published `spec`.

    What the proof system makes of it is made again with the recorded numbers; no search.
    `samples`: an NPZ of the auditor's own; without it the package's are taken, which its owner chose, and on which a circuit
    with hardly any weights may agree. `targets`: what agreement or error the auditor accepts.
    Without `spec` nothing is said about names, labels, pre- and postprocessing: they are not in an ONNX file.
    Raises `Rejected` (``not-reproduced``) naming the first thing that differs.
    """
    manifest = package.manifest
    require_suitable(targets, manifest.task)
    with tempfile.TemporaryDirectory(prefix="verinfer-reproduce-") as aside, naming_full_disk(Path(aside)):
        light = Workplace(directory=Path(aside), limits=PARSE_LIMITS)
        on_progress("inspect", 0.0)
        network, adopted = _adopted(network, manifest.model.onnx, light)
        same("the ONNX file", files.digest_of(network), manifest.model.onnx)
        if spec is not None:
            _compare_meaning(manifest, parse_spec(files.read(spec, limit=SPEC_LIMIT)))
        stages.inspect(network, manifest, light)
        values = stages.read_samples(samples or package.path("samples.npz"), manifest, light)
        given = len(next(iter(values.values())))
        # An auditor with fewer samples than a batch has may show each several times.
        rounds = ceil(manifest.samples / given)
        values = {name: rows * rounds if given < manifest.samples else rows for name, rows in values.items()}
        order = Rebuilding(
            package=package,
            network=network,
            reference=Reference(manifest, values, stages.run_fp32(network, manifest, values, light)),
            light=light,
            heavy=replace(light, limits=heavy_limits()),
            targets=targets,
            on_progress=on_progress,
        )
        rebuilt = BY_MANIFEST[manifest.proof_system.name].rebuild(order)
    fidelity = rebuilt.fidelity
    return Reproduced(
        manifest.digest,
        replace(fidelity, samples=min(fidelity.samples, given)),
        rebuilt.provenance,
        adopted,
        own_samples=samples is not None,
        meaning_compared=spec is not None,
    )


def _adopted(network: Path, wanted: str, place: Workplace) -> tuple[Path, tuple[str, ...]]:
    """The file with the digest `wanted` that adoption makes of this one, the same every time, and how; or the file itself."""
    if files.digest_of(network) != wanted:
        for without_head in (False, True):
            plain = place.directory / f"plain-{int(without_head)}.onnx"
            with suppress(Malformed):
                found = place.onnx("adopt", model=network, output=plain, without_head=without_head)
                if files.digest_of(plain) == wanted:
                    return plain, tuple(found["steps"])
    return network, ()


def _compare_meaning(manifest: Manifest, spec: ModelSpec) -> None:
    """Raise unless the manifest says of the model what its published spec says."""
    identity = {"name": spec.name, "version": spec.version, "onnx": spec.onnx}
    mine = {**spec.to_json(), "model": identity}
    theirs = manifest.to_json()
    for name in ("model", "task", "inputs", "outputs", "labels"):
        if mine.get(name) != theirs.get(name):
            raise Rejected("not-reproduced", f"The manifest's {name} are not those of the published spec.")
