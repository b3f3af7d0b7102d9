"""The drop-in for `ai_edge_litert.tensor_buffer`: memory between which a CompiledModel runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tflgpu.model.graph import Array


class TensorBuffer:
    """Memory for one tensor. Made by CompiledModel, or by `create_from_host_memory`."""

    def __init__(self, array: Array):
        self._array: Array | None = array

    @classmethod
    def create_from_host_memory(cls, data_array: Array) -> TensorBuffer:
        """A buffer that is the array: what writes to one writes to the other. Raises ValueError where it cannot be."""
        if not isinstance(data_array, np.ndarray):
            raise ValueError("data_array must be a NumPy array")
        if not data_array.flags.c_contiguous:
            raise ValueError("data_array must be C-contiguous for zero-copy host-memory binding")
        if data_array.dtype.kind in "SUO":
            raise ValueError(f"Unsupported dtype: {data_array.dtype}")
        return cls(data_array)

    def write(self, data_array: Array) -> None:
        """Copies the array's bytes to the start of the buffer. Raises RuntimeError where they are more than fit."""
        if not isinstance(data_array, np.ndarray):
            raise ValueError("data_array must be a NumPy array")
        if data_array.nbytes > self._held.nbytes:
            raise RuntimeError("WriteTensorBuffer: source buffer is larger than the tensor buffer")
        self._bytes[: data_array.nbytes] = np.ascontiguousarray(data_array).reshape(-1).view(np.uint8)

    def read(self, num_elements: int, output_dtype: npt.DTypeLike) -> Array:
        """A copy of the first elements, as this type. Raises RuntimeError where the buffer has fewer bytes."""
        result = np.empty(num_elements, output_dtype)
        if result.nbytes > self._held.nbytes:
            raise RuntimeError("ReadTensorToBuffer: destination buffer is larger than the tensor buffer")
        result.view(np.uint8)[:] = self._bytes[: result.nbytes]
        return result

    def get_tensor_details(self) -> dict[str, Any]:
        return {"dtype": self._held.dtype.name, "shape": list(self._held.shape)}

    def destroy(self) -> None:
        """Lets go of the memory; the buffer is of no more use."""
        self._array = None

    @property
    def _held(self) -> Array:
        if self._array is None:
            raise RuntimeError("TensorBuffer has been destroyed")
        return self._array

    @property
    def _bytes(self) -> Array:
        return self._held.reshape(-1).view(np.uint8)

    @property
    def nbytes(self) -> int:
        return self._held.nbytes
