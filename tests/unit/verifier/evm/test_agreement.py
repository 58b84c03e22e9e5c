"""The Python verifier and both forms of the contract give the same verdict; `scripts/agreement` asks thousands of questions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from verinfer.verifier.bundle import Bundle
from verinfer.verifier.digest import sha256
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.descriptor import own_sources
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.instances import BN254_SCALAR_FIELD

from ....agreement.changes import KINDS
from ....agreement.compare import LONGER, Tally, compare, explained
from ....agreement.mutations import cases
from ....agreement.pairs import read_pairs, statement_of, values_of
from ....agreement.questions import Case, Honest, points
from ....agreement.verdicts import Verifiers

SEED = 20261125
RESULTS = Path(__file__).parents[4] / "scripts" / "benchmarks" / "results"


@pytest.fixture(scope="module")
def pairs(bundles: dict[str, Bundle]) -> list[Honest]:
    """All proofs of the committed vectors with what they are of."""
    return read_pairs(bundles)


@pytest.fixture(scope="module")
def bmi(
    bundles: dict[str, Bundle], verifiers: dict[Form, Contract], pairs: list[Honest]
) -> Iterator[Verifiers]:
    """The verifiers of one circuit."""
    found = Verifiers(bundles, {"bmi": verifiers}, pairs)
    yield found
    found.close()


def test_python_and_both_contracts_agree(bmi: Verifiers, pairs: list[Honest]) -> None:
    """Of honest pairs and a change of each kind, each accepts the honest ones only, or there is a reason that is written down."""
    tally, own = Tally(), [pair for pair in pairs if pair.circuit == "bmi"]
    foreign = [pair for pair in pairs if pair.circuit != "bmi"]
    asked = list(compare(cases(own, len(KINDS) + 20, SEED, foreign=foreign), bmi, tally))
    assert tally.wrong == []
    assert tally.changed == len(KINDS) + 20
    assert {case.kind for case in asked} == {"honest", *KINDS}
    assert tally.accepted["honest"] == dict.fromkeys(("python", "ezkl", "single", "reusable"), len(own))
    # The one known difference is there, and it is not verinfer's.
    assert set(tally.known) == {LONGER}
    assert set(tally.known[LONGER]) == {"ezkl", "reusable"}


def test_a_disagreement_is_found(pairs: list[Honest]) -> None:
    """Whoever accepts a change, or refuses what is honest, is reported: the comparison is no formality."""
    pair = pairs[0]
    lie = Case("lie", pair, pair.proof, (pair.instances[0] + 1, *pair.instances[1:]))
    longer = Case("longer", pair, pair.proof + bytes(32), pair.instances)
    for who in ("python", "ezkl", "single", "reusable"):
        tally = Tally()
        tally.add(lie, {"python": False, "single": False, who: True})
        tally.add(Case("honest", pair, pair.proof, pair.instances), {"python": True, who: False})
        assert [found["kind"] for found in tally.wrong] == ["lie", "honest"]
    assert explained(longer, ["ezkl", "reusable"]) == LONGER
    assert explained(longer, ["python"]) is None
    assert explained(longer, ["single"]) is None


def test_the_questions_are_the_same_each_time(pairs: list[Honest]) -> None:
    """A seed fixes them, so that a result can be had again; no question comes twice, and none is the honest pair."""
    first, second = (list(cases(pairs, 300, SEED)) for _ in range(2))
    assert first == second
    assert first != list(cases(pairs, 300, SEED + 1))
    assert len({(case.base.circuit, case.proof, case.instances) for case in first}) == len(first)
    assert [case.honest for case in first] == [True] * len(pairs) + [False] * 300


def test_a_statement_says_a_vector_exactly_or_not_at_all(pairs: list[Honest]) -> None:
    """What the Python verifier is asked is the very vector that the contracts get; what no statement can say is not asked."""
    pair, *_ = pairs
    assert statement_of(pair.instances, [pair]) is not None
    changed = (BN254_SCALAR_FIELD - 5, *pair.instances[1:])
    said = statement_of(changed, [pair])
    assert said is not None
    assert said.digest == pair.statement.digest
    assert values_of(said, "input")[0] == -5
    for vector in (
        pair.instances[:-1],
        (*pair.instances, 0),
        (pair.instances[0] + BN254_SCALAR_FIELD, *pair.instances[1:]),
        (*pair.instances[:3], pair.instances[3] ^ 1, *pair.instances[4:]),
    ):
        assert statement_of(vector, [pair]) is None


def test_the_committed_results_are_of_these_contracts(verifiers: dict[Form, Contract]) -> None:
    """What `scripts/agreement` and `scripts/slither` found nothing in is the code that is built here, and these sources."""
    agreement, slither = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("agreement", "slither")
    )
    assert agreement["changed"] >= 5000
    assert agreement["disagreements"] == 0
    assert set(agreement["known_differences"]) == {LONGER}
    hashes = {form: contract.code_hash for form, contract in verifiers.items()}
    assert agreement["circuits"]["bmi"]["code_hashes"] == hashes
    assert slither["high_or_medium"] == 0
    assert slither["sources"] == {name: sha256(text.encode()) for name, text in own_sources().items()}


def test_points_are_found(pairs: list[Honest]) -> None:
    """Changes of points fall on points: the commitments at the proof's beginning, and the two at its end."""
    words = pairs[0].words
    found = points(words)
    assert found[0] == 0
    assert found[-2:] == [len(words) - 4, len(words) - 2]
    assert replace(pairs[0], proof=b"").words == []
