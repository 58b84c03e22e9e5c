"""From a definition to a model folder: ``network.onnx``, ``spec.json``, ``samples.npz`` and samples to send.

The exported graph is small and plain: static shapes, batch 1, every attribute written out, weights inside, no metadata of
the machine or the day, so that one machine gives one file.
The export is checked through onnxruntime against torch on every held-out sample before anything is written.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from PIL import Image
from torch import nn

from verinfer.verifier import files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.model_spec import SPEC_TYPE, InputSpec, ModelSpec, OutputSpec, RawFields, RawImage
from verinfer.verifier.preprocess import to_input, to_output
from verinfer.verifier.wire import validate

from .data import Split
from .definition import Definition, OnEpoch, decimal
from .train import train

OPSET = 17
TOLERANCE = 1e-5
"""Largest accepted difference between onnxruntime and torch, absolute; outputs are of order 1 to 10."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and where."""

    folder: Path
    spec: ModelSpec
    largest_difference: float


def export(definition: Definition, folder: Path, on_epoch: OnEpoch = lambda _done, _all: None) -> Exported:
    """Train, export, check and write the model into `folder`; raises `CouldNotCheck` if onnxruntime and torch differ."""
    split = definition.load()
    described = definition.describe(split)
    input_spec = validate(InputSpec, described["inputs"][0], code="spec-malformed")
    output_spec = validate(OutputSpec, described["outputs"][0], code="spec-malformed")
    net = train(
        definition, _prepare(input_spec, split.train), _targets(output_spec, split.train_targets), on_epoch
    )
    data = to_onnx(net, input_spec, output_spec)
    held_out = _prepare(input_spec, split.held_out)
    difference = check(data, net, held_out)
    spec = validate(
        ModelSpec,
        {
            "type": SPEC_TYPE,
            "name": definition.name,
            "version": definition.version,
            "title": definition.title,
            "onnx": sha256(data),
            "data": definition.data,
            "seed": definition.seed,
            "accuracy": _accuracy(output_spec, run_onnx(data, held_out), split.held_out_targets),
            **described,
        },
        code="spec-malformed",
    )
    _write(folder, data, spec, split)
    return Exported(folder, spec, difference)


def to_onnx(net: nn.Module, input_spec: InputSpec, output_spec: OutputSpec) -> bytes:
    """The network as ONNX bytes, with the spec's tensor names and nothing that changes from run to run."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # The TorchScript exporter gives the plain graph that is wanted here; torch warns that it is the older one.
        warnings.simplefilter("ignore")
        path = Path(directory) / "network.onnx"
        torch.onnx.export(
            net,
            (torch.zeros(*input_spec.shape),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[input_spec.name],
            output_names=[output_spec.name],
        )
        model = onnx.load(str(path))
    return tidy(model)


def tidy(model: onnx.ModelProto) -> bytes:
    """Plain names and no metadata; the computation stays the same."""
    model.producer_name, model.producer_version, model.doc_string = "verinfer", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "network", ""
    del graph.value_info[:]
    kept = {tensor.name for tensor in (*graph.input, *graph.output)}
    names: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type.lower()}_{index}", ""
        del node.metadata_props[:]
        for position, name in enumerate(node.output):
            if name and name not in kept:
                names[name] = f"{node.op_type.lower()}_{index}_out{position or ''}"
                node.output[position] = names[name]
        for position, name in enumerate(node.input):
            node.input[position] = names.get(name, name)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def check(data: bytes, net: nn.Module, samples: npt.NDArray[np.float32]) -> float:
    """The largest difference between onnxruntime and torch on `samples`; raises `CouldNotCheck` beyond `TOLERANCE`."""
    with torch.no_grad():
        wanted = net(torch.from_numpy(samples)).numpy()
    difference = float(np.abs(run_onnx(data, samples) - wanted).max())
    # Written so that NaN fails too.
    if not difference <= TOLERANCE:
        raise CouldNotCheck(
            "export-differs", f"onnxruntime and torch differ by {difference:g}, more than {TOLERANCE:g}."
        )
    return difference


def run_onnx(data: bytes, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The first output for each sample, [N, …], through onnxruntime one at a time, as the service runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([np.asarray(session.run(None, {name: sample[None]})[0]) for sample in samples])


def _prepare(spec: InputSpec, raw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[N, …] raw to [N, *shape[1:]] through the very function that clients use."""
    rows = [to_input(spec, sample.ravel().tolist()) for sample in raw]
    return np.asarray(rows, dtype=np.float32).reshape(len(raw), *spec.shape[1:])


def _targets(spec: OutputSpec, targets: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Labels as they are; values in the network's own units, the inverse of the postprocessing."""
    for step in reversed(spec.postprocessing):
        add, multiply = (np.asarray(texts, dtype=np.float64) for texts in (step.add, step.multiply))
        targets = ((targets.astype(np.float64) - add) / multiply).astype(np.float32)
    return targets


def _accuracy(
    spec: OutputSpec, outputs: npt.NDArray[np.float32], wanted: npt.NDArray[np.generic]
) -> dict[str, Any]:
    if wanted.dtype == np.int64:
        value = float(np.mean(outputs.argmax(axis=1) == wanted))
        return {"metric": "accuracy", "value": decimal(value, 4), "samples": len(wanted)}
    readable = np.asarray([to_output(spec, row.ravel().tolist()) for row in outputs])
    value = float(np.abs(readable - wanted).mean())
    return {"metric": "mean-absolute-error", "value": decimal(value, 4), "samples": len(wanted)}


def _write(folder: Path, data: bytes, spec: ModelSpec, split: Split) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first = split.held_out[0]
    input_spec = spec.inputs[0]
    contents = {
        "network.onnx": data,
        "spec.json": (
            json.dumps(spec.to_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        ).encode(),
        "samples.npz": _npz({input_spec.name: _smallest(split.held_out), "expected": split.held_out_targets}),
        "sample.json": (json.dumps({input_spec.name: _short(first).tolist()}) + "\n").encode(),
    }
    if isinstance(input_spec.raw, RawImage):
        contents["sample.png"] = _png(first, input_spec.raw)
    else:
        contents["sample.csv"] = _csv(first, input_spec.raw)
    for name, content in contents.items():
        files.write_atomically(folder / name, content)


def _smallest(raw: npt.NDArray[np.float32]) -> npt.NDArray[np.generic]:
    whole = bool(np.all(raw == np.floor(raw))) and raw.min() >= 0 and raw.max() <= np.iinfo(np.uint8).max
    return raw.astype(np.uint8) if whole else raw


def _short(sample: npt.NDArray[np.float32]) -> npt.NDArray[np.generic]:
    """Whole grey levels as integers; other numbers as the shortest decimals of their binary32."""
    if np.all(sample == np.floor(sample)):
        return sample.astype(np.int64)
    return np.asarray([float(str(value)) for value in sample.ravel()]).reshape(sample.shape)


def _npz(arrays: dict[str, npt.NDArray[np.generic]]) -> bytes:
    # numpy writes the zip's members with the fixed date 1980-01-01, so equal arrays give equal bytes.
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _png(sample: npt.NDArray[np.float32], raw: RawImage) -> bytes:
    pixels = np.floor(sample.reshape(raw.height, raw.width) * 255 / raw.maximum + 0.5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode="L").save(buffer, format="PNG")
    return buffer.getvalue()


def _csv(sample: npt.NDArray[np.float32], raw: RawFields) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(raw.fields)
    writer.writerow(_short(sample).ravel().tolist())
    return buffer.getvalue().encode()
