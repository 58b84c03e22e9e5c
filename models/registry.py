"""The models that `verinfer export` knows, by name."""

from __future__ import annotations

from . import bmi, breast_cancer, digits, digits_attention, digits_lstm, digits_mlp, digits_trees, lenet
from .definition import Definition

DEFINITIONS: dict[str, Definition] = {
    module.DEFINITION.name: module.DEFINITION
    for module in (bmi, breast_cancer, digits, digits_attention, digits_lstm, digits_mlp, digits_trees, lenet)
}
