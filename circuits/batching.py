"""Several samples in one proof: the network, its samples and fp32's outputs, put together by so many.

A batched circuit is a circuit of a batched network (`rewrite.batch`); what the samples are to it, groups of them are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verinfer.verifier.errors import CouldNotCheck, Malformed, UsageError
from verinfer.verifier.manifest import batched_shape
from verinfer.verifier.wire import Dtype

from . import stages
from .calibrate import Described, Outputs, Reference, Samples, TensorDescribed, largest_difference
from .native import Workplace


@dataclass(frozen=True, slots=True)
class BatchedTensor:
    """A tensor with a row for each sample."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchedModel:
    """A model's tensors as a batched circuit has them; labels are those of one sample."""

    inputs: tuple[BatchedTensor, ...]
    outputs: tuple[BatchedTensor, ...]
    task: str
    labels: tuple[str, ...] | None


def batch(network: Path, reference: Reference, count: int | None, place: Workplace) -> tuple[Path, Reference]:
    """The network for `count` samples at once and its reference; for None both as they are.

    Raises `Malformed` (``model-refused``), `UsageError` (``usage``) for too few samples, `CouldNotCheck` (``rewrite-differs``).
    """
    if count is None:
        return network, reference
    together = _together(reference, count)
    batched = place.directory / f"batch-{count}.onnx"
    place.onnx("batch", model=network, output=batched, count=count)
    found = stages.run_fp32(batched, together.spec, together.samples, place)
    if largest_difference(found, together.outputs) > stages.REWRITE_TOLERANCE:
        raise CouldNotCheck(
            "rewrite-differs", "The batched network does not compute each sample as the model does."
        )
    return batched, together


def _together(reference: Reference, count: int) -> Reference:
    """Groups of `count` samples, as long as there are whole ones."""
    groups = len(reference.outputs) // count
    if not groups:
        raise UsageError(
            "usage",
            f"A batch of {count} needs as many samples to be tried on; there are {len(reference.outputs)}.",
        )
    starts = [group * count for group in range(groups)]
    samples: Samples = {
        name: [[value for row in rows[start : start + count] for value in row] for start in starts]
        for name, rows in reference.samples.items()
    }
    outputs = [_join(reference.outputs[start : start + count]) for start in starts]
    return Reference(_spec(reference.spec, count), samples, outputs, batch=count)


def _join(rows: Outputs) -> list[list[float]]:
    return [[value for row in rows for value in row[index]] for index in range(len(rows[0]))]


def _spec(spec: Described, count: int) -> BatchedModel:
    return BatchedModel(_tensors(spec.inputs, count), _tensors(spec.outputs, count), spec.task, spec.labels)


def _tensors(given: Sequence[TensorDescribed], count: int) -> tuple[BatchedTensor, ...]:
    try:
        return tuple(BatchedTensor(item.name, item.dtype, batched_shape(item.shape, count)) for item in given)
    except ValueError as error:
        raise Malformed("model-refused", f"The model cannot be batched: {error}.") from error
