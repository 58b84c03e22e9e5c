"""Which layer an unusual input drives out of a circuit's range, for an error that says where to look.

EZKL says only that something is out of range; the fp32 network shows which layer is furthest beyond what samples did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from verinfer.verifier.errors import VerinferError
from verinfer.verifier.manifest import Tensor

from . import stages
from .calibrate import Samples
from .native import PARSE_LIMITS, Workplace
from .package import Package

_MOST_SAMPLES = 64


def widest_layer(package: Package, inputs: Mapping[str, Sequence[int]], place: Workplace) -> str:
    """The name of the layer whose largest value is furthest beyond its largest on the package's samples.

    `inputs`: integers by input name, at the manifest's scales, perhaps with a salt behind them. Where the layer cannot be found
    out, says so instead of failing.
    """
    manifest = package.manifest
    # Whoever waits for a proof waits for this too.
    place = replace(place, limits=PARSE_LIMITS)
    try:
        every = stages.read_samples(package.path("samples.npz"), manifest, place)
        samples = {name: rows[:_MOST_SAMPLES] for name, rows in every.items()}
        given: Samples = {
            tensor.name: [_true(tensor, inputs[tensor.name][: tensor.size])]
            for tensor in manifest.tensors("input")
        }
        usual, unusual = place.directory / "usual.npz", place.directory / "unusual.npz"
        stages.write_tensors(usual, manifest, samples, place)
        stages.write_tensors(unusual, manifest, given, place)
        found: str = place.simulate(
            "widest", model=package.path("network.onnx"), usual=usual, unusual=unusual
        )
    except VerinferError as error:
        if error.code == "child-cancelled":
            raise
        return "(unknown)"
    return found


def _true(tensor: Tensor, values: Sequence[int]) -> list[float] | list[int]:
    if tensor.dtype != "FP32":
        return list(values)
    return [value / 2.0**tensor.scale for value in values]
