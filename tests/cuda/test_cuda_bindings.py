"""Arrays on a GPU as inputs and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_delegates import DEVICE, chain, emulated, ends, interpreter_of, on_emulator

import tflgpu
from tflgpu.delegation.discovery import load_delegate


class OnDevice:
    """An array that says it lives on a GPU; the emulator's GPU is the CPU."""

    def __init__(self, array: Any):
        self.array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.array.__array_interface__, "version": 3}


def aligned(shape: tuple[int, ...], value: float = 0.0) -> Any:
    block = np.zeros(int(np.prod(shape)) + 8, np.float32)
    start = -block.ctypes.data % 32 // 4
    array = block[start : start + int(np.prod(shape))].reshape(shape)
    array[...] = value
    return array


@on_emulator
@pytest.mark.parametrize("limits", [{}, {"skip_nodes": "0"}, {"skip_nodes": "2"}, {"skip_nodes": "1"}])
def test_bound_arrays_are_read_and_written_where_they_are(limits: dict[str, str]) -> None:
    delegate = load_delegate("cuda", {"device": DEVICE, "min_nodes_per_partition": 1} | limits)
    interpreter = interpreter_of(chain(), delegate)
    x, y = aligned((2, 6)), aligned((2, 6))
    first, last = ends(interpreter)
    interpreter.bind_input(first, OnDevice(x))
    interpreter.bind_output(last, OnDevice(y))
    for value in (1.0, -2.0):
        x[...] = value
        interpreter.invoke()
        np.testing.assert_allclose(y, -np.exp(np.abs(x)), rtol=1e-6)
        np.testing.assert_array_equal(interpreter.get_tensor(last), y)
    with pytest.raises(ValueError, match="is bound to an array"):
        interpreter.set_tensor(first, x)
    interpreter.bind_input(first, None)
    interpreter.bind_output(last, None)
    interpreter.set_tensor(first, np.zeros((2, 6), np.float32))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(last), np.full((2, 6), -1, np.float32))
    np.testing.assert_allclose(y, -np.exp(np.float32(2)), rtol=1e-6)


@on_emulator
def test_an_array_that_does_not_fit_is_not_bound() -> None:
    interpreter = interpreter_of(chain(), emulated())
    first, last = ends(interpreter)
    with pytest.raises(ValueError, match=r"the array is float32 \[3, 6\]"):
        interpreter.bind_input(first, OnDevice(aligned((3, 6))))
    with pytest.raises(ValueError, match="must be C-contiguous"):
        interpreter.bind_input(first, OnDevice(aligned((6, 2)).T))
    with pytest.raises(ValueError, match="neither __cuda_array_interface__ nor __dlpack__"):
        interpreter.bind_input(first, [1.0])
    with pytest.raises(ValueError, match=f"Tensor {last} is no input"):
        interpreter.bind_input(last, OnDevice(aligned((2, 6))))
    interpreter.bind_input(first, OnDevice(aligned((2, 6))))
    interpreter.resize_tensor_input(first, [4, 6])
    with pytest.raises(RuntimeError, match="is bound to an array of shape"):
        interpreter.allocate_tensors()


def test_the_cpu_has_no_arrays_to_bind() -> None:
    interpreter = tflgpu.Interpreter(model_content=chain())
    with pytest.raises(ValueError, match="no delegate of this interpreter has arrays of its own"):
        interpreter.bind_input(0, OnDevice(aligned((2, 6))))
