"""The two ways from an ONNX file to a circuit that the suite ``compiler`` compares: stock EZKL, and verinfer.

Each takes a model of the zoo and gives a `Contestant`: files that the same bare calls can set up, prove with and verify.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.circuits.compile import compile_model
from verinfer.circuits.model import Model
from verinfer.circuits.srs import choose
from verinfer.verifier.digest import CHALLENGE_LIMBS
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.instances import to_field_hex
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.numbers import quantise

from . import steps

CALIBRATION_SAMPLES = 8
"""How many samples stock EZKL's calibration sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A circuit before its keys. `inputs` has EZKL's ``input_data`` by sample, None where a sample cannot be written down.

    `seconds` is what finding and compiling the circuit took, by phase.
    """

    home: Path
    compiled: Path
    settings: Path
    srs: Path
    inputs: list[Any]
    seconds: dict[str, float]
    uncompressed: bool = False
    """Each selector has its column; EZKL's default is no."""

    @property
    def description(self) -> dict[str, Any]:
        """The settings."""
        value: dict[str, Any] = json.loads(self.settings.read_bytes())
        return value


def stock(model: Model, home: Path) -> Contestant:
    """What EZKL's documentation does: default run args, `calibrate_settings` for resources on a few samples."""
    home.mkdir()
    settings, compiled, data = home / "settings.json", home / "model.compiled", home / "calibration.json"
    names = [item.name for item in model.spec.inputs]
    count = len(model.fp32)
    few = range(min(CALIBRATION_SAMPLES, count))
    batches = [[value for index in few for value in model.samples[name][index]] for name in names]
    data.write_text(json.dumps({"input_data": batches}))
    seconds = {
        "gen_settings": steps.run("gen_settings", home, model=model.onnx, settings=settings).seconds,
        "calibrate": steps.run("calibrate", home, model=model.onnx, settings=settings, data=data).seconds,
        "compile": steps.run(
            "compile_circuit", home, model=model.onnx, settings=settings, compiled=compiled
        ).seconds,
    }
    logrows = json.loads(settings.read_bytes())["run_args"]["logrows"]
    return Contestant(
        home=home,
        compiled=compiled,
        settings=settings,
        srs=choose(logrows, given=None, insecure=True).path,
        inputs=[[model.samples[name][index] for name in names] for index in range(count)],
        seconds=seconds,
    )


def ours(model: Model, home: Path) -> Contestant:
    """`compile_model` as ``verinfer compile --insecure-srs`` calls it; every phase before the SRS counts as compiling."""
    home.mkdir()
    phases = _Phases()
    package = compile_model(
        model.folder, home / "package", srs=None, insecure_srs=True, on_progress=phases.enter
    )
    seconds = phases.seconds()
    before = list(seconds)[: list(seconds).index("srs")]
    return Contestant(
        home=home,
        compiled=package.path("model.compiled"),
        settings=package.path("verify/settings.json"),
        srs=package.path("kzg.srs"),
        inputs=[_fields(model, package.manifest, index) for index in range(len(model.fp32))],
        seconds={name: seconds[name] for name in before},
        uncompressed=package.manifest.ezkl.selectors is not None,
    )


CONTESTANTS: dict[str, Callable[[Model, Path], Contestant]] = {"stock": stock, "ours": ours}


class _Phases:
    """When each phase of a build began."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def enter(self, phase: str, _share: float) -> None:
        """Note a phase's first report."""
        self._began.setdefault(phase, time.perf_counter())

    def seconds(self) -> dict[str, float]:
        """How long each lasted, in order; the last one until now."""
        ends = [*list(self._began.values())[1:], time.perf_counter()]
        return {name: end - began for (name, began), end in zip(self._began.items(), ends, strict=True)}


def _fields(model: Model, manifest: Manifest, index: int) -> list[list[str]] | None:
    """One sample as the prover writes it, with a zero challenge; None if a value leaves the circuit's range."""
    bound = manifest.proof_system.bound
    try:
        tensors = [
            [
                to_field_hex(quantise(value, tensor.scale, bound=bound, field=tensor.name))
                for value in model.samples[tensor.name][index]
            ]
            for tensor in manifest.tensors("input")
        ]
    except VerinferError:
        return None
    return [*tensors, [to_field_hex(0)] * CHALLENGE_LIMBS]
