"""Which layer an unusual input drives out of a circuit's range, for an error that says where to look.

EZKL says only that something is out of range; the fp32 network shows which layer is furthest beyond what samples did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.manifest import Tensor

from . import stages
from .calibrate import Samples
from .native import Workplace
from .package import Package


def widest_layer(package: Package, inputs: Mapping[str, Sequence[int]], place: Workplace) -> str:
    """The name of the layer whose largest value is furthest beyond its largest on the package's samples.

    `inputs`: integers by input name, at the manifest's scales. Where that cannot be found out, says so instead of failing.
    """
    manifest = package.manifest
    try:
        samples = stages.read_samples(package.path("samples.npz"), manifest, place)
        given: Samples = {
            tensor.name: [_true(tensor, inputs[tensor.name])] for tensor in manifest.tensors("input")
        }
        usual, unusual = place.directory / "usual.npz", place.directory / "unusual.npz"
        stages.write_tensors(usual, manifest, samples, place)
        stages.write_tensors(unusual, manifest, given, place)
        found: str = place.simulate(
            "widest", model=package.path("network.onnx"), usual=usual, unusual=unusual
        )
    except (ChildFailed, VerinferError):
        return "(unknown)"
    return found


def _true(tensor: Tensor, values: Sequence[int]) -> list[float] | list[int]:
    if tensor.dtype != "FP32":
        return list(values)
    return [value / 2.0**tensor.scale for value in values]
