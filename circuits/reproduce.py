"""Rebuilds a package's circuit from the ONNX file and compares the two.

A proof alone says "this circuit ran". Only a rebuild says which model the circuit is, and that it ignores the challenge.
Nothing of the package is believed but its manifest, which is what the rebuild must give.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from verinfer.verifier import files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.model_spec import SPEC_LIMIT, ModelSpec, parse_spec

from . import calibrate, stages
from .calibrate import Fidelity, Reference
from .compile import DEFAULT_TARGETS, MODEL_LIMIT
from .native import PARSE_LIMITS, Workplace, heavy_limits
from .package import Package
from .srs import open_srs
from .targets import Targets

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What a rebuild confirmed."""

    circuit: str
    fidelity: Fidelity
    meaning_compared: bool


def reproduce(
    package: Package,
    network: Path,
    *,
    spec: Path | None,
    on_progress: OnProgress,
    targets: Targets = DEFAULT_TARGETS,
) -> Reproduced:
    """Rebuild from `network`, the ONNX file as its owner published it, and compare meanings with its published `spec`.

    Rewriting, wrapping, settings and keys are made again with the recorded run args; no search.
    `targets`: what agreement or error the auditor accepts.
    Without `spec` nothing is said about names, labels, pre- and postprocessing: they are not in an ONNX file.
    Raises `Rejected` (``not-reproduced``) naming the first thing that differs.
    """
    manifest, system = package.manifest, package.manifest.proof_system
    with tempfile.TemporaryDirectory(prefix="verinfer-reproduce-") as aside:
        home = Path(aside)
        light = Workplace(directory=home, limits=PARSE_LIMITS)
        heavy = Workplace(directory=home, limits=heavy_limits())
        on_progress("inspect", 0.0)
        if installed("ezkl") != system.version:
            raise CouldNotCheck(
                "native-missing", f"The circuit was made by ezkl {system.version}; install that one."
            )
        if sha256(files.read(network, limit=MODEL_LIMIT)) != manifest.model.onnx:
            # The owner may have compiled the plain form of this file, which adoption makes, the same every time.
            plain = home / "plain.onnx"
            with suppress(Malformed):
                light.onnx("adopt", model=network, output=plain)
                network = plain
        _same("the ONNX file", sha256(files.read(network, limit=MODEL_LIMIT)), manifest.model.onnx)
        if spec is not None:
            _compare_meaning(manifest, parse_spec(files.read(spec, limit=SPEC_LIMIT)))
        stages.inspect(network, manifest, light)
        # Wrapping again gives a graph in which nothing consumes the challenge; another graph has another digest.
        wrapped = home / "wrapped.onnx"
        rewrites = [item.to_json() for item in manifest.rewrites]
        stages.rewrite_and_wrap(network, rewrites, system.run_args.input_scale, wrapped, light)
        _same("the wrapped ONNX", files.digest_of(wrapped), manifest.wrapped_onnx)
        on_progress("circuit", 0.0)
        circuit = stages.make_circuit(wrapped, system.run_args.to_json(), home, heavy)
        _same("the settings", files.digest_of(circuit.settings), system.settings)
        on_progress("setup", 0.0)
        srs = open_srs(package.path("kzg.srs"))
        _same("the SRS", srs.digest, system.srs.full)
        _same("the SRS cut", sha256(srs.cut), system.srs.cut)
        vk, _ = stages.make_keys(circuit, srs, home, heavy)
        _same("the vk", files.digest_of(vk), system.vk)
        on_progress("samples", 0.0)
        samples = stages.read_samples(package.path("samples.npz"), manifest, light)
        reference = Reference(manifest, samples, stages.run_fp32(network, manifest, samples, light))
        if not stages.same_function(network, wrapped, reference, light):
            raise Rejected("not-reproduced", "The rewritten network does not compute what the model does.")
        # The very circuit that was rebuilt, not one like it.
        fidelity = calibrate.measure(
            str(wrapped), system.run_args.to_json(), circuit.description, reference, heavy
        )
        if fidelity is None or not calibrate.good(fidelity, reference, targets):
            raise Rejected(
                "not-reproduced", "The rebuilt circuit does not agree with the model on the samples."
            )
    return Reproduced(manifest.digest, fidelity, meaning_compared=spec is not None)


def _compare_meaning(manifest: Manifest, spec: ModelSpec) -> None:
    """Raise unless the manifest says of the model what its published spec says."""
    identity = {"name": spec.name, "version": spec.version, "onnx": spec.onnx}
    mine = {**spec.to_json(), "model": identity}
    theirs = manifest.to_json()
    for name in ("model", "task", "inputs", "outputs", "labels"):
        if mine.get(name) != theirs.get(name):
            raise Rejected("not-reproduced", f"The manifest's {name} are not those of the published spec.")


def _same(what: str, mine: str, theirs: str) -> None:
    if mine != theirs:
        raise Rejected(
            "not-reproduced", f"{what} of the rebuild is {mine[:16]}…, of the manifest {theirs[:16]}…."
        )
