"""Tries fixed-point plans on samples without EZKL: the twin of a lowered network, in onnxruntime, inside a limited child.

Integers are exact in binary64 below 2^53, so the twin's outputs are those of the circuit's forward pass, integer by integer;
`calibrate.measure` still asks EZKL itself before anything is built.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from verinfer.verifier.digest import CHALLENGE_NAME

from .plan import CURVES, EXPONENTIALS, read_plan
from .rewrite.derived import derive
from .rewrite.fixed_point import lower, twin
from .rewrite.rules import RULES
from .rewrite.sites import find_sites, with_sums

if TYPE_CHECKING:
    import onnxruntime


def rule_names() -> list[str]:
    """The names of the rewriting rules, in the order of application."""
    return [rule.name for rule in RULES]


def rules_that_apply(*, model: str) -> list[str]:
    """The names of the rules that change this network, each after those before it."""
    network, names = _load(model), []
    for rule in RULES:
        changed = rule.apply(network)
        if changed is not network:
            names.append(rule.name)
        network = changed
    return names


def sites(*, model: str) -> dict[str, Any] | None:
    """The products and values of a network that can be lowered, None of any other."""
    found = find_sites(_load(model))
    if found is None:
        return None
    return asdict(found)


def write_lowered(*, model: str, output: str, plan: dict[str, Any]) -> None:
    """Write the lowered network of a plan."""
    Path(output).write_bytes(lower(_load(model), read_plan(plan)).SerializeToString(deterministic=True))


def peaks(*, model: str, inputs: str, names: list[str]) -> list[float]:
    """The largest absolute fp32 value of each named number's tensor over all samples of an NPZ file, 0 of what has none."""
    network = with_sums(_load(model))
    given = {value.name for value in network.graph.input}
    labels = (EXPONENTIALS, CURVES)
    wanted = [name for name in names if name not in given and name not in labels]
    known = {value.name for value in network.graph.output}
    network.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in known)
    session, samples = _session(network), _samples(inputs)
    found = {name: float(np.abs(samples[name]).max()) for name in names if name in given} | dict.fromkeys(
        labels, 0.0
    )
    for name in wanted:
        found[name] = 0.0
    for feed in _feeds(samples):
        for name, value in zip(wanted, session.run(wanted, feed), strict=True):
            found[name] = max(found[name], float(np.abs(value).max()))
    return [found[name] for name in names]


def widest(*, model: str, usual: str, unusual: str) -> str:
    """The layer whose largest fp32 value for the one `unusual` sample is most above its largest for the `usual` ones."""
    network = _load(model)
    known = {value.name for value in network.graph.output}
    inferred = derive(network).value_info
    names = [value.name for value in inferred if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    network.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    names = [*names, *(name for name in known if name not in names)]
    session = _session(network)

    def largest(path: str) -> npt.NDArray[np.float64]:
        peaks = [
            [float(np.abs(value).max()) for value in session.run(names, feed)]
            for feed in _feeds(_samples(path))
        ]
        highest: npt.NDArray[np.float64] = np.max(np.asarray(peaks), axis=0)
        return highest

    beyond = largest(unusual) / np.maximum(largest(usual), 1e-30)
    return str(names[int(np.argmax(beyond))])


def simulate(
    *, model: str, plans: list[dict[str, Any]], inputs: str, most: int, margin: float
) -> list[dict[str, Any]]:
    """Each plan's outputs on the first `most` samples, in the outputs' own units, and what its tables take.

    `ranges`: by layer, the least and the largest integer, every fourth sample also scaled by `margin`.
    """
    network, samples = _load(model), {name: array[:most] for name, array in _samples(inputs).items()}
    return [_simulate(network, plan, samples, margin) for plan in plans]


def _simulate(
    model: onnx.ModelProto, plan: dict[str, Any], samples: dict[str, npt.NDArray[Any]], margin: float
) -> dict[str, Any]:
    made = twin(model, read_plan(plan))
    session, names = _session(made.model), [value.name for value in made.model.graph.output]
    ranges = {layer: [0, 0] for layer in made.tabled.values()}
    outputs, count = [], len(made.fractions)
    scaled = {name: array[::4].astype(np.float64) * margin for name, array in samples.items()}
    given = _feeds(_integers(samples, plan["scale"]))
    for index, feed in enumerate([*given, *_feeds(_integers(scaled, plan["scale"]))]):
        results: list[npt.NDArray[np.float64]] = session.run(names, feed)
        if index < len(given):
            pairs = zip(results[:count], made.fractions, strict=True)
            outputs.append([(value.ravel() / 2.0**fraction).tolist() for value, fraction in pairs])
        for name, value in zip(names[count:], results[count:], strict=True):
            bounds = ranges[made.tabled[name]]
            bounds[:] = [min(bounds[0], int(value.min())), max(bounds[1], int(value.max()))]
    return {
        "outputs": outputs,
        "ranges": ranges,
        "fractions": made.fractions,
        "cells": made.cells,
        "tables": made.tables,
    }


def _load(path: str) -> onnx.ModelProto:
    return onnx.load_model_from_string(Path(path).read_bytes())


def _session(network: onnx.ModelProto) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _samples(path: str) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if name != CHALLENGE_NAME}


def _integers(samples: dict[str, npt.NDArray[Any]], scale: int) -> dict[str, npt.NDArray[Any]]:
    """As `verinfer.verifier.numbers.quantise`: binary64, half away from zero."""
    scaled = {name: array.astype(np.float64) * 2.0**scale for name, array in samples.items()}
    return {name: np.copysign(np.floor(np.abs(array) + 0.5), array) for name, array in scaled.items()}


def _feeds(samples: dict[str, npt.NDArray[Any]]) -> list[dict[str, npt.NDArray[Any]]]:
    count = len(next(iter(samples.values())))
    return [{name: array[index] for name, array in samples.items()} for index in range(count)]
