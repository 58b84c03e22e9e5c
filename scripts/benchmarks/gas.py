"""``scripts/gas``: what circuits cost on chain, measured, beside what `verinfer.circuits.gas` foresees from their settings.

Those of a committed tabular network in many shapes, one thing changed at a time, say what dominates the gas and what a search
may win. Others have Freivalds' argument, and toys of a few layers many columns or lookups.
The prices of `verinfer.circuits.gas` are solved for over all of them, and printed for whoever changes them.
No proof is made: as in `verinfer contract build`, the contract reads one of the right shape, of which all inputs are zero.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from verinfer.circuits import gas, stages
from verinfer.circuits.candidates import Candidate
from verinfer.circuits.columns import Columns, count_columns
from verinfer.circuits.fit import TOYS, Toy
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.offers import rule_names
from verinfer.circuits.srs import choose as choose_srs
from verinfer.verifier import child, files
from verinfer.verifier.digest import CHALLENGE_LIMBS
from verinfer.verifier.evm import build, price, solc
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.calldata import Layout
from verinfer.verifier.evm.descriptor import CONSUMER, compile_own
from verinfer.verifier.evm.harden import Form, contract_name

from . import environment

RESULTS = Path(__file__).parent / "results"
ZOO = Path(__file__).parents[2] / "models" / "zoo"
VERSION = "23.0.5"
TABULAR = "breast_cancer"
"""30 inputs, 16 limbs of the challenge, 2 outputs."""

_HEAD = """# Gas and bytes of circuits, measured and foreseen

Prague gas of a transaction that verifies one proof; in brackets by how much `circuits/gas.py` is off. ✗: over 24,576 bytes.
By `scripts/gas`; the first fifteen are the network of breast_cancer, changed in one thing at a time.

"""

_ONE = Candidate(scale=8, rebase=2, base=128, legs=3, columns=1, logrows=11)
"""One inner column, one block."""


_COUNTED = (
    "total_assignments",
    "module_sizes",
    "required_range_checks",
    "required_lookups",
    "model_instance_shapes",
    "einsum_params",
)
_COUNTED_ARGS = ("logrows", "num_inner_cols", "lookup_range", "disable_freivalds")
"""What `count_columns` reads of settings."""


@dataclass(frozen=True, slots=True)
class Case:
    """A circuit to measure: of a committed network by run args, or a toy."""

    name: str
    candidate: Candidate = _ONE
    model: str = TABULAR
    uncompressed: bool = False
    toy: Toy | None = None


TABULAR_CASES = (
    Case("as the search for speed makes it", replace(_ONE, logrows=8)),
    Case("one block, one inner column"),
    Case("k + 1", replace(_ONE, logrows=12)),
    Case("k - 1, two blocks", replace(_ONE, logrows=10)),
    Case("k - 2, four blocks", replace(_ONE, logrows=9)),
    Case("two inner columns, one block", replace(_ONE, columns=2, logrows=10)),
    Case("base 16, five legs", replace(_ONE, base=16, legs=5, logrows=12)),
    Case("base 256, two legs", replace(_ONE, base=256, legs=2, scale=6)),
    Case("base 4096, two legs", replace(_ONE, base=4096, legs=2, logrows=13)),
    Case("scale 12", replace(_ONE, scale=12)),
    Case("rebase multiplier 1", replace(_ONE, rebase=1, logrows=12)),
    Case("rebase multiplier 3", replace(_ONE, rebase=3)),
    Case("a column for each selector", uncompressed=True),
    Case("hashed inputs", replace(_ONE, inputs="hashed", logrows=12)),
    Case("private inputs", replace(_ONE, inputs="private", logrows=12)),
)
_PRODUCTS = replace(_ONE, logrows=14)
CASES = (
    *TABULAR_CASES,
    Case("digits with Freivalds' argument", _PRODUCTS, "digits"),
    Case("digits without", replace(_PRODUCTS, freivalds=False), "digits"),
    *(
        Case(f"toy {toy.steps}, {toy.columns} inner, k = {toy.logrows}", toy=toy)
        for toy in TOYS
        # Circuits with Freivalds' argument depend on a rounding of settings that toys do not have.
        if "m" not in toy.steps
    ),
)


@dataclass(frozen=True, slots=True)
class Circuit:
    """What a contract is generated from, and how many instances are inputs."""

    settings: dict[str, Any]
    files: dict[str, str]
    inputs: int


def run(cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Measure each case: settings, bytes of a single verifier, gas of both forms; raises what a stage of a build raises."""
    consumer = compile_own()[CONSUMER]
    reusable: solc.Compiled | None = None
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="verinfer-gas-") as name:
            place = Workplace(directory=Path(name), limits=heavy_limits())
            circuit = _toy(case.toy, place) if case.toy else _network(case, place)
            columns = count_columns(circuit.settings, uncompressed=case.uncompressed)
            single = _compile(circuit, "single", place)
            reusable = reusable or _compile(circuit, "reusable", place)
            text = _ask(circuit, "evm_vka", {}, place)
            vka = tuple(bytes.fromhex(text[start : start + 64]) for start in range(0, len(text), 64))
            words = _proof_words(circuit, place)
            shape = Layout(
                inputs=circuit.inputs,
                outputs=columns.instances - circuit.inputs - CHALLENGE_LIMBS,
                proof_bytes=32 * words,
                output_scale=0,
            )
            contracts = (Contract("single", "", single, ()), Contract("reusable", "", reusable, vka))
            found = {each.form: price.measure_shape(each, shape, consumer).verify for each in contracts}
            args = circuit.settings["run_args"]
            yield {
                "case": case.name,
                "uncompressed": case.uncompressed,
                "settings": {
                    **{name: circuit.settings[name] for name in _COUNTED},
                    "run_args": {name: args[name] for name in _COUNTED_ARGS},
                },
                "contract_bytes": len(single.runtime),
                "proof_words": words,
                "verify_gas": found,
            }


def solve(columns: Sequence[Columns], totals: Sequence[int], known: Callable[[Columns], int]) -> gas.Prices:
    """The prices with the least squares of relative errors of `totals`, of which `known` is a part."""
    counted = np.array([gas.counts(each) for each in columns], dtype=float)
    wanted = np.array([total - known(each) for each, total in zip(columns, totals, strict=True)])
    scale = np.array(totals, dtype=float)
    found = np.linalg.lstsq(counted / scale[:, None], wanted / scale)[0]
    return gas.Prices(*(round(float(value), 1) for value in found))


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table, with what is foreseen as an error in percent."""
    lines = [
        "| circuit | k | blocks | commitments | bytes | verify, single | verify, reusable | proof bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        columns = _columns(row)
        size = _cell(row["contract_bytes"], gas.contract_bytes(columns))
        mark = "" if row["contract_bytes"] <= build.CODE_LIMIT else " ✗"
        forms = [_cell(used, gas.verify_gas(columns, form)) for form, used in row["verify_gas"].items()]
        lines.append(
            f"| {row['case']} | {columns.logrows} | {columns.blocks} | {columns.commitments} | {size}{mark} "
            f"| {' | '.join(forms)} | {_cell(32 * row['proof_words'], 32 * columns.proof_words)} |"
        )
    return "\n".join(lines)


def _cell(measured: int, foreseen: int) -> str:
    return f"{measured:,} ({foreseen / measured - 1:+.1%})"


def _columns(row: Mapping[str, Any]) -> Columns:
    return count_columns(row["settings"], uncompressed=row["uncompressed"])


def _network(case: Case, place: Workplace) -> Circuit:
    """A committed network, wrapped and set up with the case's run args, as a compilation does it."""
    candidate, home = case.candidate, place.directory
    wrapped = home / "wrapped.onnx"
    # Of a convolution they make the product that Freivalds' argument is for; the tabular network is too small for any.
    rules = [{"name": name} for name in rule_names(place)] if case.model != TABULAR else []
    stages.rewrite_and_wrap(ZOO / case.model / "network.onnx", rules, 0, wrapped, place, candidate.inputs)
    circuit = stages.make_circuit(wrapped, candidate.run_args(), home, place)
    srs = choose_srs(candidate.logrows, given=None, insecure=True)
    vk, _ = stages.make_keys(circuit, srs, home, place, uncompressed=case.uncompressed)
    cut = home / "cut.srs"
    files.write_scratch(cut, srs.cut)
    shown = math.prod(circuit.description["model_instance_shapes"][0])
    # A consumer takes no circuit without inputs; for gas it is all the same which instances are called so.
    inputs = {"public": shown, "hashed": 2, "private": 1}[candidate.inputs]
    return Circuit(
        circuit.description, {"settings": str(circuit.settings), "vk": str(vk), "srs": str(cut)}, inputs
    )


def _toy(toy: Toy, place: Workplace) -> Circuit:
    home = str(place.directory)
    candidate = Candidate(scale=6, rebase=2, base=256, legs=2, columns=toy.columns, logrows=toy.logrows)
    run_args = {**candidate.run_args(), "lookup_range": [-128, 128]}
    given = {"home": home, "steps": toy.steps, "shape": list(toy.shape), "run_args": run_args}
    settings = _run("verinfer.circuits._meter", "prepare", given, place)
    paths = {name: f"{home}/{name}" for name in ("settings", "vk", "srs")}
    place.ezkl("setup", compiled=f"{home}/compiled", pk=f"{home}/pk", vk=paths["vk"], srs=paths["srs"])
    return Circuit(settings, paths, math.prod(toy.shape))


def _compile(circuit: Circuit, form: Form, place: Workplace) -> solc.Compiled:
    source, name = _ask(circuit, "evm_verifier", {"form": form}, place), contract_name(form)
    return solc.compile_sources({"Verifier.sol": source}, {"Verifier.sol": name}, runs=build.RUNS)[name]


def _proof_words(circuit: Circuit, place: Workplace) -> int:
    """As the contract itself requires it."""
    source = _ask(circuit, "evm_verifier", {"form": "single"}, place)
    return int(source.partition(", proof.length)")[0].rpartition("eq(")[2], 16) // 32


def _ask(circuit: Circuit, function: str, arguments: Mapping[str, Any], place: Workplace) -> str:
    given = {**circuit.files, "version": VERSION, **arguments}
    return str(_run("verinfer.verifier._ezkl", function, given, place))


def _run(module: str, function: str, arguments: Mapping[str, Any], place: Workplace) -> Any:
    return child.run(module, function, dict(arguments), limits=place.limits, directory=place.directory)


@click.command()
@click.option("--tabular", is_flag=True, help="Only the circuits of the tabular network; writes no results.")
@click.option(
    "--again", is_flag=True, help="Measure nothing: prices and table from the results that are there."
)
def main(*, tabular: bool, again: bool) -> None:
    """Measure, compare, and write results/gas.json and gas.md."""
    path = RESULTS / "gas.json"
    results: dict[str, Any] = {"machine": environment.describe(), "cases": []}
    if again:
        results = json.loads(path.read_text())
    rows: list[dict[str, Any]] = results["cases"]
    for row in () if again else run(TABULAR_CASES if tabular else CASES):
        rows.append(row)
        click.echo(as_markdown([row]).splitlines()[-1], err=True)
    click.echo(as_markdown(rows))
    columns = [_columns(row) for row in rows]
    for form in gas.PRICES:
        click.echo(f"{form}: {solve(columns, [row['verify_gas'][form] for row in rows], gas.known_gas)}")
    click.echo(f"bytes: {solve(columns, [row['contract_bytes'] for row in rows], gas.known_bytes)}")
    if not tabular:
        files.write_atomically(path, json.dumps(results, indent=1).encode() + b"\n")
        files.write_atomically(RESULTS / "gas.md", f"{_HEAD}{as_markdown(rows)}\n".encode())


if __name__ == "__main__":
    main()
