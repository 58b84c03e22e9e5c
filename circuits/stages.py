"""The stages that a build and a rebuild share: ONNX and run args to settings, compiled circuit, keys, and layout.

Each takes files and gives files; what EZKL wrote is read again, never believed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from verinfer.verifier import files, preprocess
from verinfer.verifier.digest import CHALLENGE_LIMBS, CHALLENGE_NAME, sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, UsageError
from verinfer.verifier.manifest import Visibility, batched_shape
from verinfer.verifier.model_spec import InputSpec, OutputSpec
from verinfer.verifier.settings import SETTINGS_LIMIT, canonical_settings

from .calibrate import Described, Reference, Samples, output_scales
from .native import Workplace
from .plan import read_plan
from .srs import Srs

MOST_SAMPLES = 600
"""Samples that count, the first ones: enough to tell 99.5 % from 98.5 %, and forward passes take their time."""

_ANSWER_NUMBERS = 2_000_000

LOWERING = "fixed-point"
"""The name of the last rewrite, whose numbers are in the manifest; it is in no list of rules."""

REWRITE_TOLERANCE = 1e-4
"""Largest difference in fp32 between a network and its rewritten form, relative to its largest output."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A compiled circuit and its canonical settings, as files."""

    settings: Path
    compiled: Path

    @property
    def description(self) -> dict[str, Any]:
        """The settings as plain values."""
        value: dict[str, Any] = json.loads(self.settings.read_bytes())
        return value


def inspect(model: Path, spec: Described, place: Workplace) -> None:
    """Refuse a model that cannot be proven, or that is not the one in `spec`; raises `UsageError`."""
    found = place.onnx("inspect", model=model)
    for role, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        wanted = [{"name": item.name, "shape": list(item.shape), "dtype": item.dtype} for item in tensors]
        if found[role] != wanted:
            raise UsageError(
                "shape-mismatch", f"The model's {role} are {found[role]}; the spec says {wanted}."
            )


def read_samples(path: Path, spec: Described, place: Workplace) -> Samples:
    """The samples of an NPZ file, preprocessed by the function that clients use.

    Raises `CouldNotCheck` (``file-missing``) or `Malformed` (``sample-malformed``).
    """
    if not path.is_file():
        raise CouldNotCheck("file-missing", f"{path} is missing: real samples say how well a circuit does.")
    names = [tensor.name for tensor in spec.inputs]
    # A child's answer has its limit.
    most = max(1, min(MOST_SAMPLES, _ANSWER_NUMBERS // sum(prod(item.shape) for item in spec.inputs)))
    raw = place.onnx("read_samples", path=path, names=names, most=most)
    return {
        item.name: [preprocess.to_input(item, sample) for sample in raw[item.name]] for item in spec.inputs
    }


def write_tensors(path: Path, spec: Described, samples: Samples, place: Workplace, batch: int = 1) -> None:
    """Preprocessed samples, or batches of them, as an NPZ file."""
    tensors: dict[str, dict[str, Any]] = {
        item.name: {
            "shape": batched_shape(item.shape, batch),
            "dtype": item.dtype,
            "values": samples[item.name],
        }
        for item in spec.inputs
    }
    # For wrapped networks, which take a challenge too and ignore it.
    blank = [[0] * CHALLENGE_LIMBS] * len(next(iter(samples.values())))
    tensors[CHALLENGE_NAME] = {"shape": [1, CHALLENGE_LIMBS], "dtype": "INT64", "values": blank}
    place.onnx("write_samples", path=path, tensors=tensors)


def _tensors(spec: Described, samples: Samples, place: Workplace, batch: int) -> Path:
    """The file of `write_tensors`, written once in this place for the same samples."""
    key = sha256(json.dumps([batch, samples]).encode())
    path = place.directory / f"tensors-{key}.npz"
    if not path.exists():
        write_tensors(path, spec, samples, place, batch)
    return path


def run_fp32(
    model: Path, spec: Described, samples: Samples, place: Workplace, batch: int = 1
) -> list[list[list[float]]]:
    """The fp32 model's outputs for every sample or batch, by onnxruntime.

    Raises `Malformed` (``model-refused``) if they are not of the declared sizes.
    """
    path = _tensors(spec, samples, place, batch)
    outputs: list[list[list[float]]] = place.onnx("run_many", model=model, inputs=path)
    sizes = [batch * prod(item.shape) for item in spec.outputs]
    if any([len(tensor) for tensor in tensors] != sizes for tensors in outputs):
        raise Malformed(
            "model-refused", "The model is refused: its outputs are not of the sizes that it declares."
        )
    return outputs


def rewrite_and_wrap(
    network: Path,
    rewrites: Sequence[Mapping[str, Any]],
    scale: int,
    wrapped: Path,
    place: Workplace,
    inputs: Visibility = "public",
) -> None:
    """Replay the manifest's rewrites on the given network, then add the challenge, last of all, and salt hashed inputs.

    `scale` is the run args' input scale, which only a lowering asks for. Made once in this place for the same wishes.
    Raises `CouldNotCheck` (``rewrite-unknown``).
    """
    rules = [item["name"] for item in rewrites if item["name"] != LOWERING]
    wishes = [files.digest_of(network), list(rewrites), scale if len(rules) < len(rewrites) else None, inputs]
    made = place.directory / f"wrapped-{sha256(json.dumps(wishes).encode())}.onnx"
    if made.exists():
        shutil.copyfile(made, wrapped)
        return
    current = apply_rules(network, rules, place)
    for item in rewrites:
        if item["name"] == LOWERING:
            plan = read_plan({**item, "scale": scale})
            lowered = place.directory / "lowered-only.onnx"
            place.simulate("write_lowered", model=current, output=lowered, plan=plan.to_json())
            current = lowered
    place.onnx("wrap", model=current, output=made, inputs=inputs)
    shutil.copyfile(made, wrapped)


def apply_rules(network: Path, rules: Sequence[str], place: Workplace) -> Path:
    """The network after these rules, made once in this place for each network and list."""
    if not rules:
        return network
    key = sha256("\n".join([files.digest_of(network), *rules]).encode())
    applied = place.directory / f"rules-{key}.onnx"
    if not applied.exists():
        place.onnx("rewrite", model=network, output=applied, rules=list(rules))
    return applied


def same_function(network: Path, wrapped: Path, reference: Reference, place: Workplace) -> bool:
    """Whether the rewritten network gives the given one's fp32 outputs on every sample, to `REWRITE_TOLERANCE`."""
    path = _tensors(reference.spec, reference.samples, place, reference.batch)
    difference = float(
        place.onnx("compare", first=network, second=wrapped, inputs=path, batch=reference.batch)
    )
    return difference <= REWRITE_TOLERANCE


def make_circuit(wrapped: Path, run_args: dict[str, Any], home: Path, place: Workplace) -> Circuit:
    """Settings in canonical form, then the circuit: the order in EZKL's own files changes between processes, and with it vk."""
    raw = place.directory / "raw.settings.json"
    place.ezkl("gen_settings", model=wrapped, output=raw, run_args=run_args)
    circuit = Circuit(home / "settings.json", home / "model.compiled")
    files.write_atomically(circuit.settings, canonical_settings(files.read(raw, limit=SETTINGS_LIMIT)))
    place.ezkl("compile_circuit", model=wrapped, compiled=circuit.compiled, settings=circuit.settings)
    return circuit


def make_keys(
    circuit: Circuit, srs: Srs, home: Path, place: Workplace, *, uncompressed: bool
) -> tuple[Path, Path]:
    """Vk and pk of the circuit under this SRS; `uncompressed` gives each selector its column."""
    vk, pk = home / "vk.key", home / "pk.key"
    place.ezkl("setup", compiled=circuit.compiled, vk=vk, pk=pk, srs=srs.path, uncompressed=uncompressed)
    return vk, pk


def layout(spec: Described, settings: dict[str, Any], batch: int, inputs: Visibility) -> list[dict[str, Any]]:
    """The instance layout as the manifest has it, with the scales that EZKL chose."""
    scales: Sequence[int] = settings["model_input_scales"]
    given = [
        {**_tensor(item, batch), "role": "input", "scale": scale, "visibility": inputs}
        for item, scale in zip(spec.inputs, scales, strict=False)
    ]
    challenge = {
        "name": CHALLENGE_NAME,
        "role": "challenge",
        "shape": [1, 16],
        "dtype": "INT64",
        "scale": scales[len(spec.inputs)],
        "visibility": "public",
    }
    outputs = [
        {**_tensor(item, batch), "role": "output", "scale": scale}
        for item, scale in zip(spec.outputs, output_scales(settings, inputs), strict=True)
    ]
    return [*given, challenge, *outputs]


def _tensor(item: InputSpec | OutputSpec, batch: int) -> dict[str, Any]:
    shape = list(batched_shape(item.shape, batch))
    return {"name": item.name, "shape": shape, "dtype": item.dtype, "visibility": "public"}
