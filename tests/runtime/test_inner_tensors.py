"""Tensors inside what delegates run: preserved they have the CPU's values, otherwise the error says where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import TestedDevice
from flatbuffers import flexbuffers
from loop_models import counted, loop
from opencl_runtimes import require_intel

import tflgpu
from tflgpu.delegation.delegate import Limits
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Array

NONE = {"fused_activation_function": "NONE"}
CONV = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1}


def filtered() -> bytes:
    """What passes fuse: a padding before a convolution, an epilogue, element-wise chains, a softmax, aliases."""
    r = np.random.default_rng(0)
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [1, 6, 6, 3])
    made = iter([g.tensor(f"t{i}", "FLOAT32", shape) for i, shape in enumerate([
        [1, 8, 8, 3], [1, 6, 6, 8], [1, 6, 6, 8], [1, 6, 6, 8], [1, 6, 6, 8], [1, 288], [1, 10], [1, 10],
    ])])  # fmt: skip

    def node(op: str, inputs: list[int], **options: Any) -> int:
        output = next(made)
        g.node(op, inputs, [output], **options)
        return output

    y = node("PAD", [x, g.constant("pads", np.int32([[0, 0], [1, 1], [1, 1], [0, 0]]))])
    weights = g.constant("w", r.normal(size=(8, 3, 3, 3)).astype(np.float32))
    y = node("CONV_2D", [y, weights, g.constant("b", r.normal(size=8).astype(np.float32))], **CONV, **NONE)
    y = node("MUL", [y, g.constant("scale", r.normal(size=8).astype(np.float32))], **NONE)
    y = node("ADD", [y, y], fused_activation_function="RELU6")
    y = node("TANH", [y])
    y = node("RESHAPE", [y, g.constant("flat", np.int32([1, 288]))])
    y = node("FULLY_CONNECTED", [y, g.constant("v", r.normal(size=(10, 288)).astype(np.float32) / 20), -1], **NONE)
    y = node("SOFTMAX", [y], beta=1.0)
    g.outputs(y)
    return m.build()


def quantized() -> bytes:
    """int8: lookup tables in a chain, and an addition."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "INT8", [4, 33], scale=0.05, zero_point=-3)
    ends = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
    y = x
    for i, op in enumerate(["LOGISTIC", "HARD_SWISH", "TANH", "ADD"]):
        scale, zero = ends.get(op, (0.02, 5))
        z = g.tensor(f"t{i}", "INT8", [4, 33], scale=scale, zero_point=zero)
        g.node(op, [y, x] if op == "ADD" else [y], [z], **(NONE if op == "ADD" else {}))
        y = z
    g.outputs(y)
    return m.build()


def looped() -> bytes:
    """A WHILE, whose graphs a device runs whole when nothing is preserved."""

    def body(g: Any, v: list[Any]) -> list[Any]:
        y, z = g.tensor("y", "FLOAT32", [4]), g.tensor("z", "FLOAT32", [4])
        g.node("TANH", [v[1]], [y])
        g.node("ADD", [y, v[1]], [z], **NONE)
        return [counted(g, v[0]), z]

    return loop([("INT32", []), ("FLOAT32", [4])], body, constants=[np.int32(0)])


def filled(interpreter: Any) -> Any:
    """The interpreter after one invoke on random inputs."""
    r = np.random.default_rng(1)
    interpreter.allocate_tensors()
    for d in interpreter.get_input_details():
        values = r.uniform(-2, 2, tuple(d["shape"])) * (30 if d["dtype"] is np.int8 else 1)
        interpreter.set_tensor(d["index"], values.astype(d["dtype"]) if d["shape"].size else np.int32(0))
    interpreter.invoke()
    return interpreter


def values(interpreter: Any) -> dict[tuple[int, int], Array]:
    graphs = range(interpreter.num_subgraphs())
    keys = [(g, d["index"]) for g in graphs for d in interpreter.get_tensor_details(g)]
    return {(g, i): interpreter.get_tensor(i, g) for g, i in keys}


@pytest.mark.parametrize("model", [filtered, quantized])
def test_every_tensor_that_a_device_makes_has_the_cpu_s_value_where_it_is_preserved(
    device: TestedDevice, model: Any
) -> None:
    data = model()
    on_cpu = values(filled(tflgpu.Interpreter(model_content=data, experimental_preserve_all_tensors=True)))
    interpreter = tflgpu.Interpreter(  # whose delegate requires every node
        model_content=data, experimental_delegates=[device.delegate], experimental_preserve_all_tensors=True
    )
    found = values(filled(interpreter))
    assert found.keys() == on_cpu.keys()
    for key, value in on_cpu.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[key], value, rtol=2e-5, atol=2e-6, err_msg=str(key))
        else:
            np.testing.assert_array_equal(found[key], value, err_msg=str(key))


def test_a_loop_s_own_tensors_are_preserved_on_the_cpu() -> None:
    data = looped()
    delegate = tflgpu.load_delegate("opencl", {"device": require_intel(), "min_nodes_per_partition": 1})
    plain = filled(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]))
    assert "WHILE stays on the CPU" not in plain.delegation_report()
    with pytest.raises(ValueError, match="its graph runs inside partition 0, on the opencl delegate"):
        plain.get_tensor(2, 2)
    keep = {"model_content": data, "experimental_preserve_all_tensors": True}
    on_cpu = values(filled(tflgpu.Interpreter(**keep)))
    interpreter = filled(tflgpu.Interpreter(**keep, experimental_delegates=[delegate]))
    found = values(interpreter)
    for key, value in on_cpu.items():
        np.testing.assert_allclose(found[key], value, rtol=2e-6, err_msg=str(key))
    report = interpreter.delegation_report()
    assert "its graphs run on the CPU, where each of their tensors is preserved" in report
    assert not report.startswith("opencl delegate: 0 nodes"), report  # the body's are the device's


def test_a_tensor_inside_a_part_says_where_it_lies_and_what_keeps_it(device: TestedDevice) -> None:
    interpreter = tflgpu.Interpreter(model_content=filtered(), experimental_delegates=[device.delegate])
    with pytest.raises(ValueError, match=r"Tensor data is null. Run allocate_tensors\(\) first"):
        interpreter.get_tensor(2)
    filled(interpreter)
    name = device.delegate.name
    for read in (interpreter.get_tensor, lambda index: interpreter.tensor(index)()):
        with pytest.raises(
            ValueError,
            match=f"Tensor data is null. tensor 2 't1' FLOAT32 .* lies inside partition 0, on the {name} delegate, .*"
            "experimental_preserve_all_tensors=True",
        ):
            read(2)


def looked_at() -> bytes:
    """ABS and NUMERIC_VERIFY, whose outputs nothing reads, and after them a chain that could take their memory."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [64])
    a, q, v = g.tensor("a", "FLOAT32", [64]), g.tensor("q", "INT8", [64], scale=0.1), g.tensor("v", "FLOAT32", [64])
    g.node("ABS", [x], [a])
    g.node("QUANTIZE", [x], [q])
    g.custom("NumericVerify", [q, x], [v], options=bytes(flexbuffers.Dumps({"tolerance": 5.0, "log_if_failed": False})))
    y = x
    for i in range(4):
        z = g.tensor(f"t{i}", "FLOAT32", [64])
        g.node("NEG", [y], [z])
        y = z
    g.outputs(y)
    return m.build()


@pytest.mark.parametrize("delegate", [None, "opencl"])
def test_what_no_node_reads_can_be_read_without_asking_for_it(delegate: str | None) -> None:
    """TensorFlow's QuantizationDebugger does, and LiteRT's arena keeps it."""
    delegates = []
    if delegate is not None:
        pytest.importorskip("pyopencl")
        delegates = [tflgpu.load_delegate(delegate, {"require_full": True})]
    interpreter = filled(tflgpu.Interpreter(model_content=looked_at(), experimental_delegates=delegates))
    x, q = interpreter.get_tensor(0), np.clip(np.round(interpreter.get_tensor(0) / np.float32(0.1)), -128, 127)
    np.testing.assert_array_equal(interpreter.get_tensor(1), np.abs(x))
    np.testing.assert_allclose(interpreter.get_tensor(3), q * np.float32(0.1) - x, atol=1e-6)


class Everything:
    """Takes all nodes, and runs none."""

    name, limits = "everything", Limits()

    def check(self, node: Any) -> None:
        """Takes it."""

    def compile(self, partition: Any, tensors: Any) -> Any:
        self.partition, self.tensors = partition, tensors
        return lambda: None


def test_a_delegate_of_one_s_own_is_asked_for_every_output_where_all_are_preserved() -> None:
    spec = {"type": "FLOAT32", "shape": [3]}
    for preserve, outputs in ((False, {3}), (True, {1, 2, 3})):
        m = ModelBuilder()
        g = m.graph()
        y = g.input("x", spec["type"], spec["shape"])
        for i in range(3):
            z = g.tensor(f"t{i}", spec["type"], spec["shape"])
            g.node("NEG", [y], [z])
            y = z
        g.outputs(y)
        delegate = Everything()
        filled(
            tflgpu.Interpreter(
                model_content=m.build(),
                experimental_delegates=[delegate],
                experimental_preserve_all_tensors=preserve,
            )
        )
        assert delegate.partition.outputs == outputs and outputs <= delegate.tensors.keys()
