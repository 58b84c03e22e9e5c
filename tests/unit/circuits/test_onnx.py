"""ONNX files from outside: what is refused, with which code, and what wrapping does."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.native import ONNX, PARSE_LIMITS, Workplace
from verinfer.verifier.child import Child, ChildFailed
from verinfer.verifier.digest import CHALLENGE_NAME
from verinfer.verifier.errors import Malformed, VerinferError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.fixture
def light(tmp_path: Path) -> Workplace:
    """A directory for children, with the limits for parsing."""
    return Workplace(directory=tmp_path, limits=PARSE_LIMITS)


def _value(name: str, shape: list[Any], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[onnx.NodeProto] | None = None,
    *,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    tensors: list[onnx.TensorProto] | None = None,
    **options: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes if nodes is not None else [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        inputs if inputs is not None else [_value("x", [1, 3])],
        outputs if outputs is not None else [_value("y", [1, 3])],
        tensors or [],
    )
    opsets = options.pop("opset_imports", [helper.make_opsetid("", 17)])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)


def _add(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return _model([helper.make_node("Add", ["x", tensor.name], ["y"])], tensors=[tensor])


def _huge_dimensions() -> onnx.ModelProto:
    return _model(inputs=[_value("x", [1, 10**9])], outputs=[_value("y", [1, 10**9])])


def _huge_constant() -> onnx.ModelProto:
    shape = numpy_helper.from_array(np.array([2_000_000_000], dtype=np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return _model(nodes, tensors=[shape])


def _nested_if() -> onnx.ModelProto:
    def branch(depth: int) -> onnx.GraphProto:
        node = (
            helper.make_node("Identity", ["x"], [f"o{depth}"])
            if depth == 0
            else helper.make_node(
                "If", ["c"], [f"o{depth}"], then_branch=branch(depth - 1), else_branch=branch(depth - 1)
            )
        )
        return helper.make_graph([node], f"g{depth}", [], [_value(f"o{depth}", [1, 3])])

    inner = branch(7)
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return _model([node], inputs=[_value("x", [1, 3]), _value("c", [1], TensorProto.BOOL)])


def _external_data() -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[1, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return _add(tensor)


def _not_a_number() -> onnx.ModelProto:
    return _add(numpy_helper.from_array(np.array([[1, np.nan, 1]], dtype=np.float32), "w"))


def _infinite_constant_node() -> onnx.ModelProto:
    constant = numpy_helper.from_array(np.array([np.inf], dtype=np.float32), "c")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return _model(nodes)


def _not_a_number_attribute() -> onnx.ModelProto:
    return _model([helper.make_node("LeakyRelu", ["x"], ["y"], alpha=float("nan"))])


def _data_missing() -> onnx.ModelProto:
    return _add(TensorProto(name="w", data_type=FLOAT, dims=[1, 3]))


def _strings() -> onnx.ModelProto:
    return _add(
        TensorProto(name="w", data_type=TensorProto.STRING, dims=[1, 3], string_data=[b"a", b"b", b"c"])
    )


def _local_function() -> onnx.ModelProto:
    body = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    return _model([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[body])


def _custom_domain() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return _model([helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")], opset_imports=opsets)


def _two_initializers_of_one_name() -> onnx.ModelProto:
    first, second = (
        numpy_helper.from_array(np.full((1, 3), value, dtype=np.float32), "w") for value in (1, 2)
    )
    return _model([helper.make_node("Add", ["x", "w"], ["y"])], tensors=[first, second])


HOSTILE: dict[str, Callable[[], onnx.ModelProto]] = {
    "dimensions of 10^9": _huge_dimensions,
    "a constant of 8 GB": _huge_constant,
    "nested If": _nested_if,
    "external data": _external_data,
    "a weight that is NaN": _not_a_number,
    "a constant that is infinite": _infinite_constant_node,
    "an attribute that is NaN": _not_a_number_attribute,
    "an initializer without its data": _data_missing,
    "string tensors": _strings,
    "a local function": _local_function,
    "a custom domain": _custom_domain,
    "one name, two initializers": _two_initializers_of_one_name,
    "a symbolic dimension": lambda: _model(inputs=[_value("x", ["n", 3])], outputs=[_value("y", ["n", 3])]),
    "an input without a shape": lambda: _model(inputs=[helper.make_tensor_value_info("x", FLOAT, None)]),
    "a datatype that no statement has": lambda: _model(
        inputs=[_value("x", [1, 3], TensorProto.DOUBLE)], outputs=[_value("y", [1, 3], TensorProto.DOUBLE)]
    ),
    "the challenge's name on an input": lambda: _model(
        inputs=[_value("x", [1, 3]), _value(CHALLENGE_NAME, [1, 16], INT64)]
    ),
    "the challenge's name inside": lambda: _model(
        [helper.make_node("Relu", ["x"], [CHALLENGE_NAME]), helper.make_node("Relu", [CHALLENGE_NAME], ["y"])]
    ),
    "a name that only we give": lambda: _model(
        [
            helper.make_node("Relu", ["x"], ["verinfer_values_0"]),
            helper.make_node("Relu", ["verinfer_values_0"], ["y"]),
        ]
    ),
    "one name twice": lambda: _model(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])]
    ),
    "an operator that does not exist": lambda: _model([helper.make_node("Nonsense", ["x"], ["y"])]),
    "a randomised operator": lambda: _model(
        [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    ),
    "no operators at all": lambda: _model([], outputs=[_value("x", [1, 3])]),
}


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One child for many hostile files: it must outlive each of them."""
    child = Child(ONNX, limits=PARSE_LIMITS, directory=tmp_path_factory.getbasetemp())
    yield child
    child.close()


def _refuse(parser: Child, data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(ChildFailed) as caught:
        parser.ask("inspect", {"model": str(path)}, seconds=10)
    assert caught.value.code == "model-refused"
    assert caught.value.detail.startswith("The model is refused: ")


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_model_is_refused(case: str, parser: Child, tmp_path: Path) -> None:
    """Each is refused by inspection itself, with one code and a reason: not by a crash, a limit or EZKL later."""
    _refuse(parser, HOSTILE[case]().SerializeToString(), tmp_path / "network.onnx")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"not an onnx file", bytes.fromhex("ff") * 100, b"\x08\x08", b"PK\x03\x04" + bytes(60)],
    ids=["empty", "zero", "text", "ff", "header only", "zip"],
)
def test_bytes_that_are_no_model_are_refused(data: bytes, parser: Child, tmp_path: Path) -> None:
    """Whatever is not an ONNX model has the same code as a hostile one."""
    _refuse(parser, data, tmp_path / "network.onnx")


def test_a_refusal_is_a_malformed_file(light: Workplace) -> None:
    """The caller gets the child's verdict as one about the file, with its reason, and not as a failure of the child."""
    path = light.directory / "network.onnx"
    path.write_bytes(_not_a_number().SerializeToString())
    with pytest.raises(Malformed) as caught:
        light.onnx("inspect", model=path)
    assert caught.value.code == "model-refused"
    assert "w holds NaN" in caught.value.message


def test_inspection_describes_a_good_model(bmi: Path, light: Workplace) -> None:
    """Names, shapes and datatypes come in graph order; weights are counted."""
    assert light.onnx("inspect", model=bmi / "network.onnx") == {
        "inputs": [{"name": "habits", "shape": [1, 3], "dtype": "FP32"}],
        "outputs": [{"name": "body", "shape": [1, 2], "dtype": "FP32"}],
        "operators": ["Gemm", "Relu"],
        "parameters": 3 * 32 + 32 + 32 * 32 + 32 + 32 * 2 + 2,
    }


def test_wrapping_adds_an_input_that_nothing_consumes(bmi: Path, light: Workplace) -> None:
    """The challenge is the last input, INT64 [1, 16]; nodes and weights stay as they were; the bytes repeat."""
    first, second = light.directory / "1.onnx", light.directory / "2.onnx"
    for path in (first, second):
        light.onnx("wrap", model=bmi / "network.onnx", output=path)
    assert first.read_bytes() == second.read_bytes()
    given, wrapped = onnx.load(bmi / "network.onnx").graph, onnx.load(first).graph
    assert [value.name for value in wrapped.input] == [*[value.name for value in given.input], CHALLENGE_NAME]
    challenge = wrapped.input[-1].type.tensor_type
    assert challenge.elem_type == INT64
    assert [dim.dim_value for dim in challenge.shape.dim] == [1, 16]
    assert list(wrapped.node) == list(given.node)
    assert list(wrapped.initializer) == list(given.initializer)
    assert not any(CHALLENGE_NAME in node.input for node in wrapped.node)


def test_wrapping_twice_is_refused(bmi: Path, light: Workplace) -> None:
    """A graph that already has the reserved name is no model of ours."""
    once = light.directory / "once.onnx"
    light.onnx("wrap", model=bmi / "network.onnx", output=once)
    with pytest.raises(VerinferError) as caught:
        light.onnx("wrap", model=once, output=light.directory / "twice.onnx")
    assert caught.value.code == "model-refused"


def test_a_worker_answers_many_inferences(bmi: Path, light: Workplace) -> None:
    """A long-lived child gives the same little-endian bytes for the same input, each time."""
    worker = Child(ONNX, limits=PARSE_LIMITS, directory=light.directory)
    try:
        version = worker.ask("load", {"model": str(bmi / "network.onnx")}, seconds=30)
        assert version.startswith("onnxruntime ")
        value = base64.b64encode(np.array([1, 0.5, -1], dtype="<f4").tobytes()).decode()
        inputs = {"habits": {"value": value, "dtype": "FP32", "shape": [1, 3]}}
        answers = [worker.ask("infer", {"inputs": inputs}, seconds=30) for _ in range(3)]
    finally:
        worker.close()
    assert answers[0] == answers[1] == answers[2]
    assert np.isfinite(np.frombuffer(base64.b64decode(answers[0]["body"]), dtype="<f4")).all()


@pytest.mark.parametrize(
    "arrays",
    [
        {"other": np.zeros((2, 3))},
        {"x": np.array([["a", "b", "c"]])},
        {"x": np.zeros((2, 3), dtype=complex)},
        {"x": np.zeros((0, 3))},
        {"x": np.float64(1)},
        {"x": np.array([{}, {}])},
    ],
    ids=["no such input", "strings", "complex", "no samples", "a scalar", "pickled objects"],
)
def test_samples_that_are_not_numbers_are_refused(
    arrays: dict[str, Any], parser: Child, tmp_path: Path
) -> None:
    """A sample file holds one array of real numbers per input; nothing in it is unpickled."""
    path = tmp_path / "samples.npz"
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(ChildFailed) as caught:
        parser.ask("read_samples", {"path": str(path), "names": ["x"], "most": 10}, seconds=10)
    assert caught.value.code == "sample-malformed"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY", b"hello"])
def test_a_file_that_is_no_archive_is_refused(data: bytes, parser: Child, tmp_path: Path) -> None:
    """The same code for bytes that are no NPZ at all."""
    path = tmp_path / "samples.npz"
    path.write_bytes(data)
    with pytest.raises(ChildFailed) as caught:
        parser.ask("read_samples", {"path": str(path), "names": ["x"], "most": 10}, seconds=10)
    assert caught.value.code == "sample-malformed"


def _encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)


def _corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = data.index(b"x.npy") + 60
    data[middle : middle + 20] = bytes(20)
    path.write_bytes(data)


def _claiming(size: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.getinfo("x.npy").file_size = size
            archive.comment = b"the directory is written anew"

    return change


def _huge_shape(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**10, 3)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())


BOMBS: dict[str, Callable[[Path], None]] = {
    "unpacks to gigabytes": _claiming(2 << 30),
    "holds more than it says": _claiming(100),
    "an array of 240 GB": _huge_shape,
    "encrypted": _encrypted,
    "corrupt": _corrupt,
}


@pytest.mark.parametrize("case", BOMBS)
def test_an_archive_that_lies_is_refused(case: str, parser: Child, tmp_path: Path) -> None:
    """What an archive claims is checked before it is unpacked; the child lives, and its memory is not filled."""
    path = tmp_path / "samples.npz"
    np.savez_compressed(path, allow_pickle=False, x=np.arange(3000.0).reshape(1000, 3))
    BOMBS[case](path)
    with pytest.raises(ChildFailed) as caught:
        parser.ask("read_samples", {"path": str(path), "names": ["x"], "most": 10}, seconds=10)
    assert caught.value.code == "sample-malformed"


@pytest.mark.parametrize(
    "opsets",
    [[("", 13), ("ai.onnx", 12)], [("", 13), ("", 12)], [("ai.onnx.ml", 3)]],
    ids=["two names for one", "twice", "none"],
)
def test_one_set_of_operators_is_meant(opsets: list[tuple[str, int]], light: Workplace) -> None:
    """Readers differ in which of two versions they take, and Softmax means another thing in each."""
    path = light.directory / "model.onnx"
    model = _model(opset_imports=[helper.make_opsetid(*opset) for opset in opsets])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Malformed) as caught:
        light.onnx("inspect", model=path)
    assert caught.value.code == "model-refused"


def test_wrapping_leaves_nothing_to_interpretation(light: Workplace) -> None:
    """EZKL's importer reads a size of 0 otherwise than ONNX does, and believes what a file says of shapes inside."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    model = _model(
        nodes,
        inputs=[_value("x", [1, 2, 3])],
        outputs=[_value("y", [1, 2, 3, 1])],
        tensors=[numpy_helper.from_array(np.array([0, 2, -1, 1], np.int64), "s")],
    )
    model.graph.value_info.append(_value("t", [1, 2, 3, 1]))
    given, wrapped = light.directory / "given.onnx", light.directory / "wrapped.onnx"
    given.write_bytes(model.SerializeToString())
    light.onnx("wrap", model=given, output=wrapped)
    made = onnx.load(str(wrapped))
    assert not made.graph.value_info
    sizes = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in made.graph.initializer}
    (reshape,) = (node for node in made.graph.node if node.op_type == "Reshape")
    assert sizes[reshape.input[1]] == [1, 2, 3, 1]


def test_wrapping_drops_claims_where_nothing_else_changes(light: Workplace) -> None:
    """A file whose nodes are all plain keeps them, without what it says of the tensors between them."""
    nodes = [helper.make_node("Relu", ["x"], ["t"]), helper.make_node("Neg", ["t"], ["y"])]
    model = _model(nodes)
    model.graph.value_info.append(_value("t", [1, 3]))
    given, wrapped = light.directory / "given.onnx", light.directory / "wrapped.onnx"
    given.write_bytes(model.SerializeToString())
    light.onnx("wrap", model=given, output=wrapped)
    made = onnx.load(str(wrapped))
    assert not made.graph.value_info
    assert list(made.graph.node) == nodes


def test_an_output_that_nodes_take_claims_no_shape(light: Workplace) -> None:
    """How many rows the Slice leaves cannot be derived; what the file says of them would be believed by the Add."""
    numbers = {"f0": [0.0], "f1": [1.0], "f3": [3.0]}
    tensors = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in numbers.items()]
    tensors += [
        numpy_helper.from_array(np.zeros(1, np.int64), "zero"),
        numpy_helper.from_array(np.ones((3, 3), np.float32), "w"),
    ]
    nodes = [
        helper.make_node("Div", ["f1", "f0"], ["inf"]),
        helper.make_node("Min", ["inf", "f3"], ["three"]),
        helper.make_node("Cast", ["three"], ["end"], to=INT64),
        helper.make_node("Slice", ["w", "zero", "end", "zero"], ["f"]),
        helper.make_node("Add", ["x", "f"], ["t"]),
        helper.make_node("ReduceSum", ["t", "zero"], ["y"]),
    ]
    model = _model(nodes, outputs=[_value("y", [1, 3]), _value("f", [1, 3])], tensors=tensors)
    path = light.directory / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Malformed) as caught:
        light.onnx("inspect", model=path)
    assert caught.value.code == "model-refused"
    assert "the shape of f" in caught.value.message


def test_an_output_that_nodes_take_has_the_shape_that_they_see(light: Workplace) -> None:
    """Its declared shape is no hint for what comes after it."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    model = _model(nodes, outputs=[_value("y", [1, 4]), _value("z", [1, 3])])
    path = light.directory / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Malformed) as caught:
        light.onnx("inspect", model=path)
    assert caught.value.code == "model-refused"
