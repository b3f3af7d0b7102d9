"""The OpenCL delegate: every case runs there whole and gives the CPU's results, without a byte out of place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from delegate_cases import CASES, Case
from oracle import assert_same, one_op, tflgpu_run

import tflgpu
from tflgpu.builder import ModelBuilder
from tflgpu.delegate import Limits, load_delegate

cl = pytest.importorskip("pyopencl")

GUARD = 256
POISON = 0xA5


@pytest.fixture(scope="module")
def device() -> Any:
    """A device whose buffers lie between guard bytes and begin full of poison."""
    from tflgpu.delegates import opencl

    class GuardedDevice(opencl.OpenClDevice):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.buffers: list[tuple[Any, int]] = []
            self.wholes: dict[int, Any] = {}

        def allocate(self, nbytes: int) -> Any:
            guard = -(-GUARD // self.limits.alignment) * self.limits.alignment
            whole = super().allocate(nbytes + 2 * guard)
            cl.enqueue_copy(self.queue, whole, np.full(nbytes + 2 * guard, POISON, np.uint8))
            self.buffers.append((whole, nbytes))
            inside = whole.get_sub_region(guard, nbytes)
            self.wholes[inside.int_ptr] = (whole, guard)
            return inside

        def slice(self, buffer: Any, offset: int, nbytes: int) -> Any:
            whole, guard = self.wholes[buffer.int_ptr]
            return whole.get_sub_region(guard + offset, nbytes)

        def check_guards(self) -> None:
            for whole, nbytes in self.buffers:
                found = np.empty(whole.size, np.uint8)
                cl.enqueue_copy(self.queue, found, whole)
                guard = (whole.size - nbytes) // 2
                assert (found[:guard] == POISON).all(), "a kernel wrote before its buffer"
                assert (found[guard + nbytes :] == POISON).all(), "a kernel wrote behind its buffer"
            self.buffers.clear()
            self.wholes.clear()

    return GuardedDevice(opencl.find_device(""), opencl.cache_folder(""))


@pytest.fixture
def delegate(device: Any) -> Iterator[Any]:
    from tflgpu.delegates.gpu import GpuDelegate

    yield GpuDelegate("opencl", device, Limits(require_full=True))
    device.check_guards()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_delegated_operator_gives_the_cpus_results(case: Case, delegate: Any) -> None:
    model, values = case.model(), case.values()
    want = tflgpu_run(model, values)
    got = tflgpu_run(model, values, [delegate])
    assert_same(got, want, rtol=case.rtol or 2e-6, atol=2e-6)


def test_the_report_says_that_a_node_is_delegated(delegate: Any) -> None:
    interpreter = tflgpu.Interpreter(model_content=CASES[0].model(), experimental_delegates=[delegate])
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


def test_shared_storage_inside_a_part_and_at_its_boundary(delegate: Any) -> None:
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


def test_parts_alternate_between_cpu_and_device(device: Any) -> None:
    from tflgpu.delegates.gpu import GpuDelegate

    delegate = GpuDelegate("opencl", device, Limits(skip_nodes=frozenset({1, 2}), min_nodes=1))
    x = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    assert_same(tflgpu_run(chain(), [x], [delegate]), tflgpu_run(chain(), [x]))
    device.check_guards()


def gather_model() -> bytes:
    index, x = {"type": "INT32", "shape": [3]}, np.arange(5, dtype=np.float32)
    return one_op("GATHER", [x, index], [{"type": "FLOAT32", "shape": [3]}], axis=0)


def test_an_index_out_of_bounds_raises_and_the_interpreter_stays_usable(delegate: Any) -> None:
    interpreter = tflgpu.Interpreter(model_content=gather_model(), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    for bad in (5, -1):
        interpreter.set_tensor(index, np.array([0, bad, 1], np.int32))
        with pytest.raises(RuntimeError, match="gather index out of bounds"):
            interpreter.invoke()
    interpreter.set_tensor(index, np.array([4, 0, 1], np.int32))
    interpreter.invoke()
    out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(out, np.float32([4, 0, 1]))


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


def test_compiled_programs_are_kept_on_disk_and_a_broken_one_is_replaced(tmp_path: Any) -> None:
    model, x = CASES[0].model(), CASES[0].values()
    for _ in range(2):
        delegate = load_delegate("opencl", {"cache_dir": str(tmp_path), "require_full": "1"})
        assert_same(tflgpu_run(model, x, [delegate]), tflgpu_run(model, x))
        (kept,) = tmp_path.glob("*.bin")
        kept.write_bytes(b"cut short")


def test_text_that_does_not_compile_is_shown_with_its_line_numbers(device: Any, capfd: Any) -> None:
    from tflgpu.delegates.device import CompileError

    with pytest.raises(CompileError, match=r"broken for .*(\n.*)* 2 kernel void broken"):
        device.kernel("// fine\nkernel void broken(", "broken")


def test_an_unknown_device_is_refused_with_those_found() -> None:
    with pytest.raises(ValueError, match="no device 'no such thing'; found: "):
        load_delegate("opencl", {"device": "no such thing"})
