"""A stand-in for cuBLAS in NumPy: the same products under the same names, so that what calls them can be tested.

It says nothing about cuBLAS itself, neither its speed nor which sizes it takes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.model.graph import Array

SUCCESS, INVALID_VALUE, NOT_SUPPORTED = 0, 7, 15
DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype(np.float32),
    2: np.dtype(np.float16),
    3: np.dtype(np.int8),
    10: np.dtype(np.int32),
}


def binding(do: Callable[[Callable[[], None]], None]) -> Any:
    """What stands for cupy.cuda.cublas. do: runs what is put on the current stream, or records it."""
    return SimpleNamespace(
        create=lambda: 1,
        destroy=lambda handle: None,
        setPointerMode=lambda handle, mode: None,
        CUBLAS_POINTER_MODE_HOST=0,
        CUBLAS_OP_N=0,
        CUBLAS_OP_T=1,
        functions={
            "cublasSetStream_v2": lambda handle, stream: SUCCESS,
            "cublasSetWorkspace_v2": lambda handle, memory, size: SUCCESS,
            "cublasGemmStridedBatchedEx": lambda handle, *args: _gemm(do, *args),
        },
    )


def _gemm(do: Callable[[Callable[[], None]], None], *args: Any) -> int:
    op_a, op_b, m, n, k, alpha, *rest = args
    a, type_a, ld_a, step_a, b, type_b, ld_b, step_b, beta, c, type_c, ld_c, step_c, count, compute, _ = rest
    if alpha._obj.value != 1 or beta._obj.value != 0 or min(m, n, k, count) <= 0:
        return INVALID_VALUE
    if ld_a < (k if op_a else m) or ld_b < (n if op_b else k) or ld_c < m:
        return INVALID_VALUE
    if type_a == 3 and (compute != 72 or type_c != 10 or ld_a % 4 or ld_b % 4 or a % 4 or b % 4):
        return NOT_SUPPORTED

    def run() -> None:
        for i in range(count):
            # By columns: a matrix of ld rows in memory is its transpose by rows.
            one = _rows(a, type_a, i * step_a, m if op_a else k, ld_a)[:, : k if op_a else m]
            two = _rows(b, type_b, i * step_b, k if op_b else n, ld_b)[:, : n if op_b else k]
            x = _widened(two.T if op_b else two, compute)
            y = _widened(one.T if op_a else one, compute)
            _rows(c, type_c, i * step_c, n, ld_c)[:, :m] = np.matmul(x, y)

    run.name = "product"  # type: ignore[attr-defined]
    do(run)
    return SUCCESS


def _rows(address: int, kind: int, start: int, rows: int, columns: int) -> Array:
    dtype = DTYPES[kind]
    size = rows * columns * dtype.itemsize
    memory = (ctypes.c_uint8 * size).from_address(address + start * dtype.itemsize)
    return np.ctypeslib.as_array(memory).view(dtype).reshape(rows, columns)


def _widened(array: Array, compute: int) -> Array:
    """As the product takes it: rounded to binary16 or TF32 where it may be, then of the type of the sums."""
    if array.dtype == np.int8:
        return array.astype(np.int32)
    if compute == 74:
        with np.errstate(over="ignore"):
            return array.astype(np.float16).astype(np.float32)
    wide = array.astype(np.float32)
    if compute == 77:
        bits = wide.view(np.uint32)
        finite = (bits >> np.uint32(23) & np.uint32(255)) != 255
        wide = np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).view(np.float32)
    return wide
