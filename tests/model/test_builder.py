"""Files that the builder makes: LiteRT reads and runs them, and the loader gives back what went in."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from oracle import assert_same, litert, one_op
from sample_models import ATTRIBUTES, CSR, rich, small

from tflgpu.model.builder import ModelBuilder
from tflgpu.model.loader import load

BOTH = pytest.mark.parametrize("external", [False, True], ids=["inside", "outside"])
X = np.array([[1, 20, -30, 4]], np.int8)
# The reference resolver (as the others) runs this model: all of its operators are there.
RICH_STRINGS = np.array([[b"one"], ["zw\u00f6lf".encode()], [b""]], object)


def test_a_built_model_runs_in_litert():
    x = np.array([[-9, 1, 2], [3, 4, 5]], np.float32)
    assert_same(litert(small(), [x]), [np.clip(x + np.arange(3, dtype=np.float32), 0, 6)])


@BOTH
def test_a_model_with_everything_runs_in_litert(external):
    composed, strings, dense = litert(rich(external=external), [X])
    assert composed.sum() >= 40
    assert_same([strings, dense], [RICH_STRINGS, np.array([[0, 1, 0], [2, 0, 3]], np.float32)])


@BOTH
def test_the_loader_gives_back_what_was_built(external):
    model = load(content=rich(external=external))
    main, cond, body, _ = model.graphs
    tensors = {t.name: t for t in main.tensors}
    assert [g.name for g in model.graphs] == ["main", "cond", "body", "inside"]
    assert (model.version, model.description, model.metadata) == (3, "rich", {"note": b"what this is"})
    assert [n.op for n in main.nodes][:4] == ["FULLY_CONNECTED", "DEQUANTIZE", "ADD", "WHILE"]
    assert (tensors["x"].scale, tensors["x"].zero_point, tensors["x"].type) == (0.5, 3, "INT8")
    np.testing.assert_array_equal(tensors["weights"].data, [[1, -2, 3, -4], [7, -8, 0, 5]])
    np.testing.assert_array_equal(tensors["weights"].quantization.scale, [0.5, 0.25])
    assert tensors["weights"].quantization.per_channel and tensors["weights"].dtype == np.int8
    assert tensors["strings"].data.tolist() == [b"one", "zw\u00f6lf".encode(), b""]
    assert tensors["state"].is_variable and tensors["state"].data is None
    assert tensors["sparse"].shape == (2, 3) and tensors["sparse"].data.tolist() == [1, 2, 3]
    read, written = tensors["sparse"].sparsity, CSR
    assert (read.traversal_order, read.block_map) == (written.traversal_order, written.block_map)
    assert read.dim_metadata[1].array_indices.tolist() == [1, 0, 2]
    assert tensors["blocks"].quantization.block_size == 32
    np.testing.assert_array_equal(tensors["blocks"].quantization.scale, [[0.5, 0.25], [1, 2]])
    assert (main.nodes[0].version, main.nodes[0].options.fused_activation_function) == (12, "RELU")
    assert main.nodes[0].options.weights_format == "DEFAULT"
    assert (main.nodes[3].options.cond_subgraph_index, main.nodes[3].options.body_subgraph_index) == (1, 2)
    assert (main.nodes[4].options.name, main.nodes[4].options.composite_attributes) == ("tests.abs", ATTRIBUTES)
    assert main.nodes[5].options.new_shape == (3, 1)
    assert cond.outputs == (cond.nodes[-1].outputs[0].index,)
    assert model.signatures["step"].graph == body.index
    assert list(model.signatures["serving_default"].outputs) == ["d", "s", "y"]


def test_the_same_input_gives_the_same_bytes():
    assert rich() == rich()


def test_the_loader_and_litert_see_the_same_signatures_and_details():
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=rich())
    model = load(content=rich())
    theirs = interpreter.get_signature_list()
    ours = {k: {"inputs": list(s.inputs), "outputs": list(s.outputs)} for k, s in model.signatures.items()}
    assert ours == theirs
    for detail, spec in zip(interpreter.get_tensor_details(), model.graphs[0].tensors, strict=False):
        assert (detail["index"], detail["name"], tuple(detail["shape"])) == (spec.index, spec.name, spec.shape)


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("options", [b"", b"\x01\x02\x03 anything"])
def test_custom_options_come_back(external, options):
    model = ModelBuilder()
    graph = model.graph()
    x, y = graph.input("x", "FLOAT32", [1]), graph.tensor("y", "FLOAT32", [1])
    graph.custom("Own", [x, None], [y], options=options, version=4)
    graph.outputs(y)
    (node,) = load(content=model.build(external=external)).graphs[0].nodes
    assert (node.op, node.version, node.is_custom, node.custom_options) == ("Own", 4, True, options)
    assert node.inputs[1] is None and node.optional(1) is None


TYPES = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "FLOAT64": np.float64,
    "INT64": np.int64,
    "UINT64": np.uint64,
    "INT32": np.int32,
    "UINT32": np.uint32,
    "INT16": np.int16,
    "UINT16": np.uint16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
    "COMPLEX64": np.complex64,
    "COMPLEX128": np.complex128,
}


@pytest.mark.parametrize("type_", TYPES)
def test_a_constant_has_the_type_of_its_dtype(type_):
    value = np.array([[0, 1, 2], [3, 5, 1]]).astype(TYPES[type_])
    tensor = load(content=_constant(value)).graphs[0].tensors[0]
    assert tensor.type == type_ and tensor.data.dtype == tensor.dtype
    np.testing.assert_array_equal(tensor.data, value)


@pytest.mark.parametrize(("type_", "low", "high"), [("INT4", -8, 7), ("UINT4", 0, 15), ("INT2", -2, 1)])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 17])
def test_narrow_integers_pack_low_bits_first_and_come_back(type_, low, high, count):
    value = np.resize(np.arange(low, high + 1), count)
    tensor = load(content=_constant(value, type=type_)).graphs[0].tensors[0]
    assert tensor.data.dtype == tensor.dtype
    np.testing.assert_array_equal(tensor.data, value)


def test_litert_reads_4_bit_constants_as_we_pack_them():
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    value = np.array([[-8, 7, 3], [0, -1, 5]], np.int8)
    read = interpreter(model_content=_constant(value, type="INT4")).get_tensor(0)
    np.testing.assert_array_equal(read, value)


def test_bfloat16_constants_arrive_as_their_bits():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    value = np.array([1, -2.5, 3e38], ml_dtypes.bfloat16)
    tensor = load(content=_constant(value)).graphs[0].tensors[0]
    assert tensor.type == "BFLOAT16"
    np.testing.assert_array_equal(tensor.data, value.view(np.uint16))


def _constant(value, **arguments):
    model = ModelBuilder()
    graph = model.graph()
    graph.constant("value", value, **arguments)
    graph.outputs(graph.input("x", "FLOAT32", [1]))
    return model.build()


def test_an_unknown_option_or_operator_is_refused():
    with pytest.raises(TypeError, match="AddOptions has no field stride_w; it has: fused_activation_function"):
        one_op("ADD", [], [], stride_w=1)
    with pytest.raises(TypeError, match="RELU has no options, got alpha"):
        one_op("RELU", [], [], alpha=1)
    with pytest.raises(ValueError, match="NO_SUCH_OP"):
        one_op("NO_SUCH_OP", [], [])


def test_one_op_makes_inputs_constants_and_variables():
    x = {"type": "FLOAT32", "shape": [2, 3]}
    data = one_op("CONCATENATION", [x, np.ones((1, 3), np.float32)], [{**x, "shape": [3, 3]}], axis=0)
    (out,) = litert(data, [np.zeros((2, 3), np.float32)])
    assert out.sum() == 3
    graph = load(content=data).graphs[0]
    assert graph.inputs == (0,) and graph.tensors[1].data is not None
    assert sys.getrefcount(data) > 2  # the views keep the file alive
