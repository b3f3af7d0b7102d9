"""CompiledModel's behaviour: most tests run on LiteRT's as well as on ours."""

from __future__ import annotations

import numpy as np
import pytest

import tflgpu.accelerators
import tflgpu.compiled_model
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder


def model(signatures: bool = True) -> bytes:
    """main: tp = tx + ty and to = tx - ty, under two signatures; other, with an open dimension: b = |a|."""
    m = ModelBuilder()
    g, h = m.graph("main"), m.graph("other")
    x, y = g.input("tx", "FLOAT32", [1, 2]), g.input("ty", "FLOAT32", [1, 2])
    o, p = g.tensor("to", "FLOAT32", [1, 2]), g.tensor("tp", "FLOAT32", [1, 2])
    g.node("SUB", [x, y], [o])
    g.node("ADD", [x, y], [p])
    g.outputs(p, o)
    a, b = h.input("a", "FLOAT32", [1], shape_signature=[-1]), h.tensor("b", "FLOAT32", [1])
    h.node("ABS", [a], [b])
    h.outputs(b)
    if signatures:
        m.signature("z", g, {"b": y, "a": x}, {"d": p, "c": o})
        m.signature("y", g, {"q": x, "p": y}, {"s": o, "r": p})
        m.signature("other", h, {"a": a}, {"b": b})
    return m.build()


@pytest.fixture(params=["tflgpu", "litert"])
def api(request):
    if request.param == "tflgpu":
        return tflgpu.compiled_model
    return pytest.importorskip("ai_edge_litert.compiled_model")


def made(api, data: bytes | None = None, **arguments):
    return api.CompiledModel.from_buffer(model() if data is None else data, **arguments)


def test_signatures_stand_in_the_order_of_the_model_and_names_in_that_of_the_subgraph(api):
    compiled = made(api)
    assert list(compiled.get_signature_list().items()) == [
        ("z", {"inputs": ["a", "b"], "outputs": ["d", "c"]}),
        ("y", {"inputs": ["q", "p"], "outputs": ["r", "s"]}),
        ("other", {"inputs": ["a"], "outputs": ["b"]}),
    ]
    assert compiled.get_num_signatures() == 3
    assert compiled.get_signature_by_index(1) == {"key": "y", "inputs": ["q", "p"], "outputs": ["r", "s"]}
    assert [compiled.get_signature_index(key) for key in ("z", "y", "other", "none")] == [0, 1, 2, -1]
    assert compiled.get_input_tensor_details("y") == {
        "q": {"name": "tx", "index": 0, "dtype": "float32", "shape": [1, 2]},
        "p": {"name": "ty", "index": 1, "dtype": "float32", "shape": [1, 2]},
    }
    assert list(compiled.get_output_tensor_details("z")) == ["d", "c"]


def test_a_model_without_signatures_has_one(api):
    compiled = made(api, model(signatures=False))
    names = {"inputs": ["tx", "ty"], "outputs": ["tp", "to"]}
    assert compiled.get_signature_list() == {"<placeholder signature>": names}


@pytest.mark.parametrize("by", ["index", "name"])
def test_it_runs_between_buffers(api, by):
    with made(api) as compiled:
        inputs, outputs = compiled.create_input_buffers(1), compiled.create_output_buffers(1)
        inputs[0].write(np.float32([[5, 1]]))
        inputs[1].write(np.float32([3, 2]))
        if by == "index":
            compiled.run_by_index(1, inputs, outputs)
        else:
            inputs, outputs = {"p": inputs[1], "q": inputs[0]}, {"s": outputs[1], "r": outputs[0]}
            compiled.run_by_name("y", inputs, outputs)
            outputs = outputs["r"], outputs["s"]
        np.testing.assert_array_equal(outputs[0].read(2, np.float32), [8, 3])
        np.testing.assert_array_equal(outputs[1].read(1, np.float32), [2])


def test_an_open_dimension_is_resized_and_its_buffers_have_the_new_shape(api):
    compiled = made(api)
    compiled.resize_input_tensor_by_name("other", "a", [3])
    assert compiled.get_input_tensor_details("other")["a"]["shape"] == [3]
    assert compiled.get_input_buffer_requirements(0, 2) == {"buffer_size": 12, "supported_types": [1]}
    x = compiled.create_input_buffer_by_name("other", "a")
    assert x.get_tensor_details() == {"dtype": "float32", "shape": [3]}
    x.write(np.float32([-1, 2, -3]))
    (y,) = compiled.create_output_buffers(2)
    compiled.run_by_index(2, [x], [y])
    np.testing.assert_array_equal(y.read(3, np.float32), [1, 2, 3])
    with pytest.raises(RuntimeError):
        compiled.resize_input_tensor(0, [2, 2], 0)
    with pytest.raises(ValueError, match="Unknown signature: none"):
        compiled.resize_input_tensor_by_name("none", "a", [3])
    with pytest.raises(ValueError, match="Unknown input 'b' for signature 'other'"):
        compiled.resize_input_tensor_by_name("other", "b", [3])


def test_buffers_hold_no_more_than_their_bytes(api):
    x = made(api).create_input_buffers(0)[0]
    with pytest.raises(RuntimeError, match="source buffer is larger than the tensor buffer"):
        x.write(np.zeros(3, np.float32))
    with pytest.raises(RuntimeError, match="destination buffer is larger than the tensor buffer"):
        x.read(3, np.float32)
    with pytest.raises(ValueError, match="must be a NumPy array"):
        x.write([1, 2])
    x.write(np.float32([1, -2])[::-1])
    np.testing.assert_array_equal(x.read(2, np.int32), np.float32([-2, 1]).view(np.int32))
    x.destroy()
    with pytest.raises(RuntimeError):
        x.read(1, np.float32)


def test_host_memory_is_a_buffer_whose_size_an_open_dimension_takes(api):
    compiled = made(api)
    y = api.TensorBuffer.create_from_host_memory(np.zeros(3, np.float32))
    for values in ([-1.0, 2.0, -3.0], [5.0]):
        x = api.TensorBuffer.create_from_host_memory(np.float32(values))
        compiled.run_by_name("other", {"a": x}, {"b": y})
        np.testing.assert_array_equal(y.read(len(values), np.float32), np.abs(values))
    small, closed = (api.TensorBuffer.create_from_host_memory(np.zeros(n, np.float32)) for n in (1, 4))
    with pytest.raises(RuntimeError):
        compiled.run_by_index(0, [closed, closed], [small, small])
    with pytest.raises(ValueError, match="must be C-contiguous"):
        api.TensorBuffer.create_from_host_memory(np.zeros((4, 4), np.float32)[:, ::2])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m: m.get_input_tensor_details("none"),
        lambda m: m.create_input_buffer_by_name("z", "none"),
        lambda m: m.create_output_buffer_by_name("none", "d"),
        lambda m: m.get_output_buffer_requirements(7, 0),
        lambda m: m.run_by_index(9, m.create_input_buffers(0), m.create_output_buffers(0)),
        lambda m: m.run_by_index(0, [], m.create_output_buffers(0)),
        lambda m: m.run_by_name("none", {}, {}),
    ],
)
def test_what_is_not_there_is_a_runtime_error(api, wrong):
    with pytest.raises(RuntimeError):
        wrong(made(api))


def test_a_model_that_cannot_be_loaded_is_a_runtime_error(api, tmp_path):
    with pytest.raises(RuntimeError, match="Failed to load model from buffer"):
        made(api, b"no model")
    with pytest.raises(RuntimeError, match="Failed to load model from file"):
        api.CompiledModel.from_file(str(tmp_path / "none.tflite"))
    with pytest.raises(ValueError, match="Pass either options or hardware_accel, not both"):
        made(api, options=api.Options(), hardware_accel=api.HardwareAccelerator.CPU)


def test_options_of_litert_are_taken():
    litert = pytest.importorskip("ai_edge_litert.compiled_model")
    options = litert.Options(litert.HardwareAccelerator.CPU, litert.CpuOptions(num_threads=2))
    assert made(tflgpu.compiled_model, options=options).is_fully_accelerated()
    buffer = litert.TensorBuffer.create_from_host_memory(np.float32([[5, 1]]))
    compiled = made(tflgpu.compiled_model)
    outputs = compiled.create_output_buffers(0)
    compiled.run_by_index(0, [buffer, buffer], outputs)
    np.testing.assert_array_equal(outputs[0].read(2, np.float32), [10, 2])


def test_the_gpu_is_our_best_delegate_and_alone_it_must_run_everything(monkeypatch):
    asked = []

    def load(name, options):
        asked.append((name, dict(options)))
        if name == "cuda":
            raise ValueError("no cuda here")
        return load_delegate(name, options)

    pytest.importorskip("pyopencl")
    monkeypatch.setattr(tflgpu.accelerators, "load_delegate", load)
    accelerator = tflgpu.compiled_model.HardwareAccelerator
    compiled = made(tflgpu.compiled_model, hardware_accel=accelerator.GPU)
    assert compiled.is_fully_accelerated()
    assert asked == [("cuda", {"require_full": True}), ("opencl", {"require_full": True})]
    made(tflgpu.compiled_model, hardware_accel=accelerator.GPU | accelerator.CPU)
    assert asked[2:] == [("cuda", {}), ("opencl", {})]
    with pytest.raises(RuntimeError, match="no NPU delegate"):
        made(tflgpu.compiled_model, hardware_accel=accelerator.NPU | accelerator.CPU)


def test_nodes_left_to_the_cpu_are_told():
    pytest.importorskip("pyopencl")
    delegate = load_delegate("opencl", {"only_ops": "ADD"})
    compiled = made(tflgpu.compiled_model, delegates=[delegate])
    assert not compiled.is_fully_accelerated()
    alone = load_delegate("opencl", {"only_ops": "ADD", "require_full": True})
    with pytest.raises(RuntimeError, match="require_full, but 1 nodes are left"):
        made(tflgpu.compiled_model, delegates=[alone])


def test_strings_have_no_buffer():
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "STRING", [2]), g.tensor("y", "STRING", [1, 2])
    g.node("EXPAND_DIMS", [x, g.constant("axis", np.int32(0))], [y])
    g.outputs(y)
    with pytest.raises(RuntimeError, match="strings, for which there are no buffers"):
        made(tflgpu.compiled_model, m.build()).create_input_buffers(0)


def test_a_closed_model_says_so():
    compiled = made(tflgpu.compiled_model)
    compiled.close()
    with pytest.raises(RuntimeError, match="closed"):
        compiled.create_input_buffers(0)
