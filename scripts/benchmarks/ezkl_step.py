"""The inside of a measured child: one bare call of EZKL, its seconds, and the most memory that the process ever held.

Run as ``python -P ezkl_step.py REQUEST``, a JSON object with `function`, `arguments`, `answer` (a path), `limits` and `parent`.
Stock EZKL and verinfer are measured by the same calls; whatever is not named here has EZKL's default.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verinfer.verifier.jail import Limits, confine


def gen_settings(*, model: str, settings: str) -> None:
    """ONNX to settings, with EZKL's default run args."""
    _ezkl().gen_settings(model=model, output=settings)


def calibrate(*, model: str, settings: str, data: str) -> None:
    """Settings to better settings, as EZKL's documentation recommends for cheap circuits."""
    _ezkl().calibrate_settings(data=data, model=model, settings=settings, target="resources")


def compile_circuit(*, model: str, settings: str, compiled: str) -> None:
    """ONNX and settings to a compiled circuit."""
    _ezkl().compile_circuit(model=model, compiled_circuit=compiled, settings_path=settings)


def setup(*, compiled: str, vk: str, pk: str, srs: str, uncompressed: bool) -> None:
    """Compiled circuit and SRS to keys."""
    _ezkl().setup(
        model=compiled, vk_path=vk, pk_path=pk, srs_path=srs, disable_selector_compression=uncompressed
    )


def gen_witness(*, data: str, compiled: str, witness: str) -> None:
    """One forward pass."""
    _ezkl().gen_witness(data=data, model=compiled, output=witness)


def prove(*, witness: str, compiled: str, pk: str, proof: str, srs: str) -> None:
    """Witness to proof."""
    _ezkl().prove(witness=witness, model=compiled, pk_path=pk, proof_path=proof, srs_path=srs)


def verify(*, proof: str, settings: str, vk: str, srs: str) -> None:
    """EZKL's verdict; raises unless it is True."""
    if _ezkl().verify(proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs) is not True:
        raise ValueError("the proof does not verify")


def forward(*, compiled: str, inputs: str, results: str) -> None:
    """Forward passes of many inputs, one JSON line each as soon as it is there, so that a time limit loses only the rest.

    `inputs` is a JSON list of EZKL's ``input_data``. A line has the first output's field elements and the extremes that went
    into lookups, or nothing where EZKL refuses the sample.
    """
    data, witness = f"{results}.data", f"{results}.witness"
    with Path(results).open("w", encoding="ascii") as lines:
        for item in json.loads(Path(inputs).read_text()):
            Path(data).write_text(json.dumps({"input_data": item}))
            try:
                gen_witness(data=data, compiled=compiled, witness=witness)
                found = json.loads(Path(witness).read_text())
                line = {
                    "outputs": found["outputs"][0],
                    "lookups": [int(found["min_lookup_inputs"]), int(found["max_lookup_inputs"])],
                }
            except BaseException:  # noqa: BLE001 - a Rust panic is one, and refuses the sample as well
                line = {}
            lines.write(json.dumps(line) + "\n")
            lines.flush()


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step
    for step in (gen_settings, calibrate, compile_circuit, setup, gen_witness, prove, verify, forward)
}


def peak_bytes() -> int:
    """The most memory this process held; getrusage would count its parent's, from before the program was started."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not say VmHWM")


def main() -> None:
    """Confine, call, answer, and leave without exit handlers."""
    request = json.loads(sys.argv[1])
    confine(Limits(**request["limits"]), parent=request["parent"])
    _ezkl()  # what importing costs is no part of any step
    try:
        started = time.perf_counter()
        STEPS[request["function"]](**request["arguments"])
        seconds = time.perf_counter() - started
        answer: dict[str, Any] = {"seconds": seconds, "peak_bytes": peak_bytes()}
    except BaseException as error:  # noqa: BLE001 - a Rust panic is one, and the parent must hear of it
        answer = {"failed": f"{type(error).__name__}: {error}"[:500]}
    Path(request["answer"]).write_text(json.dumps(answer))
    os._exit(0)


def _ezkl() -> Any:
    import ezkl

    return ezkl


if __name__ == "__main__":
    main()
