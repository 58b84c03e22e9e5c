"""Proofs that verify, with the instances that they are of: from the committed vectors, so that all see the same ones.

Some vectors are refused since their honest proof is of something else than their statement says.
Here each gets the statement that it is of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verinfer.verifier.bundle import Bundle, open_bundle, read_files
from verinfer.verifier.digest import challenge
from verinfer.verifier.evidence import EZKL_KIND, Proof
from verinfer.verifier.evm.words import elements
from verinfer.verifier.instances import BN254_SCALAR_FIELD, build_instances
from verinfer.verifier.receipt import Receipt, parse_receipt
from verinfer.verifier.statement import Statement, TensorValue, encode_statement

from .questions import Honest

VECTORS = Path(__file__).parents[1] / "vectors"
CIRCUITS = ("bmi", "breast_cancer")
"""The models of those circuits."""
_OTHER_NONCE = "ab" * 32
"""That of ``proven-for-other-nonce``, as `vectors.generate` has it."""


def read_bundles() -> dict[str, Bundle]:
    """The committed circuits with public inputs, by their model's name."""
    found = [open_bundle(read_files(home), home.name) for home in (VECTORS / "shared" / "bundles").iterdir()]
    return {bundle.manifest.model.name: bundle for bundle in found if bundle.manifest.visibility == "public"}


def read_pairs(bundles: Mapping[str, Bundle]) -> list[Honest]:
    """All that the vectors hold: four of ``bmi``, two of ``breast_cancer``."""
    bmi, cancer = bundles["bmi"], bundles["breast_cancer"]
    asked, other = _receipt("proven").statement, _receipt("other-model").statement
    lie = _receipt("proven-for-other-output_fail").statement
    first, *rest = values_of(asked, "input")
    moved = _with_values(asked, "input", (first + 5, *rest))
    late = asked.predicate.model_copy(update={"nonce": _OTHER_NONCE})
    return [
        _pair(bmi, "proven", asked),
        _pair(bmi, "proven-for-other-input_fail", _with_values(moved, "output", values_of(lie, "output"))),
        _pair(bmi, "proven-for-other-output_fail", _with_values(lie, "output", values_of(asked, "output"))),
        _pair(bmi, "proven-for-other-nonce_fail", Statement(encode_statement(late), late)),
        _pair(cancer, "other-model", other),
        _pair(
            cancer,
            "proven-by-other-model_fail",
            _with(Statement(asked.raw, other.predicate), nonce=asked.predicate.nonce),
        ),
    ]


def statement_of(vector: Sequence[int], known: Sequence[Honest]) -> Statement | None:
    """A statement from which the verifier builds exactly this vector, or None where there can be none.

    There is none with another count, with what is not below r, or with limbs of no challenge, which is a hash; those of
    `known` pairs are the ones to be had.
    """
    if not known or any(value >= BN254_SCALAR_FIELD for value in vector):
        return None
    half = BN254_SCALAR_FIELD // 2
    signed = [value - BN254_SCALAR_FIELD if value > half else value for value in vector]
    for pair in known:
        limbs = pair.challenge
        if len(vector) == len(pair.instances) and tuple(vector[limbs]) == pair.instances[limbs]:
            inputs = _with_values(pair.statement, "input", signed[: limbs.start])
            return _with_values(inputs, "output", signed[limbs.stop :])
    return None


def values_of(statement: Statement, role: str) -> tuple[int, ...]:
    """The integers of the statement's one input or output."""
    (tensor,) = getattr(statement.predicate, role)
    assert isinstance(tensor, TensorValue)
    assert not isinstance(tensor.value, str)
    return tuple(tensor.value)


def _with_values(statement: Statement, role: str, values: Sequence[int]) -> Statement:
    (tensor,) = getattr(statement.predicate, role)
    return _with(statement, **{role: [tensor.model_copy(update={"value": list(values)})]})


def _with(statement: Statement, **changes: Any) -> Statement:
    """The same bytes, and so the same digest and challenge, with another content: what no parser would give."""
    return Statement(statement.raw, statement.predicate.model_copy(update=changes))


def _pair(bundle: Bundle, case: str, statement: Statement) -> Honest:
    evidence = _receipt(case).evidence[EZKL_KIND]
    assert isinstance(evidence, Proof)
    manifest, limbs = bundle.manifest, challenge(statement.predicate.nonce, statement.digest)
    (input_,), (output,) = manifest.tensors("input"), manifest.tensors("output")
    values = {
        input_.name: values_of(statement, "input"),
        output.name: values_of(statement, "output"),
    }
    return Honest(
        manifest.model.name,
        evidence.data,
        elements(build_instances(manifest.layout, values, limbs)),
        statement,
        slice(input_.size, input_.size + len(limbs)),
    )


def _receipt(case: str) -> Receipt:
    return parse_receipt((VECTORS / "cases" / case / "receipt.json").read_bytes())
