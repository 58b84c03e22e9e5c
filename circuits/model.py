"""A model folder, read and inspected: its spec, its network, its samples, and what fp32 makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verinfer.verifier import files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import UsageError
from verinfer.verifier.model_spec import SPEC_LIMIT, ModelSpec, parse_spec

from . import batching, stages
from .calibrate import Outputs, Reference, Samples
from .native import Workplace

MODEL_LIMIT = 1 << 30
"""Bytes of the largest ONNX file."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder, read and inspected: `network` and `reference` are what the circuit is made of, a batch perhaps."""

    folder: Path
    spec: ModelSpec
    network: Path
    reference: Reference

    @property
    def samples(self) -> Samples:
        """Its preprocessed samples, or batches of them."""
        return self.reference.samples

    @property
    def fp32(self) -> Outputs:
        """The fp32 outputs for each sample or batch."""
        return self.reference.outputs

    @property
    def onnx(self) -> Path:
        """The ONNX file as given."""
        return self.folder / "network.onnx"


def read_model(folder: Path, place: Workplace, batch: int = 1) -> Model:
    """Read and inspect a model folder, and put its samples together by `batch`.

    Raises `UsageError` or `Malformed` if spec and ONNX file do not belong together, and what `batching.batch` raises.
    """
    spec = parse_spec(files.read(folder / "spec.json", limit=SPEC_LIMIT))
    onnx = folder / "network.onnx"
    if sha256(files.read(onnx, limit=MODEL_LIMIT)) != spec.onnx:
        raise UsageError("model-refused", f"{onnx} is not the file that spec.json names.")
    stages.inspect(onnx, spec, place)
    samples = stages.read_samples(folder / "samples.npz", spec, place)
    reference = Reference(spec, samples, stages.run_fp32(onnx, spec, samples, place))
    return Model(folder, spec, *batching.batch(onnx, reference, batch, place))
