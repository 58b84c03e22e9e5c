"""Counts verdicts by kind of change, and finds those that differ without a known reason.

What counts is that verinfer's verifier and the contracts agree; EZKL's own verdict is there to show which rule refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .questions import Case
from .verdicts import Verifiers

LONGER = "words after the proof"

REASONS = {
    LONGER: "EZKL and the reusable verifier do not look at what follows a proof. verinfer's verifier and the consumer compare "
    "the length with the circuit's, and the single verifier knows it.",
}
"""Why verdicts may differ; in every other case it is an error."""


@dataclass
class Tally:
    """Verdicts so far."""

    counts: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, Counter[str]] = field(default_factory=dict)
    """By kind of change, how many each verifier accepted."""
    known: dict[str, Counter[str]] = field(default_factory=dict)
    """By reason, how many cases, by who differs."""
    wrong: list[dict[str, Any]] = field(default_factory=list)
    """Cases that differ without a reason, and changed ones that all accept."""

    @property
    def changed(self) -> int:
        """How many changed cases there were."""
        return sum(count for kind, count in self.counts.items() if kind != "honest")

    def add(self, case: Case, verdicts: Mapping[str, bool]) -> None:
        """Count a case."""
        self.counts[case.kind] += 1
        self.accepted.setdefault(case.kind, Counter()).update(
            {who: int(verdict) for who, verdict in verdicts.items()}
        )
        # Verinfer's verdict must be that of the honest world, too: agreeing on a lie would be no comfort.
        wanted = case.honest
        differ = [who for who, verdict in verdicts.items() if verdict != wanted]
        if not differ:
            return
        reason = explained(case, differ)
        if reason is None:
            self.wrong.append(_shown(case, verdicts))
        else:
            self.known.setdefault(reason, Counter()).update(differ)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "honest": self.counts["honest"],
            "changed": self.changed,
            "disagreements": len(self.wrong),
            "kinds": {
                kind: {"cases": count, "accepted": dict(self.accepted[kind])}
                for kind, count in self.counts.items()
            },
            "known_differences": {
                reason: {"why": REASONS[reason], "accepted": dict(who)} for reason, who in self.known.items()
            },
            "wrong": self.wrong,
        }


def explained(case: Case, differ: Iterable[str]) -> str | None:
    """The reason for which these verifiers accept a changed case, or None."""
    base = case.base
    longer = len(case.proof) > len(base.proof) and case.proof.startswith(base.proof)
    if longer and case.instances == base.instances and set(differ) <= {"ezkl", "reusable"}:
        return LONGER
    return None


def compare(cases: Iterable[Case], verifiers: Verifiers, tally: Tally) -> Iterator[Case]:
    """Ask all verifiers about each case and count; yields each case when it is done."""
    for case in cases:
        tally.add(case, verifiers.verdicts(case))
        yield case


def _shown(case: Case, verdicts: Mapping[str, bool]) -> dict[str, Any]:
    """A case to look at again."""
    return {
        "kind": case.kind,
        "circuit": case.base.circuit,
        "verdicts": dict(verdicts),
        "proof": case.proof.hex(),
        "instances": [hex(value) for value in case.instances],
    }
