"""The circuits' only importer of EZKL; every function runs inside a limited child and takes paths and plain JSON.

EZKL's return values are not believed: the caller reads the files again.
Every argument is given by name, since EZKL's defaults are file names in the working directory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ezkl

from verinfer.verifier.errors import CouldNotCheck, UsageError


def gen_settings(*, model: str, output: str, run_args: dict[str, Any]) -> bool:
    """ONNX to settings, for these run args."""
    return bool(ezkl.gen_settings(model=model, output=output, py_run_args=_run_args(run_args)))


def count_rows(
    *, model: str, directory: str, candidates: list[dict[str, Any]]
) -> list[dict[str, Any] | None]:
    """The settings of each candidate, or None where EZKL refuses it; rows need no keys, so this is cheap."""
    path = Path(directory) / "candidate.json"
    found: list[dict[str, Any] | None] = []
    for candidate in candidates:
        try:
            ezkl.gen_settings(model=model, output=str(path), py_run_args=_run_args(candidate))
            found.append(json.loads(path.read_text()))
        except RuntimeError:
            found.append(None)
    return found


def compile_circuit(*, model: str, compiled: str, settings: str) -> bool:
    """ONNX and settings to a compiled circuit."""
    return bool(ezkl.compile_circuit(model=model, compiled_circuit=compiled, settings_path=settings))


def gen_srs(*, path: str, logrows: int) -> None:
    """A local SRS, whose maker can forge proofs."""
    ezkl.gen_srs(srs_path=path, logrows=logrows)


def setup(*, compiled: str, vk: str, pk: str, srs: str, uncompressed: bool = False) -> bool:
    """Compiled circuit and SRS to vk and pk; `uncompressed` gives each selector its column (see `columns`)."""
    return bool(
        ezkl.setup(  # type: ignore[call-arg]  # the stubs show no defaults
            model=compiled,
            vk_path=vk,
            pk_path=pk,
            srs_path=srs,
            disable_selector_compression=uncompressed,
        )
    )


def gen_witness(
    *, data: str, compiled: str, witness: str, tables: Sequence[int]
) -> dict[str, list[list[str]]]:
    """Forward pass of one input; writes the witness and gives field elements in hex.

    ``outputs``: by tensor; ``hashes``: one of each input where inputs are hashed.

    `tables`: the least and largest number that lookup tables hold. A number outside gives a witness all the same, and a
    prover that hangs: one of its threads logs that, and waits for ever for the interpreter that waits for it.
    Raises `UsageError` (``value-out-of-range``), `CouldNotCheck` (``artifact-torn``).
    """
    try:
        ezkl.gen_witness(data=data, model=compiled, output=witness)  # type: ignore[call-arg]  # the stubs show no defaults
    except RuntimeError as error:
        # EZKL has one text for all of it; with files and inputs written by us, this is what remains.
        raise UsageError(
            "value-out-of-range", "A value inside the network leaves the circuit's range."
        ) from error
    try:
        made = json.loads(Path(witness).read_text())
        processed = made["processed_inputs"] or {}
        found = {"outputs": made["outputs"], "hashes": processed.get("poseidon_hash") or []}
    except ValueError as error:
        # EZKL does not notice a full disk.
        raise CouldNotCheck("artifact-torn", "The witness was not written whole.") from error
    if not tables[0] <= made["min_lookup_inputs"] <= made["max_lookup_inputs"] <= tables[1]:
        raise UsageError("value-out-of-range", "A value inside the network leaves the circuit's tables.")
    return found


def forward_many(
    *, model: str, run_args: dict[str, Any], inputs: str, directory: str
) -> list[list[list[str]]] | None:
    """Forward passes of many inputs (a JSON file with a list of EZKL inputs); None as soon as one is out of range.

    Raises RuntimeError where the circuit cannot be made.
    """
    home = Path(directory)
    settings, compiled, data, witness = (
        str(home / f"trial.{name}") for name in ("settings", "compiled", "data", "witness")
    )
    results: list[list[list[str]]] = []
    tables = run_args["lookup_range"]
    ezkl.gen_settings(model=model, output=settings, py_run_args=_run_args(run_args))
    ezkl.compile_circuit(model=model, compiled_circuit=compiled, settings_path=settings)
    try:
        for item in json.loads(Path(inputs).read_text()):
            Path(data).write_text(json.dumps({"input_data": item}))
            made = gen_witness(data=data, compiled=compiled, witness=witness, tables=tables)
            results.append(made["outputs"])
    except UsageError:
        return None
    return results


def prove(
    *, witness: str, compiled: str, pk: str, proof: str, srs: str, challenge: list[str] | None = None
) -> dict[str, Any]:
    """Witness to proof; gives what the bare call cost: seconds and the peak memory of this process in bytes.

    `challenge`: field elements in hex for the last input, which the forward pass had as zeros. Nothing consumes that input, so
    no other number of the witness depends on it; if something did, the proof would not verify.
    """
    if challenge is not None:
        path = Path(witness)
        made = json.loads(path.read_text())
        made["inputs"][-1] = challenge
        # Numbers for people, which would still show the zeros.
        made["pretty_elements"] = None
        path.write_text(json.dumps(made))
    started = time.perf_counter()
    ezkl.prove(witness=witness, model=compiled, pk_path=pk, proof_path=proof, srs_path=srs)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """The largest resident set of this program so far; ``ru_maxrss`` also counts what the process was before exec."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def verify(*, proof: str, settings: str, vk: str, srs: str) -> bool:
    """EZKL's verdict on files as they lie in a package; only the self-test of a compilation asks it here."""
    return (
        ezkl.verify(proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs, reduced_srs=False)
        is True
    )


def _run_args(values: dict[str, Any]) -> ezkl.PyRunArgs:
    args = ezkl.PyRunArgs()
    for name, value in values.items():
        setattr(args, name, tuple(value) if name == "lookup_range" else value)
    return args
