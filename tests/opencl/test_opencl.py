"""The OpenCL delegate: partitions, errors, programs on disk, chains and tiles. Its kernels: test_opencl_guards.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kit import case, fed
from oracle import assert_same, one_op, tflgpu_run

import tflgpu
from tflgpu.delegation.delegate import Limits
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")

ABS = fed(case("ABS[float32,2x3x5]"))


@pytest.fixture(scope="module")
def device() -> Any:
    """A device whose buffers lie between guard bytes and begin full of poison."""
    from guarded_device import GuardedDevice

    return GuardedDevice()


@pytest.fixture
def delegate(device: Any) -> Iterator[Any]:
    from tflgpu.delegates.gpu import GpuDelegate

    yield GpuDelegate("opencl", device, Limits(require_full=True))
    device.check_guards()


def test_the_report_says_that_a_node_is_delegated(delegate: Any) -> None:
    interpreter = tflgpu.Interpreter(model_content=ABS[0], experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    assert interpreter.delegation_report().startswith("opencl delegate: 1 nodes delegated out of 1 with 1 partition")


def chain() -> bytes:
    """relu(x + 1) reshaped twice, of which one is an output, and its softmax."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2, 6])
    a, b, c, d = (g.tensor(n, "FLOAT32", s) for n, s in (("a", [2, 6]), ("b", [3, 4]), ("c", [4, 3]), ("d", [4, 3])))
    g.node("ADD", [x, g.constant("one", np.float32(1))], [a], fused_activation_function="RELU")
    g.node("RESHAPE", [a, g.constant("s", np.array([3, 4], np.int32))], [b], new_shape=[3, 4])
    g.node("RESHAPE", [b, g.constant("t", np.array([4, 3], np.int32))], [c], new_shape=[4, 3])
    g.node("SOFTMAX", [c], [d], beta=1.0)
    g.outputs(b, d)
    return m.build()


def test_aliases_inside_a_partition_and_at_its_boundary(delegate: Any) -> None:
    x = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    assert_same(tflgpu_run(chain(), [x], [delegate]), tflgpu_run(chain(), [x]))


def test_a_second_invoke_sees_new_inputs(delegate: Any) -> None:
    interpreter = tflgpu.Interpreter(model_content=chain(), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    for value in (0.5, -2.0):
        interpreter.set_tensor(0, np.full((2, 6), value, np.float32))
        interpreter.invoke()
        out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(out, np.full((3, 4), max(value + 1, 0), np.float32))


def test_partitions_alternate_between_cpu_and_device(device: Any) -> None:
    from tflgpu.delegates.gpu import GpuDelegate

    delegate = GpuDelegate("opencl", device, Limits(skip_nodes=frozenset({1, 2}), min_nodes=1))
    x = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    assert_same(tflgpu_run(chain(), [x], [delegate]), tflgpu_run(chain(), [x]))
    device.check_guards()


def gather_model(row: tuple[int, ...]) -> bytes:
    index, x = {"type": "INT32", "shape": [3]}, np.arange(5 * math.prod(row), dtype=np.float32).reshape(5, *row)
    return one_op("GATHER", [x, index], [{"type": "FLOAT32", "shape": [3, *row]}], axis=0)


@pytest.mark.parametrize("row", [(), (17,)])  # from 16 elements on a CPU copies rows
def test_an_index_out_of_bounds_raises_and_the_interpreter_stays_usable(delegate: Any, row: tuple[int, ...]) -> None:
    interpreter = tflgpu.Interpreter(model_content=gather_model(row), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    for bad in (5, -1):
        interpreter.set_tensor(index, np.array([0, bad, 1], np.int32))
        with pytest.raises(RuntimeError, match="gather index out of bounds"):
            interpreter.invoke()
    interpreter.set_tensor(index, np.array([4, 0, 1], np.int32))
    interpreter.invoke()
    out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(out, np.arange(5 * math.prod(row)).reshape(5, *row)[[4, 0, 1]])


def test_a_divisor_of_zero_raises(delegate: Any) -> None:
    spec = {"type": "INT32", "shape": [3]}
    model = one_op("DIV", [spec, spec], [spec], fused_activation_function="NONE")
    x = np.array([7, -8, 9], np.int32)
    (quotient,) = tflgpu_run(model, [x, np.array([2, 3, -1], np.int32)], [delegate])
    np.testing.assert_array_equal(quotient, [3, -2, -9])
    with pytest.raises(RuntimeError, match="Division by 0"):
        tflgpu_run(model, [x, np.array([1, 0, 1], np.int32)], [delegate])


def test_special_floats_are_the_cpus(delegate: Any) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -3.5, 88.0], np.float32)
    spec = {"type": "FLOAT32", "shape": [8]}
    for op in ("RELU", "RELU6", "ABS", "TANH", "LOGISTIC", "SIGN", "ROUND"):
        model = one_op(op, [spec], [spec])
        assert_same(tflgpu_run(model, [x], [delegate]), tflgpu_run(model, [x]))
    for op in ("MAXIMUM", "MINIMUM", "ADD"):
        options = {"fused_activation_function": "NONE"} if op == "ADD" else {}
        model = one_op(op, [spec, spec], [spec], **options)
        assert_same(tflgpu_run(model, [x, x[::-1].copy()], [delegate]), tflgpu_run(model, [x, x[::-1].copy()]))


def test_an_empty_tensor_needs_no_kernel(delegate: Any) -> None:
    spec = {"type": "FLOAT32", "shape": [0, 3]}
    (out,) = tflgpu_run(one_op("ABS", [spec], [spec]), [np.zeros((0, 3), np.float32)], [delegate])
    assert out.shape == (0, 3)


def test_an_unknown_device_is_refused_with_those_found() -> None:
    with pytest.raises(ValueError, match=r"Looked for: 'no such thing' in its names\. Found: 0: "):
        load_delegate("opencl", {"device": "no such thing"})


def test_profile_sums_the_time_of_each_kernel() -> None:
    delegate: Any = load_delegate("opencl", {"device": "cpu", "profile": "1"})
    tflgpu_run(chain(), [np.zeros((2, 6), np.float32)], [delegate])
    times = delegate.device.times()
    assert times and all(runs == 1 and ms > 0 for runs, ms in times.values())


def convolved_and_multiplied(rounded: bool, largest: float = 3.0) -> bytes:
    """A convolution and a matrix multiply whose weights are what float16 makes of them, or more exact."""
    rng = np.random.default_rng(6)
    m = ModelBuilder()
    g = m.graph()
    weights = [rng.uniform(-largest, largest, shape).astype(np.float32) for shape in ((19, 3, 3, 5), (37, 19 * 48))]
    weights = [w.astype(np.float16).astype(np.float32) if rounded else w for w in weights]
    x, seen = g.input("x", "FLOAT32", [1, 8, 6, 5]), g.tensor("seen", "FLOAT32", [1, 8, 6, 19])
    flat, out = g.tensor("flat", "FLOAT32", [1, 19 * 48]), g.tensor("out", "FLOAT32", [1, 37])
    filters, matrix = (g.constant(f"w{i}", w) for i, w in enumerate(weights))
    bias = [g.constant(f"b{n}", rng.normal(size=n).astype(np.float32)) for n in (19, 37)]
    g.node("CONV_2D", [x, filters, bias[0]], [seen], padding="SAME", stride_w=1, stride_h=1)
    g.node("RESHAPE", [seen, g.constant("shape", np.array([1, -1], np.int32))], [flat])
    g.node("FULLY_CONNECTED", [flat, matrix, bias[1]], [out])
    g.outputs(out)
    return m.build()


def test_precision_fp16_rounds_the_weights_and_nothing_else() -> None:
    float16, plain = (load_delegate("opencl", {"precision": p, "require_full": 1}) for p in ("fp16", "fp32"))
    x = [np.random.default_rng(1).normal(size=(1, 8, 6, 5)).astype(np.float32)]
    got = tflgpu_run(convolved_and_multiplied(rounded=False), x, [float16])
    np.testing.assert_array_equal(got, tflgpu_run(convolved_and_multiplied(rounded=True), x, [plain]))
    assert (got[0] != tflgpu_run(convolved_and_multiplied(rounded=False), x, [plain])[0]).any()


def test_weights_beyond_float16_stay_float32() -> None:
    float16, plain = (load_delegate("opencl", {"precision": p, "require_full": 1}) for p in ("fp16", "fp32"))
    x = [np.random.default_rng(1).normal(size=(1, 8, 6, 5)).astype(np.float32)]
    model = convolved_and_multiplied(rounded=False, largest=1e5)
    np.testing.assert_array_equal(tflgpu_run(model, x, [float16]), tflgpu_run(model, x, [plain]))


def elementwise_chain() -> bytes:
    """Operators that all become one launch: a hard swish of a scaled sum, chosen by a comparison, through a reshape."""
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [2, 6]), g.input("y", "FLOAT32", [1, 6])
    names = ("sum", "flat", "swish", "scaled")
    a, b, c, d = (g.tensor(n, "FLOAT32", s) for n, s in zip(names, ([2, 6], [12], [12], [12]), strict=True))
    e, out = g.tensor("less", "BOOL", [12]), g.tensor("out", "FLOAT32", [12])
    g.node("ADD", [x, y], [a], fused_activation_function="NONE")
    g.node("RESHAPE", [a, g.constant("s", np.array([12], np.int32))], [b], new_shape=[12])
    g.node("HARD_SWISH", [b], [c])
    g.node("MUL", [c, g.constant("three", np.float32(3))], [d], fused_activation_function="RELU")
    g.node("LESS", [d, g.constant("one", np.float32(1))], [e])
    g.node("SELECT_V2", [e, g.constant("none", np.float32(-1)), g.constant("some", np.float32(1))], [out])
    g.outputs(out)
    return m.build()


def test_a_chain_of_elementwise_operators_is_one_launch_with_the_same_results() -> None:
    delegate: Any = load_delegate("opencl", {"device": "cpu", "profile": "1", "require_full": "1"})
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 6)).astype(np.float32), rng.normal(size=(1, 6)).astype(np.float32)
    assert_same(tflgpu_run(elementwise_chain(), [x, y], [delegate]), tflgpu_run(elementwise_chain(), [x, y]))
    times = delegate.device.times()
    assert times.keys() == {"elementwise"} and times["elementwise"][0] == 1


@pytest.mark.parametrize("rows, units, depth", [(1, 40, 9), (2, 3, 17), (5, 1, 8), (7, 33, 4), (13, 16, 3000)])
def test_tiles_of_every_height_and_width_give_the_cpus_results(
    rows: int, units: int, depth: int, delegate: Any
) -> None:
    rng = np.random.default_rng(units)
    weights, bias = rng.integers(-127, 128, (units, depth), np.int8), rng.integers(-999, 999, units, np.int32)
    none = {"fused_activation_function": "NONE"}
    quantized = {"type": "INT8", "shape": [rows, depth], "scale": 0.05, "zero_point": 3}
    x = rng.integers(-128, 128, (rows, depth), np.int8)
    inputs = [
        quantized,
        {"type": "INT8", "value": weights, "scale": 0.02, "zero_point": 0},
        {"type": "INT32", "value": bias, "scale": 0.001, "zero_point": 0},
    ]
    out = {"type": "INT8", "shape": [rows, units], "scale": 0.1 * depth, "zero_point": -2}
    model = one_op("FULLY_CONNECTED", inputs, [out], version=4, **none)
    assert_same(tflgpu_run(model, [x], [delegate]), tflgpu_run(model, [x]))
    floats = [{"type": "FLOAT32", "shape": [rows, depth]}, weights.astype(np.float32) / 64, bias.astype(np.float32)]
    model = one_op("FULLY_CONNECTED", floats, [{"type": "FLOAT32", "shape": [rows, units]}], **none)
    real = rng.normal(size=(rows, depth)).astype(np.float32)
    want = tflgpu_run(model, [real])
    # Sums of 3000 products, added in another order.
    assert_same(tflgpu_run(model, [real], [delegate]), want, rtol=1e-5, atol=1e-6 * depth)
