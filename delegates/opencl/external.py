"""Memory that callers have in a delegate's context: buffers and arrays of pyopencl, and shared virtual memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyopencl as cl
import pyopencl.array

from tflgpu.model.graph import TensorSpec


def buffer_of(array: Any, spec: TensorSpec, context: cl.Context) -> cl.Buffer:
    """A buffer that is a caller's array.

    array: a pyopencl.array.Array, a pyopencl.Buffer of the tensor's bytes, or what pyopencl.svm_empty makes. Raises
    ValueError where type, shape, order, size or context does not fit.
    """
    nbytes = int(np.prod(spec.shape, dtype=np.int64)) * spec.dtype.itemsize
    found: Any
    memory: Any = array.base if isinstance(array, np.ndarray) else None
    if isinstance(array, cl.array.Array):
        _check(spec, array.shape, array.dtype, array.flags.c_contiguous)
        found, start = array.base_data, array.offset
    elif isinstance(memory, cl.SVMPointer):
        _check(spec, array.shape, array.dtype, array.flags.c_contiguous)
        found, start = memory.as_buffer(context, size=memory.size), array.ctypes.data - memory.svm_ptr
    elif isinstance(array, cl.Buffer):
        if array.size != nbytes:
            raise ValueError(f"{spec}: the buffer has {array.size} bytes, not {nbytes}")
        found, start = array, 0
    else:
        raise ValueError(f"{spec}: {type(array).__name__} is no pyopencl.array.Array, pyopencl.Buffer or SVM array")
    if found.context != context:
        raise ValueError(
            f"{spec}: the array is of another context than the delegate's, which is delegate.device.context"
        )
    if start == 0:
        return found
    try:
        return found.get_sub_region(start, nbytes)
    except cl.Error as error:
        raise ValueError(
            f"{spec}: the array begins at byte {start} of its buffer, where no buffer can: {error}"
        ) from error


def _check(spec: TensorSpec, shape: tuple[int, ...], dtype: Any, contiguous: bool) -> None:
    if (tuple(shape), dtype) != (spec.shape, spec.dtype):
        raise ValueError(f"{spec}: the array is {dtype.name} {list(shape)}")
    if not contiguous:
        raise ValueError(f"{spec}: the array must be C-contiguous")
