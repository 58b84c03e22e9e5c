"""From a tensor's numbers to the integers that a circuit computes with: one function for client, service, prover and verifier.

The rule is the manifest's ``quantisation``: EZKL's circuits refuse what they cannot hold; those of verinfer-sc/1 clamp it, so
that every finite input has a proof.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import numbers
from .manifest import Manifest, Tensor
from .sumcheck_system import SumcheckSystem


def to_integers(manifest: Manifest, tensor: Tensor, values: Sequence[float | int]) -> tuple[int, ...]:
    """The integers of an input tensor, as statements have them; `values` are flat, of the tensor's datatype.

    Raises `UsageError` (``value-not-finite``, and for EZKL ``value-out-of-range``) naming the value as in ``x[3]``.
    """
    system, scale = manifest.proof_system, tensor.scale
    named = ((f"{tensor.name}[{index}]", value) for index, value in enumerate(values))
    if isinstance(system, SumcheckSystem):
        least, most = system.input_range
        return tuple(
            numbers.quantise_clamped(value, scale, least=least, most=most, field=field)
            for field, value in named
        )
    return tuple(numbers.quantise(value, scale, bound=system.bound, field=field) for field, value in named)
