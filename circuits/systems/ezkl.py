"""Packages of EZKL's circuits.

Search (rewrites, numbers, shape), wrap with the challenge, settings, circuit, SRS, keys, a real proof as self-test.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from verinfer.verifier import files
from verinfer.verifier.bundle import open_bundle, read_files
from verinfer.verifier.digest import CHALLENGE_LIMBS, SALT_LIMBS, sha256
from verinfer.verifier.errors import CouldNotCheck, Rejected, UsageError
from verinfer.verifier.instances import to_field_hex
from verinfer.verifier.manifest import MANIFEST_TYPE, Manifest
from verinfer.verifier.numbers import quantise
from verinfer.verifier.wire import validate

from .. import calibrate, card, lowering, stages, tune
from ..batching import batch as batched
from ..candidates import count_rows
from ..cost import fits, load_coefficients, predict, prefers_uncompressed
from ..journal import open_journal
from ..model import Model
from ..native import Workplace, usable_memory
from ..offers import Offer
from ..package import Measured
from ..plan import read_plan
from ..prices import prices
from ..prove import read_proof
from ..srs import Srs, open_srs
from ..srs import choose as choose_srs
from ..tune import Choice
from .port import Building, Built, Rebuilding, Rebuilt, Wishes, check_cost, require_good, same

LEAST_PLAIN_SCALE = 4
"""Fraction bits of inputs and weights at EZKL's own numbers, below which a circuit is not taken for its model's; the search
starts at 6."""

_COUNTING_SECONDS = 600.0
_MOST_SETUP_SECONDS = 6 * 3600.0


class Ezkl:
    """Circuits of the kind ``ezkl-halo2-kzg``."""

    def build(self, order: Building) -> Built:
        """As `port.System`; a search that was stopped goes on from what its journal says."""
        wishes, identity = order.wishes, _identity(order.model.folder, order.wishes)
        with open_journal(*identity, folder=wishes.searches) as journal:
            choice = tune.choose(
                order.model.network,
                order.model.reference,
                wishes.targets,
                order.heavy,
                prove=_TrialProofs(
                    order.model,
                    order.heavy,
                    wishes.srs,
                    insecure_srs=wishes.insecure_srs,
                    evm=wishes.targets.evm,
                ),
                deadline=time.monotonic() + wishes.budget,
                journal=journal,
                on_progress=order.on_progress,
                inputs=wishes.inputs,
            )
            return _build(order, choice)

    def rebuild(self, order: Rebuilding) -> Rebuilt:
        """As `port.System`: rewrites, run args and settings are replayed as the manifest says."""
        return _rebuild(order)


def _build(order: Building, choice: Choice) -> Built:
    model, wishes, home, heavy = order.model, order.wishes, order.home, order.heavy
    wrapped, run_args = home / "wrapped.onnx", choice.offer.run_args
    order.on_progress("circuit", 0.0)
    rewrites = choice.offer.rewrites.to_json()
    stages.rewrite_and_wrap(
        model.network, rewrites, run_args["input_scale"], wrapped, order.light, wishes.inputs
    )
    if not stages.same_function(model.network, wrapped, model.reference, order.light):
        raise CouldNotCheck("rewrite-differs")
    circuit = stages.make_circuit(wrapped, run_args, home, heavy)
    order.on_progress("srs", 0.0)
    full = choose_srs(run_args["logrows"], given=wishes.srs, insecure=wishes.insecure_srs)
    order.on_progress("setup", 0.0)
    started = time.perf_counter()
    uncompressed = prefers_uncompressed(circuit.description, evm=wishes.targets.evm)
    vk, pk = stages.make_keys(circuit, full, home, heavy, uncompressed=uncompressed)
    setup_ms = _since(started)
    order.on_progress("self-test", 0.0)
    proof_bytes, measured = _self_test(circuit, pk, vk, full, model, run_args, heavy, setup_ms)
    check_cost(measured, wishes.targets)
    order.on_progress("package", 0.0)
    manifest = _manifest(model, wrapped, circuit, vk, full, choice, proof_bytes, uncompressed=uncompressed)
    _fill(home, circuit, vk, full, manifest)
    by_batch = prices(
        model.onnx,
        wishes.batch,
        wishes.inputs,
        choice.offer.cost,
        lambda share: order.on_progress("prices", share),
    )
    facts = card.of_ezkl(home, manifest, choice, measured, full.provenance, by_batch)
    card.write_card(home, manifest, model.reference, choice.fidelity, measured, order.because, facts)
    return Built(measured, run_args["logrows"])


def _identity(folder: Path, wishes: Wishes) -> Iterator[str]:
    """What a search depends on; raises `CouldNotCheck` (``file-missing``)."""
    for name in ("network.onnx", "spec.json", "samples.npz"):
        yield files.digest_of(folder / name)
    yield repr((wishes.targets, wishes.batch, wishes.inputs))
    # In a checkout the code changes without a new version.
    for path in sorted(Path(__file__).parents[1].glob("**/*.py")):
        yield files.digest_of(path)
    yield from (version(name) for name in ("ezkl", "numpy", "onnx", "onnxruntime"))


@dataclass(frozen=True, slots=True)
class _TrialProofs:
    """Sets an offer up and proves the first sample with it: what an offer really costs."""

    model: Model
    place: Workplace
    srs: Path | None
    insecure_srs: bool
    evm: bool

    def __call__(self, offer: Offer) -> float | None:
        """Seconds of the bare proving call; None where this offer cannot be built here."""
        with tempfile.TemporaryDirectory(dir=self.place.directory) as aside:
            home, run_args = Path(aside), offer.run_args
            wrapped = home / "wrapped.onnx"
            try:
                full = choose_srs(run_args["logrows"], given=self.srs, insecure=self.insecure_srs)
                rewrites, inputs = offer.rewrites.to_json(), run_args["input_visibility"]
                stages.rewrite_and_wrap(
                    self.model.network, rewrites, run_args["input_scale"], wrapped, self.place, inputs
                )
                circuit = stages.make_circuit(wrapped, run_args, home, self.place)
                uncompressed = prefers_uncompressed(circuit.description, evm=self.evm)
                vk, pk = stages.make_keys(circuit, full, home, self.place, uncompressed=uncompressed)
                _, measured = _self_test(circuit, pk, vk, full, self.model, run_args, self.place, 0)
            except (CouldNotCheck, UsageError):
                return None
            return measured.prove_ms / 1000


def _self_test(
    circuit: stages.Circuit,
    pk: Path,
    vk: Path,
    srs: Srs,
    model: Model,
    run_args: dict[str, Any],
    place: Workplace,
    setup_ms: int,
) -> tuple[int, Measured]:
    """Prove the first sample with a random challenge and verify it with the cut: keys that cannot do that are of no use."""
    home = place.directory
    data, witness, proof, cut = (
        home / name for name in ("test.json", "test.witness", "test.proof", "test.srs")
    )
    scales = circuit.description["model_input_scales"]
    bound = run_args["decomp_base"] ** run_args["decomp_legs"]
    salt = SALT_LIMBS if run_args["input_visibility"] == "hashed" else 0
    tensors = [
        [
            to_field_hex(quantise(value, scale, bound=bound, field=item.name))
            for value in model.samples[item.name][0]
        ]
        + _random_limbs(salt)
        for item, scale in zip(model.spec.inputs, scales, strict=False)
    ]
    challenge = _random_limbs(CHALLENGE_LIMBS)
    # Of hidden inputs EZKL hides the challenge, too: then the forward pass is the one with the real challenge.
    is_public = run_args["input_visibility"] == "public"
    tensors.append([to_field_hex(0)] * CHALLENGE_LIMBS if is_public else challenge)
    data.write_text(json.dumps({"input_data": tensors}))
    cut.write_bytes(srs.cut)
    started = time.perf_counter()
    place.ezkl(
        "gen_witness",
        data=data,
        compiled=circuit.compiled,
        witness=witness,
        tables=circuit.description["run_args"]["lookup_range"],
    )
    witness_ms, started = _since(started), time.perf_counter()
    cost = place.ezkl(
        "prove",
        witness=witness,
        compiled=circuit.compiled,
        pk=pk,
        proof=proof,
        srs=srs.path,
        challenge=challenge if is_public else None,
    )
    prove_ms, started = _since(started), time.perf_counter()
    if place.ezkl("verify", proof=proof, settings=circuit.settings, vk=vk, srs=cut) is not True:
        raise CouldNotCheck("no-circuit", "The circuit's own proof does not verify.")
    measured = {
        "setup_ms": setup_ms,
        "witness_ms": witness_ms,
        "prove_ms": prove_ms,
        "verify_ms": _since(started),
        "prove_peak_bytes": cost["peak_bytes"],
    }
    return len(read_proof(proof)), validate(Measured, measured, code="package-malformed")


def _random_limbs(count: int) -> list[str]:
    return [to_field_hex(secrets.randbelow(1 << 16)) for _ in range(count)]


def _manifest(
    model: Model,
    wrapped: Path,
    circuit: stages.Circuit,
    vk: Path,
    srs: Srs,
    choice: Choice,
    proof_bytes: int,
    *,
    uncompressed: bool,
) -> Manifest:
    spec, settings = model.spec, circuit.description
    run_args: dict[str, Any] = {
        **choice.offer.run_args,
        "lookup_range": settings["run_args"]["lookup_range"],
    }
    return validate(
        Manifest,
        {
            "type": MANIFEST_TYPE,
            "model": {"name": spec.name, "version": spec.version, "onnx": spec.onnx},
            "wrapped_onnx": files.digest_of(wrapped),
            "rewrites": choice.offer.rewrites.to_json(),
            "proof_system": {
                "name": "ezkl-halo2-kzg",
                "version": settings["version"],
                "settings": files.digest_of(circuit.settings),
                "vk": files.digest_of(vk),
                "srs": {"full": srs.digest, "cut": sha256(srs.cut)},
                "run_args": run_args,
                **({"selectors": "uncompressed"} if uncompressed else {}),
                "proof_bytes": proof_bytes,
            },
            "layout": stages.layout(
                spec, settings, model.reference.batch, choice.offer.run_args["input_visibility"]
            ),
            "quantisation": "binary64-half-away-from-zero",
            "task": spec.task,
            "inputs": [item.to_json() for item in spec.inputs],
            "outputs": [item.to_json() for item in spec.outputs],
            **({"labels": list(spec.labels)} if spec.labels is not None else {}),
            **({"batch": model.reference.batch} if model.reference.batch > 1 else {}),
        },
        code="manifest-malformed",
    )


def _fill(home: Path, circuit: stages.Circuit, vk: Path, srs: Srs, manifest: Manifest) -> None:
    shutil.copyfile(srs.path, home / "kzg.srs")
    circuit.settings.rename(home / "verify" / "settings.json")
    vk.rename(home / "verify" / "vk.key")
    files.write_atomically(home / "verify" / "kzg1.srs", srs.cut)
    files.write_atomically(home / "verify" / "manifest.json", manifest.canonical())
    # What a verifier will do: the settings must say what the manifest says.
    open_bundle(read_files(home / "verify"), manifest.digest)


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


def _rebuild(order: Rebuilding) -> Rebuilt:
    package, manifest, system = order.package, order.package.manifest, order.package.manifest.ezkl
    home, light, heavy = order.light.directory, order.light, order.heavy
    if version("ezkl") != system.version:
        raise CouldNotCheck(
            "native-missing", f"The circuit was made by ezkl {system.version}; install that one."
        )
    network, reference = batched(order.network, order.reference, manifest.samples, light)
    # Wrapping again gives a graph in which nothing consumes the challenge; another graph has another digest.
    wrapped = home / "wrapped.onnx"
    rewrites = [item.to_json() for item in manifest.rewrites]
    _require_fine(manifest, network, light)
    scale, visibility = system.run_args.input_scale, manifest.visibility
    stages.rewrite_and_wrap(network, rewrites, scale, wrapped, light, visibility)
    same("the wrapped ONNX", files.digest_of(wrapped), manifest.wrapped_onnx or "")
    order.on_progress("circuit", 0.0)
    _require_affordable(manifest, wrapped, heavy)
    circuit = stages.make_circuit(wrapped, system.run_args.to_json(), home, heavy)
    same("the settings", files.digest_of(circuit.settings), system.settings)
    order.on_progress("setup", 0.0)
    srs = open_srs(package.path("kzg.srs"))
    same("the SRS", srs.digest, system.srs.full)
    same("the SRS cut", sha256(srs.cut), system.srs.cut)
    vk, pk = stages.make_keys(circuit, srs, home, heavy, uncompressed=system.selectors is not None)
    same("the vk", files.digest_of(vk), system.vk)
    # It may be gigabytes, and nothing here proves.
    pk.unlink()
    order.on_progress("samples", 0.0)
    if not stages.same_function(network, wrapped, reference, light):
        raise Rejected("not-reproduced", "The rewritten network does not compute what the model does.")
    # The very circuit that was rebuilt, not one like it.
    fidelity = calibrate.measure(
        str(wrapped), system.run_args.to_json(), circuit.description, reference, heavy
    )
    if fidelity is None:
        raise Rejected("not-reproduced", "On the samples, values leave the rebuilt circuit's range.")
    require_good(fidelity, reference, order.targets)
    return Rebuilt(fidelity, srs.provenance)


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
