"""From a model to a package of verinfer-sc/1, and from its manifest's numbers to the same network again.

Import and quantise, kernels, the root and the key proof, a real proof as self-test that the verifier takes, a card.
What is secret is ``weights.bin``; the description of the network and the key proof are for verifiers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

from verinfer.verifier import files
from verinfer.verifier.bundle import FILE_LIMITS
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, VerinferError
from verinfer.verifier.manifest import MANIFEST_TYPE, Manifest
from verinfer.verifier.model_spec import InputSpec, OutputSpec
from verinfer.verifier.numbers import from_binary64, to_binary64
from verinfer.verifier.quantise import to_integers
from verinfer.verifier.sumcheck import soundness
from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck.description import parse
from verinfer.verifier.sumcheck.layout import layout as verifiers_layout
from verinfer.verifier.sumcheck_proof import PROOF_LIMIT
from verinfer.verifier.sumcheck_system import SumcheckSystem
from verinfer.verifier.wire import validate

from .. import card, kernels
from ..calibrate import Reference
from ..native import Workplace
from ..package import Measured
from ..prove_sumcheck import read_outputs, read_proof
from ..sumcheck.choose import (
    Chosen,
    Recorded,
    Trial,
    agreement,
    import_network,
    read_stages,
    remake,
)
from ..sumcheck.description import accumulator_range, canon
from ..sumcheck.layout import layout_of
from ..sumcheck.network import Reals
from ..sumcheck.quantise import Quantised
from ..sumcheck.weights import write_weights
from ..worker import KeyFiles, Worker
from .port import Building, Built, Rebuilding, Rebuilt, Unfit, check_cost, require_good, same

_KEY_PROOF = "key.proof"
_SURVEY_SECONDS = 10.0
"""For the card's curve of accuracy against bits."""
_KIND = "verinfer-sc-1"
_MOST_SCALE = 64
_MOST_OUTPUT = 1 << 53
"""Above any output: what a statement's integers are below."""


_UNFIT = ("model-unsupported", "no-circuit", "rewrite-differs", "sample-malformed")
"""What an import may end with that says nothing of EZKL."""


@dataclass(frozen=True, slots=True)
class _Key:
    """A network's public and secret files, and its root."""

    files: KeyFiles
    canon: bytes
    setup_ms: int


def build(order: Building) -> Built:
    """As `port.System.build`."""
    model, targets = order.model, order.wishes.targets
    order.on_progress("numbers", 0.0)
    try:
        chosen = import_network(
            model.network, model.reference, targets, order.heavy, survey_seconds=_SURVEY_SECONDS
        )
        made = chosen.quantised
        _require_statable(made)
    except VerinferError as error:
        if error.code in _UNFIT:
            raise Unfit(error) from error
        raise
    # A model that is refused needs none.
    kernels.make(order.on_progress)
    order.on_progress("setup", 0.0)
    key = _make_key(made, order.home, order.heavy)
    manifest = _manifest(order, chosen, key)
    files.write_atomically(order.home / "verify" / "manifest.json", manifest.canonical())
    order.on_progress("self-test", 0.0)
    measured, proof_bytes = _self_test(order, manifest, made, key)
    check_cost(measured, targets)
    order.on_progress("package", 0.0)
    facts = _facts(manifest, chosen, key, proof_bytes)
    fidelity = agreement(made, _inputs(model.reference), model.reference)
    card.write_card(order.home, manifest, model.reference, fidelity, measured, order.because, facts)
    return Built(measured)


def rebuild(order: Rebuilding) -> Rebuilt:
    """As `port.System.rebuild`."""
    manifest = order.package.manifest
    system = _system(manifest)
    order.on_progress("numbers", 0.0)
    try:
        made = remake(read_stages(order.network, order.heavy), _recorded(system))
    except CouldNotCheck as error:
        if error.code != "no-circuit":
            raise
        raise Rejected(
            "not-reproduced", f"The manifest's numbers make no network of this model: {error.message}"
        ) from error
    _same_numbers(made, manifest)
    same("the description", sha256(canon(made.description)), system.description)
    kernels.make(order.on_progress)
    order.on_progress("setup", 0.0)
    home = order.heavy.directory
    paths = _write_network(made, home / "description.json", home / "weights.bin")
    same("the root of the weights", order.heavy.sumcheck("find_root", **paths), system.root)
    order.on_progress("samples", 0.0)
    fidelity = agreement(made, _inputs(order.reference), order.reference)
    require_good(fidelity, order.reference, order.targets)
    return Rebuilt(fidelity, "transparent")


def _inputs(reference: Reference) -> Reals:
    """The preprocessed samples that have outputs, [n, …]."""
    (values,) = (reference.samples[tensor.name] for tensor in reference.spec.inputs)
    return np.asarray(values[: len(reference.outputs)], np.float64)


def _require_statable(made: Quantised) -> None:
    """Raise `CouldNotCheck` (``no-circuit``) where a manifest or a statement could not hold a number of the network."""
    last = len(made.description["layers"]) - 1
    if max(map(abs, accumulator_range(made.description, last, made.weights))) >= _MOST_OUTPUT:
        raise CouldNotCheck("no-circuit", "An output of the integer network could take more than 53 bits.")
    if max(abs(made.input_scale), abs(made.output_scale)) > _MOST_SCALE:
        raise CouldNotCheck(
            "no-circuit", "The network's inputs or outputs are too large or too small for fixed point."
        )


def _write_network(made: Quantised, description: Path, weights: Path) -> dict[str, Path]:
    files.write_atomically(description, canon(made.description))
    data = write_weights(layout_of(made.description), made.weights)
    files.write_atomically(weights, data, mode=files.PRIVATE)
    return {"description": description, "weights": weights}


def _make_key(made: Quantised, home: Path, place: Workplace) -> _Key:
    paths = _write_network(made, home / "verify" / "description.json", home / "weights.bin")
    key_proof = home / "verify" / _KEY_PROOF
    started = time.perf_counter()
    answer = place.sumcheck("make_key", **paths, key_proof=key_proof)
    setup_ms = _since(started)
    limit = FILE_LIMITS[_KIND][_KEY_PROOF]
    if len(files.read(key_proof, limit=limit)) == 0:
        raise CouldNotCheck("artifact-torn", "The key proof was not written; is the disk full?")
    return _Key(KeyFiles(**paths, root=str(answer["root"])), canon(made.description), setup_ms)


def _manifest(order: Building, chosen: Chosen, key: _Key) -> Manifest:
    spec, made, numbers = order.model.spec, chosen.quantised, chosen.recorded
    (given,), (output,) = spec.inputs, spec.outputs
    return validate(
        Manifest,
        {
            "type": MANIFEST_TYPE,
            "model": {"name": spec.name, "version": spec.version, "onnx": spec.onnx},
            "rewrites": [],
            "proof_system": {
                "name": _KIND,
                "description": sha256(key.canon),
                "root": key.files.root,
                "input_bits": made.description["in_bits"],
                "input_zero": made.input_zero,
                "security_bits": floor(security_level(key.canon)),
                "numbers": {
                    "bits": numbers.bits,
                    "limb_bits": numbers.limb_bits,
                    "widths": list(numbers.widths),
                    "given": [to_binary64(end) for end in numbers.given],
                    "outputs": [[to_binary64(end) for end in ends] for ends in numbers.outputs],
                },
            },
            "layout": [
                {**_tensor(given), "role": "input", "scale": made.input_scale},
                {**_tensor(output), "role": "output", "scale": made.output_scale},
            ],
            "quantisation": "binary64-half-away-from-zero-clamped",
            "task": spec.task,
            "inputs": [item.to_json() for item in spec.inputs],
            "outputs": [item.to_json() for item in spec.outputs],
            **({"labels": list(spec.labels)} if spec.labels is not None else {}),
        },
        code="manifest-malformed",
    )


def _tensor(item: InputSpec | OutputSpec) -> dict[str, Any]:
    return {"name": item.name, "shape": list(item.shape), "dtype": item.dtype, "visibility": "public"}


def security_level(description: bytes) -> float:
    """What a proof of the network is worth, in bits, as verifiers reckon it."""
    network = parse(description)
    return soundness.level(network.commitment, len(network.layers), verifiers_layout(network).sizes)


def _self_test(order: Building, manifest: Manifest, made: Quantised, key: _Key) -> tuple[Measured, int]:
    """Prove the first sample for a random request, and have the verifier check it: keys that cannot do that are of no use."""
    (given,), (output,) = manifest.tensors("input"), manifest.tensors("output")
    system = manifest.proof_system
    values = to_integers(manifest, given, order.model.samples[given.name][0])
    x = [value + made.input_zero for value in values]
    challenge = secrets.token_bytes(32)
    with _worker(order.heavy, key.files) as worker:
        started = time.perf_counter()
        y = read_outputs(worker.ask("forward", x=x), output.size, system.bound)
        witness_ms, started = _since(started), time.perf_counter()
        answer = worker.ask("prove", x=x, challenge=challenge.hex())
        prove_ms = _since(started)
    proven, proof = read_proof(answer, output.size, system.bound)
    first = replace(order.model.reference, outputs=order.model.reference.outputs[:1])
    wanted = agreement(made, np.array([order.model.samples[given.name][0]], np.float64), first)
    if y != proven or made.real(np.array(y)).tolist() != list(wanted.outputs[0][0]):
        raise CouldNotCheck("circuit-inconsistent", "The prover computes other outputs than the network.")
    if len(proof) > PROOF_LIMIT:
        raise CouldNotCheck("no-circuit", f"Its proofs have {len(proof)} bytes, more than verifiers take.")
    started = time.perf_counter()
    try:
        check(key.canon, bytes.fromhex(key.files.root), challenge, x, y, proof)
    except (Rejected, Malformed) as error:
        raise CouldNotCheck("no-circuit", "The circuit's own proof does not verify.") from error
    measured = {
        "setup_ms": key.setup_ms,
        "witness_ms": witness_ms,
        "prove_ms": prove_ms,
        "verify_ms": _since(started),
        "prove_peak_bytes": answer["peak_bytes"],
    }
    return validate(Measured, measured, code="package-malformed"), len(proof)


def _facts(manifest: Manifest, chosen: Chosen, key: _Key, proof_bytes: int) -> card.Facts:
    made, numbers = chosen.quantised, chosen.recorded
    layout = layout_of(made.description)
    cells = [
        sum(1 << layout.witness[name].bits for name, _, _, _ in stage.columns()) for stage in layout.stages
    ]
    commitment = made.description["pcs"]
    network = {
        "bits": numbers.bits,
        "limb_bits": numbers.limb_bits,
        "widths": list(numbers.widths),
        "input_bits": made.description["in_bits"],
        "weights": sum(int(part.size) for part in made.weights.values()),
        "witness_bits": layout.witness_bits,
        "weights_bits": layout.weights_bits,
        "security": {
            "bits": round(security_level(key.canon), 1),
            **{name: commitment[name] for name in ("queries", "log_blowup", "pow_bits")},
        },
        "layers": [
            {
                "name": f"layer {stage.index}",
                "operator": stage.operation,
                "cells": count,
                "share": count / sum(cells),
            }
            for stage, count in zip(layout.stages, cells, strict=True)
        ],
    }
    cost = {
        "proof_bytes": proof_bytes,
        "weights_bytes": key.files.weights.stat().st_size,
        "key_proof_bytes": key.files.description.with_name(_KEY_PROOF).stat().st_size,
    }
    trials = sorted((chosen.trial, *chosen.rejected, *chosen.others), key=lambda trial: trial.offer.bits)
    numbers_tried = [_point(trial, chosen=trial is chosen.trial) for trial in trials]
    return card.of_sumcheck(manifest, network, numbers_tried, cost)


def _point(trial: Trial, *, chosen: bool) -> dict[str, Any]:
    """How a choice of bits does on the samples that gave no ranges, and what its proofs' time goes by."""
    return {
        "bits": trial.offer.bits,
        "cells": 1 << trial.offer.witness_bits,
        "agreement": trial.held_out.agreement,
        "error": trial.held_out.error,
        "chosen": chosen,
    }


@contextmanager
def _worker(place: Workplace, key: KeyFiles) -> Iterator[Worker]:
    """A worker as a service keeps it: what it takes for a proof is what a proof will take."""
    home = place.directory / "worker"
    home.mkdir()
    with closing(
        Worker(
            key,
            limits=place.limits,
            directory=home,
            on_start=place.on_start,
            cancelled=place.cancelled,
        )
    ) as worker:
        yield worker


def _recorded(system: SumcheckSystem) -> Recorded:
    numbers = system.numbers

    def ends(texts: Sequence[str]) -> tuple[float, float]:
        low, high = map(from_binary64, texts)
        return low, high

    return Recorded(
        numbers.bits,
        numbers.limb_bits,
        tuple(numbers.widths),
        ends(numbers.given),
        tuple(map(ends, numbers.outputs)),
    )


def _same_numbers(made: Quantised, manifest: Manifest) -> None:
    """Raise where clients would read inputs or outputs in another way than the network has them."""
    (given,), (output,) = manifest.tensors("input"), manifest.tensors("output")
    for what, mine, theirs in (
        ("input's scale", made.input_scale, given.scale),
        ("integer of an input of 0", made.input_zero, _system(manifest).input_zero),
        ("output's scale", made.output_scale, output.scale),
    ):
        if mine != theirs:
            raise Rejected(
                "not-reproduced", f"The {what} is {mine} in the rebuild, {theirs} in the manifest."
            )


def _system(manifest: Manifest) -> SumcheckSystem:
    system = manifest.proof_system
    assert isinstance(system, SumcheckSystem)
    return system


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
