"""From a model folder to a circuit package, in one readable order.

inspect, samples, search (rewrites, numbers, shape), wrap with the challenge, settings, circuit, SRS, keys,
a real proof as self-test, package.
The package appears at once, whole, or not at all: it is built aside and renamed.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from verinfer.verifier import files
from verinfer.verifier.bundle import open_bundle, read_files
from verinfer.verifier.digest import CHALLENGE_LIMBS, SALT_LIMBS, sha256
from verinfer.verifier.errors import CouldNotCheck, UsageError
from verinfer.verifier.instances import to_field_hex
from verinfer.verifier.manifest import MANIFEST_TYPE, Manifest, Visibility
from verinfer.verifier.numbers import quantise
from verinfer.verifier.wire import validate

from . import card, stages, tune
from .cost import prefers_uncompressed
from .disk import naming_full_disk
from .journal import open_journal
from .model import Model, read_model
from .native import PARSE_LIMITS, Workplace, heavy_limits
from .offers import Offer
from .package import BUNDLE_PARTS, Measured, Package, open_package, write_index
from .prices import prices
from .prove import read_proof
from .srs import Srs
from .srs import choose as choose_srs
from .targets import BUDGET, Targets, require_suitable
from .tune import Choice

OnProgress = Callable[[str, float], None]
"""Phase, and how much of it is done, 0 to 1."""

DEFAULT_TARGETS = Targets()


def compile_model(
    folder: Path,
    out: Path,
    *,
    srs: Path | None,
    insecure_srs: bool,
    on_progress: OnProgress,
    targets: Targets = DEFAULT_TARGETS,
    budget: float = BUDGET,
    batch: int = 1,
    inputs: Visibility = "public",
    searches: Path | None = None,
) -> Package:
    """Build the package `out` from the model folder `folder`: the cheapest circuit that meets the targets.

    `budget`: seconds after which no more trial proofs are made. `batch`: how many samples one proof covers.
    `inputs`: what a proof shows of them.
    A search that was stopped goes on from what its journal says, in the folder `searches` or in the cache.
    Raises `UsageError`, `Malformed` or `CouldNotCheck`; then `out` does not exist.
    """
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or choose another --out.")
    # Children have directories of their own, where a relative path means something else.
    folder, out = folder.absolute(), out.absolute()
    with (
        files.folder_aside(out) as aside,
        naming_full_disk(out.parent),
        open_journal(*_identity(folder, targets, batch, inputs), folder=searches) as journal,
    ):
        scratch, home = aside / "scratch", aside / "package"
        (home / "verify").mkdir(parents=True)
        scratch.mkdir()
        light = Workplace(directory=scratch, limits=PARSE_LIMITS)
        heavy = Workplace(directory=scratch, limits=heavy_limits())

        on_progress("inspect", 0.0)
        model = read_model(folder, light, batch)
        require_suitable(targets, model.spec.task)
        wrapped = home / "wrapped.onnx"
        choice = tune.choose(
            model.network,
            model.reference,
            targets,
            heavy,
            prove=_TrialProofs(model, heavy, srs, insecure_srs=insecure_srs, evm=targets.evm),
            deadline=time.monotonic() + budget,
            journal=journal,
            on_progress=on_progress,
            inputs=inputs,
        )
        run_args = choice.offer.run_args
        on_progress("circuit", 0.0)
        rewrites = choice.offer.rewrites.to_json()
        stages.rewrite_and_wrap(model.network, rewrites, run_args["input_scale"], wrapped, light, inputs)
        if not stages.same_function(model.network, wrapped, model.reference, light):
            raise CouldNotCheck("rewrite-differs")
        circuit = stages.make_circuit(wrapped, run_args, home, heavy)
        on_progress("srs", 0.0)
        full = choose_srs(run_args["logrows"], given=srs, insecure=insecure_srs)
        on_progress("setup", 0.0)
        started = time.perf_counter()
        uncompressed = prefers_uncompressed(circuit.description, evm=targets.evm)
        vk, pk = stages.make_keys(circuit, full, home, heavy, uncompressed=uncompressed)
        setup_ms = _since(started)
        on_progress("self-test", 0.0)
        proof_bytes, measured = _self_test(circuit, pk, vk, full, model, run_args, heavy, setup_ms)
        check_cost(measured, targets)
        on_progress("package", 0.0)
        manifest = _manifest(
            model, wrapped, circuit, vk, full, choice, proof_bytes, uncompressed=uncompressed
        )
        _fill(home, model, circuit, vk, full, manifest)
        by_batch = prices(
            model.onnx, batch, inputs, choice.offer.cost, lambda share: on_progress("prices", share)
        )
        card.write_card(home, manifest, model.reference, choice, measured, full.provenance, by_batch)
        write_index(home, measured, run_args["logrows"])
        open_package(home)
        home.rename(out)
    return open_package(out)


def _identity(folder: Path, targets: Targets, batch: int, inputs: Visibility) -> Iterator[str]:
    """What a search depends on; raises `CouldNotCheck` (``file-missing``)."""
    for name in ("network.onnx", "spec.json", "samples.npz"):
        yield files.digest_of(folder / name)
    yield repr((targets, batch, inputs))
    # In a checkout the code changes without a new version.
    for path in sorted(Path(__file__).parent.glob("**/*.py")):
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


def check_cost(measured: Measured, targets: Targets) -> None:
    """Raise unless the real proof cost no more than was asked for: the search went by estimates."""
    if targets.memory_bytes is not None and measured.prove_peak_bytes > targets.memory_bytes:
        raise CouldNotCheck(
            "no-circuit",
            f"The cheapest circuit proves in {measured.prove_peak_bytes / 1e6:.0f} MB, more than the target.",
        )
    if targets.seconds is not None and measured.prove_ms > targets.seconds * 1000:
        raise CouldNotCheck(
            "no-circuit",
            f"The cheapest circuit proves in {measured.prove_ms / 1000:.1f} s, more than the target.",
        )


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


def _fill(home: Path, model: Model, circuit: stages.Circuit, vk: Path, srs: Srs, manifest: Manifest) -> None:
    for name in ("network.onnx", "spec.json", "samples.npz"):
        shutil.copyfile(model.folder / name, home / name)
    shutil.copyfile(srs.path, home / "kzg.srs")
    circuit.settings.rename(home / "verify" / "settings.json")
    vk.rename(home / "verify" / "vk.key")
    files.write_atomically(home / "verify" / "kzg1.srs", srs.cut)
    files.write_atomically(home / "verify" / "manifest.json", manifest.canonical())
    assert all((home / part).exists() for part in BUNDLE_PARTS)
    # What a verifier will do: the settings must say what the manifest says.
    open_bundle(read_files(home / "verify"), manifest.digest)


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
