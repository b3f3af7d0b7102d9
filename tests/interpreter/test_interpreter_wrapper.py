"""What `Interpreter._interpreter` answers, asked of LiteRT and of us."""

import numpy as np
import pytest

import tflgpu
from tflgpu.model.builder import ModelBuilder

READ = {
    "NumSubgraphs": [()],
    "NumTensors": [(0,), (1,)],
    "NumNodes": [()],
    "NodeName": [(0,), (1,)],
    "NodeInputs": [(0,), (1,)],
    "NodeOutputs": [(0,), (1,)],
    "TensorName": [(0, 0), (1, 1)],
    "TensorSize": [(0, 0), (1, 1)],
    "TensorSizeSignature": [(0, 0), (1, 1)],
    "TensorType": [(0, 0), (1, 0), (1, 1)],
    "TensorQuantization": [(0, 0), (1, 0)],
    "TensorQuantizationParameters": [(0, 0), (1, 0)],
    "TensorSparsityParameters": [(0, 0)],
    "InputIndices": [()],
    "OutputIndices": [()],
    "GetSignatureDefs": [()],
    "GetSubgraphIndexFromSignature": [("first",), ("second",)],
}


def model() -> bytes:
    """first: DEQUANTIZE, then NEG; second, of another subgraph with an open dimension: ABS."""
    m = ModelBuilder()
    g, h = m.graph("first"), m.graph("second")
    x, y = g.input("x", "INT8", [2], scale=0.5, zero_point=3), g.tensor("y", "FLOAT32", [2])
    z = g.tensor("z", "FLOAT32", [2])
    g.node("DEQUANTIZE", [x], [y], version=2)
    g.node("NEG", [y], [z])
    g.outputs(z)
    a, b = h.input("a", "FLOAT32", [1], shape_signature=[-1]), h.tensor("b", "FLOAT32", [1])
    h.node("ABS", [a], [b])
    h.outputs(b)
    m.signature("first", g, {"x": x}, {"z": z})
    m.signature("second", h, {"a": a}, {"b": b})
    return m.build()


@pytest.fixture(params=["tflgpu", "litert"])
def wrapper(request):
    """The wrapper of an allocated interpreter, kept alive with it."""
    api = tflgpu if request.param == "tflgpu" else pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = api.Interpreter(
        model_content=model(), experimental_op_resolver_type=api.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    found = interpreter._interpreter
    yield found
    del interpreter


def test_it_tells_what_litert_tells():
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    theirs = litert.Interpreter(
        model_content=model(), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    ours = tflgpu.Interpreter(model_content=model())
    for interpreter in (theirs, ours):
        interpreter.allocate_tensors()
    for method, calls in READ.items():
        for arguments in calls:
            expected = getattr(theirs._interpreter, method)(*arguments)
            found = getattr(ours._interpreter, method)(*arguments)
            np.testing.assert_equal(found, expected, err_msg=f"{method}{arguments}")
            assert type(found) is type(expected), method


def test_the_forms_with_a_subgraph_run_it(wrapper):
    wrapper.ResizeInputTensor(0, np.array([3], np.int32), strict=True, subgraph_index=1)
    wrapper.AllocateTensors(1)
    wrapper.SetTensor(0, np.float32([-1, 2, -3]), 1)
    wrapper.Invoke(1)
    np.testing.assert_array_equal(wrapper.GetTensor(1, 1), np.float32([1, 2, 3]))
    wrapper.SetTensor(0, np.int8([3, 5]))
    wrapper.Invoke()
    np.testing.assert_array_equal(wrapper.GetTensor(2), np.float32([-0.0, -1]))
    wrapper.tensor(wrapper, 0)[:] = 3
    wrapper.Invoke(0)
    np.testing.assert_array_equal(wrapper.GetTensor(2, 0), np.float32([0, 0]))
    wrapper.ResetVariableTensors()


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("NodeInputs", (99,), "Invalid node index"),
        ("TensorType", (99, 0), "Invalid tensor index 99 exceeds max tensor index 3"),
        ("AllocateTensors", (4,), "Invalid subgraph index 4 exceeds max subgraph index 2"),
        ("Invoke", (3,), "Invalid subgraph index 3 exceeds max subgraph index 2"),
        ("GetSubgraphIndexFromSignature", ("third",), "No matching signature."),
    ],
)
def test_wrong_indices_are_refused(wrapper, method, arguments, text):
    with pytest.raises(ValueError, match=text):
        getattr(wrapper, method)(*arguments)


def test_the_arena_is_told():
    interpreter = tflgpu.Interpreter(model_content=model())
    assert interpreter._interpreter.ArenaUsedBytes() == 0
    interpreter.allocate_tensors()
    assert interpreter._interpreter.ArenaUsedBytes() >= 8  # y's two floats
