"""Rebuilds a package's circuit from the ONNX file and compares the two.

A proof alone says "this circuit ran". Only a rebuild says which model the circuit is, and that it ignores the challenge.
Nothing of the package is believed but its manifest, which is what the rebuild must give.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version as installed
from math import ceil
from pathlib import Path

from verinfer.verifier import files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.model_spec import SPEC_LIMIT, ModelSpec, parse_spec
from verinfer.verifier.srs import Provenance

from . import batching, calibrate, lowering, stages
from .calibrate import Fidelity, Reference
from .candidates import count_rows
from .compile import DEFAULT_TARGETS
from .cost import fits, load_coefficients, predict
from .disk import naming_full_disk
from .native import PARSE_LIMITS, Workplace, heavy_limits, usable_memory
from .package import Published
from .plan import read_plan
from .srs import open_srs
from .targets import Targets, require_suitable

OnProgress = Callable[[str, float], None]

LEAST_PLAIN_SCALE = 4
"""Fraction bits of inputs and weights at EZKL's own numbers, below which a circuit is not taken for its model's; the search
starts at 6."""

_COUNTING_SECONDS = 600.0
_MOST_SETUP_SECONDS = 6 * 3600.0


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

    Rewriting, wrapping, settings and keys are made again with the recorded run args; no search.
    `samples`: an NPZ of the auditor's own; without it the package's are taken, which its owner chose, and on which a circuit
    with hardly any weights may agree. `targets`: what agreement or error the auditor accepts.
    Without `spec` nothing is said about names, labels, pre- and postprocessing: they are not in an ONNX file.
    Raises `Rejected` (``not-reproduced``) naming the first thing that differs.
    """
    manifest, system = package.manifest, package.manifest.ezkl
    require_suitable(targets, manifest.task)
    with tempfile.TemporaryDirectory(prefix="verinfer-reproduce-") as aside, naming_full_disk(Path(aside)):
        home = Path(aside)
        light = Workplace(directory=home, limits=PARSE_LIMITS)
        heavy = Workplace(directory=home, limits=heavy_limits())
        on_progress("inspect", 0.0)
        if installed("ezkl") != system.version:
            raise CouldNotCheck(
                "native-missing", f"The circuit was made by ezkl {system.version}; install that one."
            )
        network, adopted = _adopted(network, manifest.model.onnx, light)
        _same("the ONNX file", files.digest_of(network), manifest.model.onnx)
        if spec is not None:
            _compare_meaning(manifest, parse_spec(files.read(spec, limit=SPEC_LIMIT)))
        stages.inspect(network, manifest, light)
        values = stages.read_samples(samples or package.path("samples.npz"), manifest, light)
        given = len(next(iter(values.values())))
        # An auditor with fewer samples than a batch has may show each several times.
        rounds = ceil(manifest.samples / given)
        values = {name: rows * rounds if given < manifest.samples else rows for name, rows in values.items()}
        single = Reference(manifest, values, stages.run_fp32(network, manifest, values, light))
        network, reference = batching.batch(network, single, manifest.samples, light)
        # Wrapping again gives a graph in which nothing consumes the challenge; another graph has another digest.
        wrapped = home / "wrapped.onnx"
        rewrites = [item.to_json() for item in manifest.rewrites]
        _require_fine(manifest, network, light)
        scale, visibility = system.run_args.input_scale, manifest.visibility
        stages.rewrite_and_wrap(network, rewrites, scale, wrapped, light, visibility)
        _same("the wrapped ONNX", files.digest_of(wrapped), manifest.wrapped_onnx or "")
        on_progress("circuit", 0.0)
        _require_affordable(manifest, wrapped, heavy)
        circuit = stages.make_circuit(wrapped, system.run_args.to_json(), home, heavy)
        _same("the settings", files.digest_of(circuit.settings), system.settings)
        on_progress("setup", 0.0)
        srs = open_srs(package.path("kzg.srs"))
        _same("the SRS", srs.digest, system.srs.full)
        _same("the SRS cut", sha256(srs.cut), system.srs.cut)
        vk, pk = stages.make_keys(circuit, srs, home, heavy, uncompressed=system.selectors is not None)
        _same("the vk", files.digest_of(vk), system.vk)
        # It may be gigabytes, and nothing here proves.
        pk.unlink()
        on_progress("samples", 0.0)
        if not stages.same_function(network, wrapped, reference, light):
            raise Rejected("not-reproduced", "The rewritten network does not compute what the model does.")
        # The very circuit that was rebuilt, not one like it.
        fidelity = calibrate.measure(
            str(wrapped), system.run_args.to_json(), circuit.description, reference, heavy
        )
        if fidelity is None:
            raise Rejected("not-reproduced", "On the samples, values leave the rebuilt circuit's range.")
        if not calibrate.good(fidelity, reference, targets):
            raise Rejected("not-reproduced", _too_little(fidelity, manifest, targets))
    return Reproduced(
        manifest.digest,
        replace(fidelity, samples=min(fidelity.samples, given)),
        srs.provenance,
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


def _require_fine(manifest: Manifest, network: Path, place: Workplace) -> None:
    """Raise where numbers are so coarse that agreement on samples could only be an accident."""
    args, names = manifest.ezkl.run_args, [item.name for item in manifest.rewrites]
    rules = [name for name in names if name != stages.LOWERING]
    if names not in (rules, [*rules, stages.LOWERING]):
        raise Rejected("not-reproduced", "A lowering is the last rewrite, and there is one at most.")
    if names == rules:
        if min(args.input_scale, args.param_scale) < LEAST_PLAIN_SCALE:
            raise Rejected(
                "not-reproduced", f"Numbers of fewer than {LEAST_PLAIN_SCALE} fraction bits are too coarse."
            )
        return
    sites = lowering.read_sites(stages.apply_rules(network, rules, place), place)
    plan = read_plan({**manifest.rewrites[-1].to_json(), "scale": args.input_scale})
    reason = "the network cannot be lowered" if sites is None else lowering.fault_of(plan, sites)
    if reason is not None:
        raise Rejected("not-reproduced", f"Too coarse, or not a lowering of ours: {reason}.")


def _require_affordable(manifest: Manifest, wrapped: Path, place: Workplace) -> None:
    """Raise before a stranger's circuit takes this machine for hours."""
    hurried = replace(place, limits=place.limits._replace(wall_seconds=_COUNTING_SECONDS))
    settings = count_rows(str(wrapped), [manifest.ezkl.run_args.to_json()], hurried)[0]
    if settings is None:
        raise Rejected("not-reproduced", "EZKL refuses the network with the recorded run args.")
    uncompressed = manifest.ezkl.selectors is not None
    cost = predict(settings, load_coefficients(), uncompressed=uncompressed)
    if not fits(cost, usable_memory()) or cost.setup_seconds > _MOST_SETUP_SECONDS:
        raise CouldNotCheck(
            "model-too-large",
            f"Setting this circuit up needs {cost.setup_bytes / 1e9:.1f} GB and {cost.setup_seconds / 60:.0f} minutes;"
            " use a larger machine.",
        )


def _too_little(fidelity: Fidelity, manifest: Manifest, targets: Targets) -> str:
    if manifest.task == "classification":
        found, wanted = f"gives the model's label for {fidelity.agreement:.2%}", f"{targets.agreement:.2%}"
    else:
        found, wanted = f"is off by {fidelity.error:.3g}", f"{targets.error:.2%} of the outputs' range"
    return f"The rebuilt circuit {found} of {fidelity.samples} samples; accepted is {wanted}, or what --target says."


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
