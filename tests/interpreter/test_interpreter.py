"""The interpreter's behaviour: each test runs on LiteRT's Interpreter as well as on ours."""

import enum
import threading

import numpy as np
import pytest
from add_model import ONES, add_model, allocated

import tflgpu
from tflgpu.model.builder import ModelBuilder


def test_runs(api):
    it = allocated(api)
    it.set_tensor(0, ONES * 2)
    it.set_tensor(1, ONES * 3)
    assert it.invoke() is None
    np.testing.assert_array_equal(it.get_tensor(it.get_output_details()[0]["index"]), ONES * 10)


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({}, ValueError, "`model_path` or `model_content` must be specified."),
        ({"model_content": b""}, ValueError, "`model_path` or `model_content` must be specified."),
        ({"model_path": "a", "model_content": b"b"}, ValueError, "Can't both provide `model_path` and `model_content`"),
        ({"model_path": "/no/such"}, ValueError, "Could not open '/no/such'.The model allocation is null/empty"),
        ({"model_content": b"not a model at all"}, ValueError, "The model is not a valid Flatbuffer buffer"),
        ({"model_content": "text"}, TypeError, ""),
        ({"model_path": "", "model_content": b"not a model at all"}, ValueError, "not a valid Flatbuffer buffer"),
        ({"num_threads": "1"}, ValueError, "type of num_threads should be int"),
        ({"num_threads": 0}, ValueError, "num_threads should >= 1"),
        ({"experimental_op_resolver_type": 5}, ValueError, "Unrecognized passed in op resolver type: 5"),
    ],
)
def test_constructor_refuses(api, arguments, error, text):
    if "model_content" not in arguments and "model_path" not in arguments and arguments:
        arguments = {"model_content": add_model(), **arguments}
    with pytest.raises(error) as caught:
        api.Interpreter(**arguments)
    assert text in str(caught.value)


def test_newer_version_is_refused_in_the_constructor(api):
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [1])
    y = g.tensor("y", "FLOAT32", [1])
    g.node("RELU", [x], [y], version=99)
    g.outputs(y)
    with pytest.raises(ValueError, match="Didn't find op for builtin opcode 'RELU' version '99'"):
        api.Interpreter(model_content=m.build())


def test_missing_custom_op_is_named_at_allocation(api):
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [1])
    y = g.tensor("y", "FLOAT32", [1])
    g.custom("Foo", [x], [y], options=b"")
    g.outputs(y)
    it = api.Interpreter(model_content=m.build())
    with pytest.raises(RuntimeError, match=r"(?s)unresolved custom op: Foo.*Node number 0 \(Foo\) failed to prepare"):
        it.allocate_tensors()


def test_details_have_the_same_keys_in_the_same_order(api):
    it = allocated(api)
    d = it.get_input_details()[0]
    assert list(d) == [
        "name", "index", "shape", "shape_signature", "dtype", "quantization", "quantization_parameters",
        "sparsity_parameters",
    ]  # fmt: skip
    assert list(d["quantization_parameters"]) == ["scales", "zero_points", "quantized_dimension", "block_size"]
    assert d["dtype"] is np.float32 and d["quantization"] == (0.0, 0) and d["sparsity_parameters"] == {}
    assert d["shape"].dtype == np.int32 and it.get_tensor_details()[2]["name"] == "t"


def test_op_details(api):
    it = allocated(api)
    details = it._get_ops_details()[:2]
    assert [d["op_name"] for d in details] == ["ADD", "MUL"]
    assert details[0]["inputs"].tolist() == [0, 1] and details[0]["operand_types"] == [np.float32] * 2


def test_preserve_all_tensors_preserves_intermediates(api):
    it = allocated(api, experimental_preserve_all_tensors=True, **reference(api))
    it.set_tensor(0, ONES * 2)
    it.set_tensor(1, ONES * 3)
    it.invoke()
    np.testing.assert_array_equal(it.get_tensor(2), ONES * 5)


def reference(api):
    return {"experimental_op_resolver_type": api.OpResolverType.BUILTIN_REF}


def test_signatures(api):
    it = api.Interpreter(model_content=add_model(signature=["run"]))
    assert it.get_signature_list() == {"run": {"inputs": ["a", "b"], "outputs": ["out"]}}
    assert it._get_full_signature_list() == {"run": {"inputs": {"a": 1, "b": 0}, "outputs": {"out": 3}}}
    runner = it.get_signature_runner()
    assert runner._subgraph_index == 0
    np.testing.assert_array_equal(runner(a=ONES, b=ONES * 2)["out"], ONES * 6)
    np.testing.assert_array_equal(runner(a=np.ones(4, np.float32), b=np.ones(4, np.float32))["out"], np.full(4, 2.0))
    assert list(runner.get_input_details()) == ["a", "b"] and runner.get_output_details()["out"]["name"] == "z"


@pytest.mark.parametrize(
    "inputs, error, text",
    [
        ({}, ValueError, "expected 2 vs provided 0"),
        ({"a": ONES, "z": ONES}, ValueError, "Invalid Input name (z) for SignatureDef"),
        ({"a": [1.0], "b": ONES}, AttributeError, "shape"),
    ],
)
def test_signature_runner_refuses(api, inputs, error, text):
    runner = api.Interpreter(model_content=add_model(signature=["run"])).get_signature_runner("run")
    with pytest.raises(error) as caught:
        runner(**inputs)
    assert text in str(caught.value)


def test_signature_runner_needs_a_key_that_is_there(api):
    it = api.Interpreter(model_content=add_model())
    assert it.get_signature_list() == {}
    with pytest.raises(ValueError, match="signature_key is None and model has 0 Signatures"):
        it.get_signature_runner()
    with pytest.raises(ValueError, match='Invalid signature_key provided: "no".'):
        it.get_signature_runner("no")


def passing_through():
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2])
    y = g.tensor("y", "FLOAT32", [2])
    g.node("NEG", [x], [y])
    g.outputs(x, y)
    return m.build()


def test_an_input_that_is_an_output(api):
    it = allocated(api, passing_through())
    it.set_tensor(0, np.array([1, -2], np.float32))
    it.invoke()
    assert [it.get_tensor(d["index"]).tolist() for d in it.get_output_details()] == [[1, -2], [-1, 2]]


def test_model_path_may_be_a_path_object(api, tmp_path):
    path = tmp_path / "add.tflite"
    path.write_bytes(add_model())
    it = api.Interpreter(model_path=path)
    it.allocate_tensors()
    assert it.num_subgraphs() == 1


def test_no_delegate_is_an_attribute_error(api):
    with pytest.raises(AttributeError):
        api.Interpreter(model_content=add_model(), experimental_delegates=[object()])


def test_a_constant_cannot_be_overwritten_silently():
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2])
    c = g.constant("c", np.array([1, 2], np.float32))
    y = g.tensor("y", "FLOAT32", [2])
    g.node("ADD", [x, c], [y])
    g.outputs(y)
    it = allocated(tflgpu, m.build())
    with pytest.raises(ValueError, match="constant"):
        it.set_tensor(c, np.zeros(2, np.float32))
    np.testing.assert_array_equal(it.get_tensor(c), [1, 2])


def test_one_interpreter_a_thread_gives_each_its_own_results():
    data, results = add_model((64, 64)), {}

    def work(k):
        it = allocated(tflgpu, data)
        it.set_tensor(0, np.full((64, 64), k, np.float32))
        it.set_tensor(1, np.full((64, 64), 1, np.float32))
        for _ in range(50):
            it.invoke()
        results[k] = it.get_tensor(it.get_output_details()[0]["index"])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in range(4):
        np.testing.assert_array_equal(results[k], np.full((64, 64), (k + 1) * k))


def test_a_second_thread_in_one_interpreter_is_told():
    inside, go_on = threading.Event(), threading.Event()

    def wait(node, x):
        inside.set()
        assert go_on.wait(10)
        return x

    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2])
    y = g.tensor("y", "FLOAT32", [2])
    g.custom("Waits", [x], [y], options=b"")
    g.outputs(y)
    op = tflgpu.custom_op("Waits", wait, lambda node: [node.input(0).shape], register=False)
    it = tflgpu.InterpreterWithCustomOps(custom_op_registerers=[op], model_content=m.build())
    it.allocate_tensors()
    thread = threading.Thread(target=it.invoke)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(RuntimeError, match="running in another thread"):
        it.invoke()
    go_on.set()
    thread.join()
    it.invoke()


def test_an_enum_of_another_module_is_taken_by_the_name_of_its_member():
    other = enum.Enum("OpResolverType", {"AUTO": 0, "BUILTIN_WITHOUT_DEFAULT_DELEGATES": 3, "ELSE": 4})
    data = add_model()
    tflgpu.Interpreter(model_content=data, experimental_op_resolver_type=other.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    for wrong in (other.ELSE, enum.Enum("Other", {"AUTO": 0}).AUTO, "AUTO", 0):
        with pytest.raises(ValueError, match="Unrecognized passed in op resolver type"):
            tflgpu.Interpreter(model_content=data, experimental_op_resolver_type=wrong)


def test_model_content_may_be_an_array(tmp_path):
    content = add_model()
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    words = np.frombuffer(content + bytes(-len(content) % 4), np.uint32)
    for given in (np.frombuffer(content, np.uint8), np.memmap(path, np.uint8, "r"), np.fromfile(path, np.int8), words):
        interpreter = tflgpu.Interpreter(model_content=given)
        interpreter.allocate_tensors()
        interpreter.invoke()
    with pytest.raises(ValueError, match="must be specified"):
        tflgpu.Interpreter(model_content=np.zeros(0, np.uint8))
    with pytest.raises(ValueError, match="Can't both provide"):
        tflgpu.Interpreter(model_path=path, model_content=np.zeros(4, np.uint8))
