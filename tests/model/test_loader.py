"""What is well-formed but makes no sense is refused, in TensorFlow Lite's words where it has them."""

from __future__ import annotations

import mmap
import zipfile

import numpy as np
import pytest
from checkout import CORPUS
from sample_models import rich, small

from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import DimensionMetadata, Model, Node, Options, Sparsity, graphs_named
from tflgpu.model.loader import load
from tflgpu.model.schema import BUILTIN_OPERATORS
from tflgpu.ops.registry import OPS, check_operators

MODELS = CORPUS / "ops"


def _graph(shape=(2,), type_="FLOAT32"):
    model = ModelBuilder()
    graph = model.graph()
    return model, graph, graph.input("x", type_, shape)


def _abs(**fields):
    """A model whose node's output has these further fields."""
    model, graph, x = _graph()
    y = graph.tensor("y", fields.pop("type", "FLOAT32"), fields.pop("shape", [2]), **fields)
    graph.node("ABS", [x], [y])
    graph.outputs(y)
    return model.build()


def _constant(content, type_="FLOAT32", shape=(2,), **fields):
    model, graph, x = _graph()
    graph.tensor("c", type_, shape, buffer=model._buffer(content), **fields)
    graph.outputs(x)
    return model.build()


def _sparse(sparsity, values=3, shape=(2, 3)):
    model, graph, x = _graph()
    graph.constant("c", np.arange(values, dtype=np.float32), sparsity=sparsity, shape=shape)
    graph.outputs(x)
    return model.build()


def _csr(segments, indices, order=(0, 1), block_map=()):
    arrays = (np.array(segments, np.int32), np.array(indices, np.int32))
    return Sparsity(order, block_map, (DimensionMetadata("DENSE", 2), DimensionMetadata("SPARSE_CSR", 0, *arrays)))


def _node(inputs, outputs, op="ADD", **arguments):
    model, graph, x = _graph()
    graph.tensor("y", "FLOAT32", [2])
    graph.tensor("z", "FLOAT32", [2])
    graph.constant("c", np.ones(2, np.float32))
    graph.node(op, inputs, outputs, **arguments)
    graph.outputs(x)
    return model.build()


def _calls(*callees):
    model = ModelBuilder()
    for callee in callees:
        graph = model.graph()
        graph.node("CALL_ONCE", [], [], init_subgraph_index=callee)
    return model.build()


def _without(field):
    model, *_ = _graph()
    values = model._values(None)
    values[field] = None
    model._values = lambda offsets: values
    return model.build()


def _code(**fields):
    model, *_ = _graph()
    values = model._values(None)
    values["operator_codes"] = [fields]
    model._values = lambda offsets: values
    return model.build()


def _opcode_index(index):
    model, graph, x = _graph()
    graph.node("ABS", [x], [graph.tensor("y", "FLOAT32", [2])])
    graph.nodes[0]["opcode_index"] = index
    return model.build()


def _output_index(index):
    model, graph, _ = _graph()
    graph.tensor("y", "FLOAT32", [2])
    graph.outputs(index)
    return model.build()


def _signature(graph_index, tensor):
    model, graph, _ = _graph()
    graph.index = graph_index
    model.signature("s", graph, {"x": tensor})
    return model.build()


def _metadata():
    model, *_ = _graph()
    model._metadata.append({"name": "m", "buffer": 7})
    return model.build()


BLOCKS = {"details": ("BlockwiseQuantization", {"scales": 0, "zero_points": -1, "block_size": 2})}
MANY_AXES = {"details": ("MultiAxisQuantization", {"scales": 0, "quantized_dimensions": [0]})}

REFUSED = {
    "version 2": (
        ModelBuilder(version=2).build(),
        "Model provided is schema version 2 not equal to supported version 3.\n",
    ),
    "no graph": (ModelBuilder().build(), "No subgraph in the model.\n"),
    "no buffers": (_without("buffers"), "No buffers in the model.\n"),
    "no custom code": (_code(builtin_code="CUSTOM"), "Operator with CUSTOM builtin_code has no custom_code.\n"),
    "unknown operator": (_code(builtin_code=999), "Op builtin_code out of range: 999."),
    "operator code": (_opcode_index(5), "Missing registration for opcode_index 5\n"),
    "type": (_abs(type=77), "Unsupported data type 77 in tensor\n"),
    "negative": (_abs(shape=[2, -1]), "BytesRequired number of elements overflowed."),
    "overflow": (_abs(shape=[2**31 - 1] * 3), "BytesRequired number of elements overflowed."),
    "rank": (_abs(shape=[1] * 33), "a shape of 33 dimensions"),
    "buffer": (_abs(buffer=9), "Tensor 1 specifies out of range buffer 9 (only 1 buffers)."),
    "external": (_abs(external_buffer=1), "external files are not supported"),
    "short": (_constant(bytes(7)), "FLOAT32 [2] takes 8 bytes, its buffer has 7"),
    "short int4": (_constant(bytes(1), "INT4", [3]), "INT4 [3] takes 2 bytes, its buffer has 1"),
    "variable": (_constant(bytes(8), is_variable=True), "Tensor 1 is a variable tensor with buffer"),
    "strings": (_constant(b"\1\0\0\0\x0c\0\0\0\xff\0\0\0abc", "STRING", [1]), "offsets of a string buffer"),
    "string count": (_constant(b"\1\0\0\0\x0c\0\0\0\x0d\0\0\0a", "STRING", [2]), "STRING [2] takes 2 strings"),
    "many strings": (_constant(b"\xff\xff\xff\x7f", "STRING", [1]), "cannot hold the offsets of 2147483647"),
    "no strings": (_constant(b"", "STRING", [1]), "cannot hold the offsets"),
    "zero points": (
        _abs(quantization={"scale": [1.0], "zero_point": [1, 2]}),
        "QuantizationParam has 2 zero_point values and 1 scale values. Must have same number.",
    ),
    "no zero point": (_abs(quantization={"scale": [1.0]}), "non-null scale but null zero_point."),
    "axis": (
        _abs(scale=1.0, axis=3),
        "quantized_dimension must be in range [0, 1). Was 3.Tensor 1 has invalid quantization parameters.",
    ),
    "scales": (_abs(scale=[1, 2, 3]), "num_scales must be 1 for per-layer quantization, or 2 for per-axis"),
    "blockwise scales": (_abs(quantization=BLOCKS), "blockwise scales must be a constant tensor, is 0 of 2"),
    "blocks": (_abs(shape=[3], quantization=BLOCKS), "blocks of 2 do not divide the rows of [3]"),
    "many axes": (_abs(quantization=MANY_AXES), "MultiAxisQuantization is not supported"),
    "segments fall": (_sparse(_csr([0, 3, 2], [1, 0])), "sparse dimension 1 must have 3 rising segments"),
    "segments": (_sparse(_csr([0, 3], [1, 0, 2])), "sparse dimension 1 must have 3 rising segments, has 2"),
    "sparse index": (_sparse(_csr([0, 1, 3], [1, 0, 3])), "sparse dimension 1 must have 3 indices below 3"),
    "sparse values": (_sparse(_csr([0, 1, 3], [1, 0, 2]), values=2), "takes 12 bytes, its buffer has 8"),
    "sparse order": (_sparse(_csr([0, 1, 3], [1, 0, 2], order=(0, 0))), "traversal order [0, 0] must permute 2"),
    "block map": (_sparse(_csr([0, 1, 3], [1, 0, 2], block_map=(0,))), "1 blocks"),
    "input index": (_node([0, 9], [1]), "Invalid tensor index 9 in node inputs. The subgraph has 4 tensors\n"),
    "output index": (_node([0, 0], [-1]), "Invalid tensor index -1 in node outputs. The subgraph has 4 tensors\n"),
    "overlap": (_node([0, 1], [1]), "Tensor 1 is both input 1 and output 0\n"),
    "not produced": (_node([0, 1], [2]), "Input tensor 1 to op 0 (ADD) is not produced"),
    "no output": (_output_index(1), "Output tensor 1 of subgraph 0 is not produced"),
    "writes constant": (_node([0, 0], [3]), "Output tensor 3 to op 0 (ADD) is a constant"),
    "writes input": (_node([3, 3], [0]), "Output tensor 0 to op 0 (ADD) is a subgraph input"),
    "enum": (_node([0, 0], [1], fused_activation_function=77), "fused_activation_function 77 has no meaning"),
    "callee": (_calls(7), "calls subgraph 7 of 1"),
    "circle": (_calls(1, 2, 0), "subgraphs [0, 1, 2] call each other in a cycle"),
    "self": (_calls(0), "subgraphs [0] call each other in a cycle"),
    "signature graph": (_signature(3, 0), "signature 's': subgraph 3 of 1"),
    "signature tensor": (_signature(0, 9), "Invalid tensor index 9 in signature 's'"),
    "metadata": (_metadata(), "Metadata specifies out of range buffer 7"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(case):
    data, text = REFUSED[case]
    with pytest.raises(ValueError) as caught:
        load(content=data)
    assert text in str(caught.value)


SAME_TEXT = "version_2 no_graph type variable zero_points no_zero_point axis scales buffer unknown_operator"


@pytest.mark.parametrize("case", SAME_TEXT.split())
def test_litert_says_the_same(case):
    module = pytest.importorskip("ai_edge_litert.interpreter")
    data, text = REFUSED[case.replace("_", " ")]
    with pytest.raises(ValueError) as caught:
        module.Interpreter(model_content=data)
    assert text.rstrip("\n") in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError) as caught:
        load("/no/such/model.tflite")
    assert str(caught.value).startswith("Could not open '/no/such/model.tflite'.The model allocation is null/empty\n")
    assert "No such file or directory" in str(caught.value)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(ValueError, match="The model allocation is null/empty"):
        load(tmp_path / "empty.tflite")


def test_an_offset_beyond_the_file_is_refused():
    with pytest.raises(ValueError, match="Constant buffer .* specified an out of range offset"):
        load(content=rich(external=True)[:-1])


def test_more_than_is_needed_may_lie_in_a_buffer():
    tensor = load(content=_constant(np.arange(5, dtype=np.float32).tobytes())).graphs[0].tensors[1]
    assert tensor.data.tolist() == [0, 1]


def test_an_empty_tensor_needs_no_one_to_write_it():
    model, graph, x = _graph()
    y = graph.tensor("y", "FLOAT32", [2])
    graph.node("CONCATENATION", [x, graph.tensor("none", "FLOAT32", [0])], [y])
    graph.outputs(y)
    assert load(content=model.build()).graphs[0].nodes[0].inputs[1].data is None


def test_the_operator_code_is_the_greater_of_the_two_fields():
    assert load(content=small()).graphs[0].nodes[0].op == "ADD"
    model, graph, x = _graph()
    y = graph.tensor("y", "FLOAT32", [2])
    graph.node("STABLEHLO_CBRT", [x], [y])
    assert load(content=model.build()).graphs[0].nodes[0].op == "STABLEHLO_CBRT"


def test_without_an_options_table_the_defaults_hold():
    model, graph, x = _graph((1, 4, 4, 1))
    weights = graph.constant("w", np.zeros((1, 1, 1, 1), np.float32))
    graph.node("CONV_2D", [x, weights], [graph.tensor("y", "FLOAT32", [1])], without_options=True)
    graph.node("ADD", [x, x], [graph.tensor("z", "FLOAT32", [1])], without_options=True)
    conv, add = load(content=model.build()).graphs[0].nodes
    assert (conv.options.dilation_w_factor, conv.options.padding, conv.options.stride_w) == (1, "SAME", 0)
    assert add.options.pot_scale_int16 is False


def test_an_operator_that_is_not_registered_is_named():
    model = load(content=_node([0], [1], op="RELU", version=99))
    with pytest.raises(ValueError) as caught:
        check_operators(model)
    assert "Didn't find op for builtin opcode 'RELU' version '99'. An older version" in str(caught.value)
    assert "\nRegistration failed.\n" in str(caught.value)


def test_an_operator_that_no_node_uses_must_be_there_too():
    model = load(content=_code(builtin_code="RELU", deprecated_builtin_code=19, version=99))
    with pytest.raises(ValueError, match="Didn't find op for builtin opcode 'RELU' version '99'"):
        check_operators(model)


def test_the_versions_that_are_supported_are_named():
    op = next(name for name in OPS if name in BUILTIN_OPERATORS)
    with pytest.raises(ValueError, match=f"{op}: versions up to {OPS[op].version} are supported"):
        check_operators(load(content=_node([0], [1], op=op, version=77)))


def test_an_unknown_custom_operator_is_not_yet_an_error():
    model, graph, x = _graph()
    graph.custom("NoSuchThing", [x], [graph.tensor("y", "FLOAT32", [2])])
    check_operators(load(content=model.build()))


def test_constants_are_read_only_views_of_the_content():
    content = rich()
    file = np.frombuffer(content, np.uint8)
    tensors = [t for g in load(content=content).graphs for t in g.tensors if t.data is not None and t.data.size]
    assert not any(t.data.flags.writeable for t in tensors)
    viewed = [t.type for t in tensors if np.shares_memory(t.data, file)]
    assert set(viewed) == {t.type for t in tensors} - {"INT4", "STRING"}


def test_a_misaligned_constant_is_copied():
    content = small()
    shifted = memoryview(b"\0\0" + content)[2:]
    tensor = load(content=shifted).graphs[0].tensors[2]
    assert tensor.data.flags.aligned and tensor.data.tolist() == [0, 1, 2]


def test_a_large_file_is_mapped_and_not_read(tmp_path):
    model, graph, _ = _graph()
    graph.constant("w", np.zeros(50_000_000, np.uint8))
    path = tmp_path / "large.tflite"
    path.write_bytes(model.build())
    owner = load(path).graphs[0].tensors[1].data
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, memoryview) and isinstance(owner.obj, mmap.mmap)


@pytest.mark.skipif(not MODELS.exists(), reason="the corpus of models is not beside the repository")
@pytest.mark.parametrize("archive", ["op_tests", "op_tests_quant", "handmade", "resized", "upstream_models"])
def test_models_that_others_made_load(archive):
    with zipfile.ZipFile(MODELS / f"{archive}.zip") as models:
        names = sorted(name for name in models.namelist() if name.endswith(".tflite"))
        for name in names[:: len(names) // 20]:
            model = load(content=models.read(name))
            assert isinstance(model, Model) and model.graphs[0].tensors, name


@pytest.mark.parametrize("options", [{"subgraph": 2}, {"body_subgraph_index": 2}, {"branch_subgraph_indices": [2]}])
def test_graphs_that_a_node_calls_are_found_under_every_name_of_the_schema(options):
    assert graphs_named(Node(0, "X", 1, Options(**options), (), ())) == [2]
