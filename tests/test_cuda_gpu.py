"""What only a GPU can show: the order of streams, arrays of other libraries, flat memory. Set TFLGPU_CUDA_DEVICE=0."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import tflgpu
from tflgpu.builder import ModelBuilder
from tflgpu.delegate import load_delegate

DEVICE = os.environ.get("TFLGPU_CUDA_DEVICE", "")
if not DEVICE:
    pytest.skip("TFLGPU_CUDA_DEVICE does not name a GPU", allow_module_level=True)

cupy: Any = pytest.importorskip("cupy")


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
    n = 1 << 24
    interpreter = squares(n)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x, y = cupy.zeros(n, cupy.float32), cupy.zeros(n, cupy.float32)
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
    if not torch.cuda.is_available():
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
