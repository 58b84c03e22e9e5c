"""The rules by name, in the order in which the compiler tries them, and the replay of a recorded list.

A rule that finds nothing to do returns the model unchanged (the same object).
Rules are deterministic: one model and one list of names give the same bytes in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from verinfer.verifier.errors import CouldNotCheck

from . import (
    average_pool,
    batch_normalisation,
    centred_sums,
    convolution,
    curve_factor,
    distinct_outputs,
    early_factor,
    fold,
    gemm,
    layer_normalisation,
    linear_chain,
    mean,
    merge_gathers,
    merge_products,
    pool_before_relu,
    recurrent,
    shared_affine,
    split_products,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rewrite: `apply` maps a model to a model that computes the same function."""

    name: str
    apply: Callable[[onnx.ModelProto], onnx.ModelProto]


RULES: tuple[Rule, ...] = (
    Rule("fold", fold.apply),
    Rule("recurrent", recurrent.apply),
    Rule("batch-normalisation", batch_normalisation.apply),
    Rule("gemm", gemm.apply),
    Rule("average-pool", average_pool.apply),
    Rule("global-average-pool", average_pool.apply_global),
    Rule("convolution", convolution.apply),
    Rule("pool-before-relu", pool_before_relu.apply),
    Rule("layer-normalisation", layer_normalisation.apply),
    Rule("mean", mean.apply),
    Rule("centred-sums", centred_sums.apply),
    Rule("early-factor", early_factor.apply),
    Rule("curve-factor", curve_factor.apply),
    Rule("split-products", split_products.apply),
    Rule("shared-affine", shared_affine.apply),
    Rule("merge-products", merge_products.apply),
    Rule("merge-gathers", merge_gathers.apply),
    Rule("linear-chain", linear_chain.apply),
    Rule("distinct-outputs", distinct_outputs.apply),
)


def replay(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Apply the named rules in order; raises `CouldNotCheck` (``rewrite-unknown``) for a name this version does not know."""
    known = {rule.name: rule for rule in RULES}
    for name in names:
        if name not in known:
            raise CouldNotCheck("rewrite-unknown", f"This version does not know the rewrite {name}.")
        model = known[name].apply(model)
    return model
