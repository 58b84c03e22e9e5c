"""Small circuits to fit the cost model on, and what EZKL's calls take on them; runs inside a limited child.

One child makes a circuit and its witness; one more for each timed call, since peak memory is a process's.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from . import _ezkl

_LOOKED_UP = {"s": "Sigmoid", "t": "Tanh", "e": "Erf", "r": "Relu"}


def prepare(*, home: str, steps: str, shape: Sequence[int], run_args: dict[str, Any]) -> dict[str, Any]:
    """Write ``settings``, ``compiled``, ``witness`` and ``srs`` of a network into `home`; gives the settings.

    `steps`, one letter each: a adds a constant, m multiplies by a matrix, s t e r are Sigmoid, Tanh, Erf and Relu.
    """
    folder = Path(home)
    network, data = folder / "network.onnx", folder / "data"
    settings, compiled, witness = (str(folder / name) for name in ("settings", "compiled", "witness"))
    network.write_bytes(_network(steps, shape))
    _ezkl.gen_settings(model=str(network), output=settings, run_args=run_args)
    _ezkl.compile_circuit(model=str(network), compiled=compiled, settings=settings)
    values = np.random.default_rng(1).uniform(-0.5, 0.5, shape[0] * shape[1])
    data.write_text(json.dumps({"input_data": [values.tolist()]}))
    _ezkl.gen_witness(data=str(data), compiled=compiled, witness=witness, tables=run_args["lookup_range"])
    _ezkl.gen_srs(path=str(folder / "srs"), logrows=run_args["logrows"])
    found: dict[str, Any] = json.loads(Path(settings).read_text())
    return found


def timed(*, function: str, arguments: dict[str, Any]) -> dict[str, float]:
    """One call of `_ezkl`: seconds of the clock and of processors, and this process's peak bytes.

    `wanted` are the seconds in which threads ran or waited for a core that somebody else had: on an idle machine, `processor`.
    """
    # What the process did before, such as importing, is no part of the call.
    processor, waited, started = _processor_seconds(), _waited_seconds(), time.perf_counter()
    getattr(_ezkl, function)(**arguments)
    clock = time.perf_counter() - started
    processor, waited = _processor_seconds() - processor, _waited_seconds() - waited
    return {
        "clock": clock,
        "processor": processor,
        "wanted": processor + waited,
        "peak": float(_ezkl.peak_bytes()),
    }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _waited_seconds() -> float:
    """How long threads that could run waited for a core; EZKL's workers live as long as the process."""
    waited = 0
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it ended in this moment
            waited += int((thread / "schedstat").read_text().split()[1])
    return waited / 1e9


def _network(steps: str, shape: Sequence[int]) -> bytes:
    rows, width = shape
    random, nodes, constants = np.random.default_rng(0), [], []
    for index, step in enumerate(steps):
        inputs, output = [f"v{index}"], [f"v{index + 1}"]
        if step in _LOOKED_UP:
            nodes.append(helper.make_node(_LOOKED_UP[step], inputs, output))
            continue
        array = (
            random.uniform(-0.1, 0.1, (rows, width))
            if step == "a"
            else random.normal(size=(width, width)) / width
        )
        constants.append(numpy_helper.from_array(array.astype(np.float32), f"c{index}"))
        nodes.append(helper.make_node("Add" if step == "a" else "MatMul", [*inputs, f"c{index}"], output))
    first, last = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width])
        for name in ("v0", f"v{len(steps)}")
    )
    graph = helper.make_graph(nodes, "toy", [first], [last], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
