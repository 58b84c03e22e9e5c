"""The suite ``sumcheck``: what a proof by our own system costs, beside EZKL's, and how its cost grows with the network.

For each model, in one run, on the same ONNX file and samples: stock EZKL's circuit, verinfer's, and the integer network.
EZKL's proofs are each in a fresh process, as in the suite ``compiler``; ours are many in one process, as a service makes them,
after the kernels were loaded; then as many processes as there are cores, with one thread each, for how many come in a second.
The series has networks of random weights, which nothing was ever trained for; their cost is that of any weights.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from verinfer.circuits.compile import compile_model
from verinfer.circuits.model import Model, read_model
from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.circuits.prove import read_proof
from verinfer.circuits.sumcheck.choose import Chosen, import_network
from verinfer.circuits.sumcheck.description import Description, Integers, Weights
from verinfer.circuits.systems.port import DEFAULT_TARGETS
from verinfer.service.demo import serving
from verinfer.verifier.errors import CouldNotCheck, VerinferError

from . import compiler, grown, receipt
from .contestants import CONTESTANTS
from .measure import Samples
from .sumcheck_step import WARM_UP

ZOO = Path(__file__).parents[2] / "models" / "zoo"
CASES = ("bmi", "breast_cancer", "digits", "lenet")

PROOFS, CHECKS = 60, 15
QUESTIONS, CLIENTS = 60, 4
EZKL_PROOFS = 2
"""How often each network is proven and checked, and how often a service is asked: by one client, and by so many at once."""

LARGE_PROOFS, LARGE_CHECKS = 5, 5
"""Of the networks in the series."""

_STEP_SECONDS = 1800.0
_PROGRAM = Path(__file__).with_name("sumcheck_step.py")

Say = Callable[[str], None]


def run(
    names: Sequence[str], where: Mapping[str, str], say: Say, earlier: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Measure these cases and networks of the series; gives both after each, with the `earlier` ones."""
    cases = dict(earlier)
    for name in names:
        measure = _grown if name in grown.SERIES else _case
        with tempfile.TemporaryDirectory(prefix="verinfer-bench-") as directory:
            try:
                cases[name] = {**where, **measure(name, Path(directory), say)}
            except VerinferError as error:
                say(f"{name}: {error.message}")
                cases[name] = {**where, "failed": error.message}
        yield {each: cases[each] for each in (*CASES, *grown.SERIES) if each in cases}


def _case(name: str, home: Path, say: Say) -> dict[str, Any]:
    place = Workplace(directory=home, limits=PARSE_LIMITS)
    model = read_model(ZOO / name, place)
    say(f"{name}: importing")
    started = time.perf_counter()
    chosen = import_network(model.onnx, model.reference, DEFAULT_TARGETS, place)
    seconds = time.perf_counter() - started
    made = chosen.quantised
    say(f"{name}: proving")
    (spec,) = model.spec.inputs
    inputs = made.admit(np.asarray(model.samples[spec.name][:16], np.float64))
    own = {
        "import": Samples("s", (seconds,)).to_json(),
        **measure_network(made.description, made.weights, inputs, home, PROOFS, CHECKS),
        "bits": chosen.trial.offer.bits,
        "agreement": _agreement(chosen),
        "per_second": _per_second(home),
        "service": _service(name, home, say),
    }
    sides = {side: _ezkl(side, model, home / side, say) for side in CONTESTANTS}
    return {
        "onnx_sha256": model.spec.onnx,
        "task": model.spec.task,
        "sumcheck": own,
        **sides,
        **{
            f"{what}_over_sumcheck": {
                side: figures[what]["median"] / own[what]["median"] for side, figures in sides.items()
            }
            for what in ("prove", "prove_peak")
        },
    }


def _grown(name: str, home: Path, say: Say) -> dict[str, Any]:
    say(f"{name}: proving")
    description, weights = grown.SERIES[name]()
    inputs = np.random.default_rng(1).integers(0, 1 << grown.BITS, (4, *description["in_dims"]))
    return {
        "sumcheck": measure_network(description, weights, inputs, home, LARGE_PROOFS, LARGE_CHECKS),
    }


def measure_network(
    description: Description, weights: Weights, inputs: Integers, home: Path, proofs: int, checks: int
) -> dict[str, Any]:
    """The figures of an integer network, which stays in `home`."""
    (home / "description.json").write_text(json.dumps(description))
    np.savez(home / "weights.npz", allow_pickle=False, **weights)
    np.save(home / "inputs.npy", inputs)
    (answer,) = _steps(home, proofs, checks, processes=1)
    return {
        "weights": int(sum(value.size for value in weights.values())),
        "multiplications": grown.multiplications(description),
        "setup": Samples("s", tuple(answer["setup"])).to_json(),
        "prove": Samples("s", tuple(answer["prove"])).to_json(),
        "prove_peak": Samples("B", (answer["peak_bytes"],)).to_json(),
        "check": Samples("s", tuple(answer["check"])).to_json(),
        "proof_bytes": answer["proof_bytes"],
        "key_prove": Samples("s", (answer["key_prove"],)).to_json(),
        "key_check": Samples("s", (answer["key_check"],)).to_json(),
        "key_bytes": answer["key_bytes"],
    }


def _agreement(chosen: Chosen) -> dict[str, Any]:
    trial = chosen.trial
    return {
        part: {"samples": found.samples, "share": found.agreement, "error": found.error}
        for part, found in (("fitted", trial.fitted), ("held_out", trial.held_out))
    }


def _per_second(home: Path) -> dict[str, Any]:
    """Proofs per second of one process for each core, by the median of each."""
    cores = len(os.sched_getaffinity(0))
    answers = _steps(home, PROOFS, 0, processes=cores, VERINFER_SUMCHECK_THREADS="1")
    prove = [Samples("s", tuple(answer["prove"])) for answer in answers]
    return {
        "processes": cores,
        "rate": sum(1 / each.median for each in prove),
        "prove": [each.to_json() for each in prove],
    }


def _service(name: str, home: Path, say: Say) -> dict[str, Any]:
    """Seconds from a question to its receipt in mode ``proof``, one after the other; then receipts per second by many clients."""
    say(f"{name}: compiling a package, and asking a service")
    state = home / "state"
    state.mkdir()
    package = compile_model(
        ZOO / name,
        home / "package",
        srs=None,
        insecure_srs=False,
        system="sumcheck",
        on_progress=lambda _phase, _share: None,
    )
    answers: list[receipt.Answer] = []
    with serving(package.folder, state) as url, httpx.Client(base_url=url, timeout=60.0) as http:
        ask = receipt.asker(http, package, answers, "proof")
        for _ in range(WARM_UP):
            ask()
        alone = Samples("s", tuple(ask() for _ in range(QUESTIONS)))
        started = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for each in [pool.submit(ask) for _ in range(QUESTIONS)]:
                each.result()
        seconds = time.perf_counter() - started
    return {"answer": alone.to_json(), "clients": CLIENTS, "rate": QUESTIONS / seconds}


def _steps(
    home: Path, proofs: int, checks: int, *, processes: int, **environment: str
) -> list[dict[str, Any]]:
    answers = [home / f"answer.{number}" for number in range(processes)]
    started = []
    for answer in answers:
        answer.unlink(missing_ok=True)
        request = {"folder": str(home), "answer": str(answer), "proofs": proofs, "checks": checks}
        command = [sys.executable, "-P", str(_PROGRAM), json.dumps(request)]
        with (home / f"{answer.name}.log").open("wb") as log:
            started.append(
                subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
            )
    try:
        for process in started:
            process.wait(timeout=_STEP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CouldNotCheck("child-out-of-time", f"Proving took more than {_STEP_SECONDS:.0f} s.") from error
    finally:
        for process in started:
            process.kill()
            process.wait()
    for answer in answers:
        if not answer.exists():
            why = (home / f"{answer.name}.log").read_text().strip().splitlines()[-1:]
            raise CouldNotCheck("child-no-answer", f"Proving failed: {''.join(why)}")
    return [json.loads(answer.read_text()) for answer in answers]


def _ezkl(side: str, model: Model, home: Path, say: Say) -> dict[str, Any]:
    say(f"{model.spec.name}: compiling and setting up, {side}")
    contestant = CONTESTANTS[side](model, home)
    compiler.make_keys(contestant)
    say(f"{model.spec.name}: proving, {side}")
    rounds = [compiler.prove_once(contestant) for _ in range(1 + EZKL_PROOFS)][1:]
    return {
        "logrows": contestant.description["run_args"]["logrows"],
        **{
            step: Samples("s", tuple(costs[step].seconds for costs in rounds)).to_json()
            for step in ("prove", "verify")
        },
        "prove_peak": Samples("B", tuple(costs["prove"].peak_bytes for costs in rounds)).to_json(),
        "proof_bytes": len(read_proof(home / "proof.json")),
    }
