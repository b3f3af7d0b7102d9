"""What only a GPU can show: the order of streams, arrays of other libraries, many replays. Set TFLGPU_CUDA_DEVICE=0.

Without one the same tests run on the emulator, with arrays of its own, and show that they themselves work.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from devices import cuda_device

import tflgpu
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

DEVICE = cuda_device()
EMULATED = DEVICE == "emulator"


class EmulatedArray(np.ndarray):
    """An array on the emulator's GPU, which is the CPU."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.__array_interface__, "version": 3}


def new_stream() -> Any:
    """A context in which arrays are worked on, with the stream's address as ptr."""
    if EMULATED:
        stream: Any = nullcontext()
        stream.ptr = 0
        return stream
    return pytest.importorskip("cupy").cuda.Stream(non_blocking=True)


def zeros(n: int) -> Any:
    """float32 on the GPU, at an address that a GPU's allocator would choose."""
    if EMULATED:
        block = np.zeros(n + 64, np.float32)
        first = -block.ctypes.data % 256 // 4
        return block[first : first + n].view(EmulatedArray)
    import cupy

    return cupy.zeros(n, cupy.float32)


def squares(n: int) -> Any:
    """An interpreter of x * x for x (n,)."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [n])
    y = g.tensor("y", "FLOAT32", [n])
    g.node("SQUARE", [x], [y])
    g.outputs(y)
    delegate = load_delegate("cuda", {"device": DEVICE, "require_full": True})
    interpreter = tflgpu.Interpreter(model_content=m.build(), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    return interpreter


def test_a_bound_input_is_read_after_what_its_stream_still_does() -> None:
    n = 1 << (10 if EMULATED else 24)
    interpreter = squares(n)
    stream = new_stream()
    with stream:
        x, y = zeros(n), zeros(n)
    interpreter.bind_input(0, x, stream.ptr)
    interpreter.bind_output(1, y, stream.ptr)
    for value in range(1, 20):
        with stream:
            for _ in range(50):  # keeps the stream busy, so that a missing wait shows
                x += 1
            x.fill(value)
        interpreter.invoke()
        assert float(y[0]) == value * value and float(y[-1]) == value * value


def test_an_array_of_pytorch_is_bound_by_its_interface() -> None:
    torch = pytest.importorskip("torch")
    if EMULATED or not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    interpreter = squares(64)
    x = torch.arange(64, dtype=torch.float32, device=f"cuda:{DEVICE}")
    y = torch.zeros_like(x)
    interpreter.bind_input(0, x, torch.cuda.current_stream().cuda_stream)
    interpreter.bind_output(1, y, torch.cuda.current_stream().cuda_stream)
    interpreter.invoke()
    assert torch.equal(y, x * x)


def test_one_thousand_replays_give_the_values_of_their_inputs() -> None:
    interpreter = squares(1000)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        x = rng.normal(size=1000).astype(np.float32)
        interpreter.set_tensor(0, x)
        interpreter.invoke()
        np.testing.assert_array_equal(interpreter.get_tensor(1), x * x)


def test_a_loop_that_blocks_share_is_recorded_and_replayed() -> None:
    from loop_models import large
    from oracle import assert_same, tflgpu_run

    delegate = load_delegate("cuda", {"device": DEVICE, "require_full": True})
    interpreter = tflgpu.Interpreter(model_content=large(), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    (start, x), (count, h) = (
        [d["index"] for d in details] for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    rng = np.random.default_rng(0)
    for iterations in (5, 1, 0, 3, 5, 5, 2):
        values = [np.int32(5 - iterations), rng.normal(size=(1, 300)).astype(np.float32)]
        interpreter.set_tensor(start, values[0])
        interpreter.set_tensor(x, values[1])
        interpreter.invoke()
        got = [interpreter.get_tensor(count), interpreter.get_tensor(h)]
        assert_same(got, tflgpu_run(large(), values), rtol=1e-5, atol=1e-6)
    assert "plain launches" not in interpreter.delegation_report()


def test_denormal_numbers_are_not_taken_for_zero() -> None:
    interpreter = squares(64)
    x = np.linspace(1e-21, 9e-20, 64, dtype=np.float32)
    interpreter.set_tensor(0, x)
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(1), x * x)
    assert 0 < interpreter.get_tensor(1)[0] < np.finfo(np.float32).tiny


def test_a_tuned_model_remembers_its_choices_and_replays_them(tmp_path: Any) -> None:
    from kit import fed
    from oracle import tflgpu_run

    from tflgpu.conformance.cases.tiles import dense, named

    for kind in ("FLOAT32", "INT8"):
        model, values = fed(named("gemm", "tuned", dense(kind, 33, 64, 128)))
        want = tflgpu_run(model, values)[0]
        for start in range(2):
            delegate: Any = load_delegate("cuda", {"device": DEVICE, "autotune": True, "cache_dir": str(tmp_path)})
            assert delegate.device.limits.has("cublas"), delegate.notes
            interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate])
            interpreter.allocate_tensors()
            for _ in range(20):
                interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[0])
                interpreter.invoke()
                got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
                np.testing.assert_array_equal(got, want)
            assert "plain launches" not in interpreter.delegation_report()
            assert bool(delegate.device.tuner.measured) == (start == 0)


def test_cublas_is_recorded_in_a_graph(tmp_path: Any) -> None:
    from kit import fed
    from oracle import tflgpu_run

    from tflgpu.conformance.cases.tiles import dense, named

    class LastOf:
        def choose(self, device: Any, launch: Any, bind: Any) -> Any:
            return launch.variants[-1]

    model, values = fed(named("gemm", "by cuBLAS", dense("FLOAT32", 33, 64, 128)))
    delegate: Any = load_delegate("cuda", {"device": DEVICE, "autotune": True, "cache_dir": str(tmp_path)})
    delegate.device.tuner = LastOf()
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    for _ in range(5):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[0])
        interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(got, tflgpu_run(model, values)[0])
    assert "plain launches" not in interpreter.delegation_report()
