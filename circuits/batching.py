"""Several samples in one proof: the network, its samples and fp32's outputs, put together by so many.

A batched circuit is a circuit of a batched network (`rewrite.batch`); what samples are to it, groups of them are here.
"""

from __future__ import annotations

from pathlib import Path

from verinfer.verifier.errors import CouldNotCheck, UsageError

from . import stages
from .calibrate import Outputs, Reference, Samples
from .native import Workplace


def batch(network: Path, reference: Reference, count: int, place: Workplace) -> tuple[Path, Reference]:
    """The network for `count` samples at once, and its reference; for one both as they are.

    Raises `Malformed` (``model-refused``), `UsageError` (``usage``) for too few samples, `CouldNotCheck` (``rewrite-differs``).
    """
    if count == 1:
        return network, reference
    most = len(reference.outputs)
    if most < count:
        raise UsageError(
            "usage",
            f"A batch of {count} is tried on as many samples, and there are {most} (the first {stages.MOST_SAMPLES} count): "
            f"add samples, or take --batch {most} or less.",
        )
    batched = place.directory / f"batch-{count}.onnx"
    place.onnx("batch", model=network, output=batched, count=count)
    together = group(reference, count)
    # With numpy, which only batches need in this process.
    from .difference import largest_difference

    found = stages.run_fp32(batched, together.spec, together.samples, place, count)
    if largest_difference(together.outputs, found, count) > stages.REWRITE_TOLERANCE:
        raise CouldNotCheck(
            "rewrite-differs", "The batched network does not compute each sample as the model does."
        )
    return batched, together


def group(reference: Reference, count: int) -> Reference:
    """Groups of `count` samples, as long as there are whole ones."""
    starts = range(0, len(reference.outputs) - count + 1, count)
    samples: Samples = {
        name: [[value for row in rows[start : start + count] for value in row] for start in starts]
        for name, rows in reference.samples.items()
    }
    outputs = [_joined(reference.outputs[start : start + count]) for start in starts]
    return Reference(reference.spec, samples, outputs, batch=count)


def _joined(rows: Outputs) -> list[list[float]]:
    return [[value for row in rows for value in row[index]] for index in range(len(rows[0]))]
