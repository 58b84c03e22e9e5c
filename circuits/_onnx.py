"""Reads ONNX files from outside, each of which is a hostile program: only here, and only after its own refusals.

Every function runs inside a limited child. `_simulate`, `_meter` and `rewrite` import onnx too, for such children and for files
that were made here.
onnxruntime is imported where a network is run: most calls run none, and each is a process of its own.
Sources: ONNX IR specification (graphs, opsets, external data), ONNX operator names of the domain ``ai.onnx``.
"""

from __future__ import annotations

import base64
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from onnx import TensorProto, helper, numpy_helper

from verinfer.verifier.digest import SALT_LIMBS
from verinfer.verifier.errors import Malformed

from .difference import largest_difference
from .operators import OPERATORS
from .rewrite import explicit_sizes
from .rewrite.adoption import ADOPTED
from .rewrite.adoption import adopt as adopt_model
from .rewrite.batch import batch as batch_model
from .rewrite.challenge import CHALLENGE_OUTPUT, RESERVED, add_challenge
from .rewrite.derived import derive
from .rewrite.rules import replay

if TYPE_CHECKING:
    import onnxruntime

    from verinfer.verifier.manifest import Visibility

DTYPES: dict[int, str] = {TensorProto.FLOAT: "FP32", TensorProto.INT64: "INT64"}
NUMPY: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
MOST_ELEMENTS = 1 << 24
MOST_NODES = 10_000
MOST_SAMPLE_BYTES = 1 << 30
"""Of all arrays in a file of samples, unpacked."""
_BROKEN_ARCHIVE = (
    *(KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, SyntaxError),
    # An archive that is encrypted, or packed in a way that Python does not know.
    *(RuntimeError, NotImplementedError),
)
_ATTRIBUTES = {
    onnx.AttributeProto.FLOAT,
    onnx.AttributeProto.FLOATS,
    onnx.AttributeProto.INT,
    onnx.AttributeProto.INTS,
    onnx.AttributeProto.STRING,
    onnx.AttributeProto.TENSOR,
}
"""What an attribute may hold; above all no graph, since If, Loop and Scan multiply work.  Strings are modes and equations."""


def inspect(*, model: str) -> dict[str, Any]:
    """Inputs and outputs with names, shapes and datatypes, and the operators used; refuses what could not be proven.

    Raises `Malformed` (``model-refused``) with the reason.
    """
    graph = _load(model).graph
    initialised = {tensor.name for tensor in graph.initializer}
    return {
        "inputs": [_tensor(value) for value in graph.input if value.name not in initialised],
        "outputs": [_tensor(value) for value in graph.output],
        "operators": sorted({node.op_type for node in graph.node}),
        "parameters": sum(prod(tensor.dims) for tensor in graph.initializer),
    }


def adopt(*, model: str, output: str, without_head: bool = False) -> dict[str, list[str]]:
    """Write the plain form of a model from outside; gives the ``steps`` that changed it and its ``inputs``' names before.

    A model that is plain already is written byte for byte.
    Raises `Malformed` (``model-refused``, ``model-unsupported``) with the reason.
    """
    given = _parse(model)
    _check_graph(given, adopted=True)
    plain, steps = adopt_model(given, without_head=without_head)
    _settle_outputs(plain)
    _check(plain)
    data = plain.SerializeToString(deterministic=True) if steps else Path(model).read_bytes()
    Path(output).write_bytes(data)
    initialised = {tensor.name for tensor in given.graph.initializer}
    return {
        "steps": steps,
        "inputs": [value.name for value in given.graph.input if value.name not in initialised],
    }


def batch(*, model: str, output: str, count: int) -> None:
    """Write the network of one sample as a network of `count`; raises `Malformed` (``model-refused``) with the reason."""
    try:
        made = batch_model(_load(model), count, MOST_NODES)
    except ValueError as error:
        raise _refusal(f"it cannot be batched: {error}") from error
    _check(made)
    Path(output).write_bytes(made.SerializeToString(deterministic=True))


def cut_after(*, model: str, output: str, count: int) -> dict[str, str]:
    """Write the first `count` nodes as a model of their own; gives the last one's name and operator.

    Its outputs are the real numbers that the rest would have taken.
    Where there are none, ``outputs`` is empty and nothing is written.
    """
    loaded = _load(model)
    inferred = derive(loaded)
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    nodes, rest = loaded.graph.node[:count], loaded.graph.node[count:]
    reached = {value.name for value in loaded.graph.input}
    for node in nodes:
        if reached.intersection(node.input):
            reached.update(node.output)
    wanted = {name for node in rest for name in node.input} | {value.name for value in loaded.graph.output}
    outputs = [
        known[name]
        for node in nodes
        for name in node.output
        if name in wanted & reached & known.keys()
        and known[name].type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    last = nodes[-1]
    if outputs:
        used = {name for node in nodes for name in node.input}
        inputs = [value for value in loaded.graph.input if value.name in used]
        constants = [tensor for tensor in loaded.graph.initializer if tensor.name in used]
        graph = helper.make_graph(nodes, "prefix", inputs, outputs, constants)
        prefix = helper.make_model(
            graph, opset_imports=loaded.opset_import, ir_version=max(loaded.ir_version, 4)
        )
        Path(output).write_bytes(prefix.SerializeToString(deterministic=True))
    return {"name": last.name or last.output[0], "operator": last.op_type, "outputs": str(len(outputs) or "")}


def count_nodes(*, model: str) -> int:
    """How many nodes a model has."""
    return len(_load(model).graph.node)


def wrap(*, model: str, output: str, inputs: Visibility = "public") -> None:
    """Add the challenge, and the salt of hashed inputs, after everything else was done to the graph."""
    loaded = explicit_sizes.apply(_load(model))
    # EZKL's importer would believe them.
    loaded.graph.ClearField("value_info")
    add_challenge(loaded, inputs)
    Path(output).write_bytes(loaded.SerializeToString(deterministic=True))


def rewrite(*, model: str, output: str, rules: list[str]) -> dict[str, Any]:
    """Replay rewriting rules by name and write the model; gives what `inspect` says of it.

    Raises `Malformed` (``model-refused``), `CouldNotCheck` (``rewrite-unknown``).
    """
    rewritten = replay(_load(model), rules)
    Path(output).write_bytes(rewritten.SerializeToString(deterministic=True))
    return inspect(model=output)


def compare(*, first: str, second: str, inputs: str, batch: int = 1) -> float:
    """The largest relative difference of two models' fp32 outputs over the samples of an NPZ file, `batch` to a pass.

    Both take the same inputs and give outputs of the same sizes in the same order.
    """
    ours, theirs = (run_many(model=model, inputs=inputs) for model in (first, second))
    return largest_difference(ours, theirs, batch)


def run_many(*, model: str, inputs: str) -> list[list[list[float]]]:
    """fp32 outputs, flat, for each sample of an NPZ file with one array per input name, [N, …].

    A wrapped network gives the model's outputs alone, and is shown zeros for the salt.
    """
    session = _session(Path(model).read_bytes())
    given = session.get_inputs()
    with np.load(inputs, allow_pickle=False) as arrays:
        batch = {value.name: arrays[value.name] for value in given}
    shapes = {value.name: value.shape for value in given}
    names = [value.name for value in session.get_outputs() if value.name != CHALLENGE_OUTPUT]
    results = []
    for index in range(len(next(iter(batch.values())))):
        feed = {name: _salted(array[index], shapes[name]) for name, array in batch.items()}
        results.append([np.asarray(value).ravel().tolist() for value in session.run(names, feed)])
    return results


def _salted(values: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    """The tensor as the network takes it: one that is hashed has a salt's place behind its values."""
    if values.shape == tuple(shape):
        return values
    return np.concatenate([values.ravel(), np.zeros(SALT_LIMBS, values.dtype)]).reshape(shape)


def read_samples(*, path: str, names: list[str], most: int) -> dict[str, list[list[float]]]:
    """Raw samples from an NPZ file: per name, at most `most` flat lists; raises `Malformed` (``sample-malformed``)."""
    try:
        # Opened as an archive first, since np.load takes other formats too.
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as arrays:
            unpacked = sum(archive.getinfo(f"{name}.npy").file_size for name in names)
            if unpacked > MOST_SAMPLE_BYTES:
                raise Malformed(
                    "sample-malformed", f"samples.npz unpacks to more than {MOST_SAMPLE_BYTES} bytes."
                )
            found = {name: np.asarray(arrays[name]) for name in names}
    except MemoryError as error:
        # The header of an array asks for it, whatever follows.
        raise Malformed("sample-malformed", "samples.npz claims to hold more than memory does.") from error
    except _BROKEN_ARCHIVE as error:
        raise Malformed("sample-malformed", f"samples.npz needs one array per input: {error}.") from error
    if any(array.dtype.kind not in "iuf" for array in found.values()):
        raise Malformed("sample-malformed", "samples.npz holds something other than real numbers.")
    counts = {array.shape[:1] for array in found.values()}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise Malformed(
            "sample-malformed", "samples.npz needs as many samples for each input, and at least one."
        )
    return {name: [sample.ravel().tolist() for sample in array[:most]] for name, array in found.items()}


def write_samples(*, path: str, tensors: dict[str, dict[str, Any]]) -> None:
    """An NPZ file of preprocessed samples: per name, ``shape``, ``dtype`` and a list of flat ``values``."""
    arrays = {
        name: np.asarray(item["values"], dtype=NUMPY[item["dtype"]]).reshape(-1, *item["shape"])
        for name, item in tensors.items()
    }
    np.savez(path, allow_pickle=False, **arrays)


_loaded: onnxruntime.InferenceSession | None = None


def load(*, model: str) -> str:
    """Make this process a worker for one model; gives onnxruntime's version."""
    global _loaded  # noqa: PLW0603 - a worker process holds one session for its whole life
    import onnxruntime

    _loaded = _session(Path(model).read_bytes())
    return f"onnxruntime {onnxruntime.__version__}"


def infer(*, inputs: dict[str, dict[str, Any]], samples: int = 1) -> dict[str, str]:
    """fp32 inference of the loaded model: tensors as base64 of little-endian bytes, by name.

    With several `samples`, each tensor has a row for each, and each row goes through the model alone.
    """
    assert _loaded is not None
    feed = {
        name: np.frombuffer(base64.b64decode(item["value"]), dtype=NUMPY[item["dtype"]]).reshape(
            item["shape"]
        )
        for name, item in inputs.items()
    }
    names = [value.name for value in _loaded.get_outputs()]
    results = [
        _loaded.run(
            names, {name: array[row : row + 1] for name, array in feed.items()} if samples > 1 else feed
        )
        for row in range(samples)
    ]
    return {
        name: _bytes(np.concatenate([np.asarray(result[index]) for result in results]))
        for index, name in enumerate(names)
    }


def _bytes(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def _session(data: bytes) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread gives one order of additions, so the same answer each time.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _load(path: str) -> onnx.ModelProto:
    """Parse and refuse; external data is never followed, since the proto alone is read."""
    model = _parse(path)
    _check(model)
    return model


def _parse(path: str) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(Path(path).read_bytes())
    except DecodeError as error:
        raise _refusal("it is not an ONNX file") from error


def _check(model: onnx.ModelProto) -> None:
    _check_graph(model)
    try:
        onnx.checker.check_model(model)
        inferred = derive(model, check_type=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _refusal(f"the ONNX checker says: {(str(error).splitlines() or [''])[0][:300]}") from error
    for declared, derived in zip(model.graph.output, inferred.output, strict=True):
        # Of an output that nodes take too, a false shape would be believed inside.
        if _dims(declared) != _dims(derived):
            raise _refusal(f"the shape of {declared.name[:64]} is not what its nodes give")
    _check_sizes(inferred)


def _settle_outputs(model: onnx.ModelProto) -> None:
    """Give the outputs the shapes that they have when the model runs on zeros: inference does not find every size."""
    if all(dim.dim_value > 0 for value in model.graph.output for dim in value.type.tensor_type.shape.dim):
        return
    initialised = {tensor.name for tensor in model.graph.initializer}
    inputs = [_tensor(value) for value in model.graph.input if value.name not in initialised]
    try:
        session = _session(model.SerializeToString())
        results = session.run(
            [value.name for value in model.graph.output],
            {item["name"]: np.zeros(item["shape"], NUMPY[item["dtype"]]) for item in inputs},
        )
    except ImportError:
        raise
    except Exception as error:
        # onnxruntime's exceptions have no common class of their own.
        raise _refusal(f"onnxruntime cannot run it: {str(error)[:300]}") from error
    for value, result in zip(model.graph.output, results, strict=True):
        kind = value.type.tensor_type
        kind.shape.CopyFrom(onnx.TensorShapeProto())
        for size in np.shape(result):
            kind.shape.dim.add().dim_value = size


def _check_graph(model: onnx.ModelProto, *, adopted: bool = False) -> None:
    """Everything but sizes and types; with `adopted` the model may still hold what adoption takes away."""
    graph = model.graph
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if len(versions) > 1 or not (versions or adopted):
        raise _refusal(f"it names {len(versions)} versions of ONNX's operators, and must name one")
    if model.functions or model.training_info:
        raise _refusal("it has local functions or training information")
    if graph.sparse_initializer:
        raise _refusal("it has sparse initializers")
    if len(graph.node) > MOST_NODES:
        raise _refusal(f"it has {len(graph.node)} nodes, more than {MOST_NODES}")
    made = [out for node in graph.node for out in node.output if out]
    initialised = [tensor.name for tensor in graph.initializer]
    given = [value.name for value in graph.input]
    for name in (*made, *initialised, *given):
        if name.startswith(RESERVED):
            raise _refusal(f"names like {name[:64]}, that begin with {RESERVED}, are reserved")
    # An initializer may give the default of an input, under the input's name; no other name may repeat.
    if any(len(set(names)) != len(names) for names in (made + given, made + initialised)):
        raise _refusal("two tensors have one name")
    if not {value.name for value in graph.output} <= set(made):
        raise _refusal("an output is not computed")
    _check_parts(graph, adopted=adopted)


def _check_parts(graph: onnx.GraphProto, *, adopted: bool) -> None:
    for node in graph.node:
        _check_node(node, adopted=adopted)
    for tensor in graph.initializer:
        # Text goes with the labels; what is left of it is refused after adoption.
        if not (adopted and tensor.data_type == TensorProto.STRING):
            _check_tensor(tensor)
    if sum(prod(tensor.dims) for tensor in graph.initializer) > MOST_ELEMENTS:
        raise _refusal(f"it has more than {MOST_ELEMENTS} parameters")
    if not adopted:
        for value in (*graph.input, *graph.output):
            _tensor(value)


def _check_node(node: onnx.NodeProto, *, adopted: bool) -> None:
    known = adopted and f"{node.domain}:{node.op_type}".removeprefix(":") in ADOPTED
    if not known and node.domain not in ("", "ai.onnx"):
        raise _refusal(f"{node.op_type[:64]} is of the domain {node.domain[:64]}")
    if not known and node.op_type not in OPERATORS:
        raise _refusal(f"the operator {node.op_type[:64]} is not among those that can be proven")
    for attribute in node.attribute:
        if attribute.type not in _ATTRIBUTES and not (
            known and attribute.type == onnx.AttributeProto.STRINGS
        ):
            raise _refusal(f"{node.op_type} has an attribute that holds more than numbers")
        if not np.isfinite([attribute.f, *attribute.floats]).all():
            raise _refusal(f"{node.op_type} has an attribute that is NaN or infinite")
        if attribute.HasField("t"):
            _check_tensor(attribute.t)


def _check_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise _refusal(f"{tensor.name[:64]} is in an external file")
    if any(dim < 0 for dim in tensor.dims) or prod(tensor.dims) > MOST_ELEMENTS:
        raise _refusal(f"{tensor.name[:64]} has absurd dimensions")
    if tensor.data_type == TensorProto.STRING:
        raise _refusal(f"{tensor.name[:64]} holds strings")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise _refusal(f"{tensor.name[:64]} does not hold what it says") from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _refusal(f"{tensor.name[:64]} holds NaN or infinities")


def _check_sizes(graph: onnx.GraphProto) -> None:
    """No tensor inside is absurdly large: a file of 100 bytes can ask for gigabytes.

    Where ONNX's inference does not find a size, the limits of the child that runs the model stand in.
    """
    for value in graph.value_info:
        if prod(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim) > MOST_ELEMENTS:
            raise _refusal(f"{value.name[:64]} has more than {MOST_ELEMENTS} elements")


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    if kind.elem_type not in DTYPES:
        raise _refusal(f"{value.name[:64]} is neither FP32 nor INT64")
    shape = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
    if not shape or any(dim <= 0 for dim in shape):
        raise _refusal(f"{value.name[:64]} has no fixed shape; export with static dimensions")
    if prod(shape) > MOST_ELEMENTS:
        raise _refusal(f"{value.name[:64]} has {prod(shape)} elements, more than {MOST_ELEMENTS}")
    return {"name": value.name, "shape": shape, "dtype": DTYPES[kind.elem_type]}


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _refusal(reason: str) -> Malformed:
    return Malformed("model-refused", f"The model is refused: {reason}.")
