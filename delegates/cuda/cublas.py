"""cuBLAS, which CuPy finds and loads. Its products are called directly: CuPy's own bindings refuse to be recorded.

(`setStream` there, which each of its calls makes first, raises NotImplementedError while a stream is being captured.)
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from tflgpu.delegates.lowering.gemm.cublas import ARITHMETICS
from tflgpu.optional import offers

WORKSPACE = 32 << 20
"""Bytes that cuBLAS may use, as much as it asks for on the largest GPUs. Its own would be allocated by every graph."""

F32, F16, I8, I32 = 0, 2, 3, 10
"""cudaDataType_t."""

KINDS: Mapping[str, tuple[int, int, int]] = {
    "fp32": (F32, F32, 68),
    "tf32": (F32, F32, 77),
    "fp16": (F32, F32, 74),
    "half": (F16, F32, 68),
    "int8": (I8, I32, 72),
}
"""By arithmetic: the type of the operands, the type of the result, cublasComputeType_t."""

DEFAULT_ALGORITHM = -1

_pointer, _int, _long = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
_operand = (_pointer, _int, _int, _long)  # address, type, leading dimension, elements to the next matrix

FUNCTIONS: Mapping[str, Sequence[Any]] = {
    "cublasSetStream_v2": (_pointer, _pointer),
    "cublasSetWorkspace_v2": (_pointer, _pointer, ctypes.c_size_t),
    # handle, op_a, op_b, m, n, k, alpha, A, B, beta, C, how many, compute type, algorithm
    "cublasGemmStridedBatchedEx": (
        *(_pointer, _int, _int, _int, _int, _int, _pointer, *_operand, *_operand, _pointer, *_operand),
        *(_int, _int, _int),
    ),
}


class Cublas:
    """One handle on a device's stream. Raises ImportError where the library is not installed."""

    def __init__(self, cupy: Any, allocate: Callable[[int], Any], stream: int):
        binding = cupy.cuda.cublas
        self._functions = functions(binding)
        self._handle = binding.create()
        weakref.finalize(self, binding.destroy, self._handle).atexit = False
        binding.setPointerMode(self._handle, binding.CUBLAS_POINTER_MODE_HOST)
        self._turned = binding.CUBLAS_OP_N, binding.CUBLAS_OP_T
        self._workspace = allocate(WORKSPACE)
        self._call("cublasSetStream_v2", stream)  # before the workspace, which it takes away
        self._call("cublasSetWorkspace_v2", self._workspace.data.ptr, WORKSPACE)

    def _call(self, name: str, *args: Any) -> None:
        status = self._functions[name](self._handle, *args)
        if status:
            raise RuntimeError(f"{name} returned status {status}")

    def product(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any]) -> None:
        """The launch of lowering.library.product. cuBLAS counts by columns, so that it is told to make y' times x'."""
        x, y, out = (argument.data.ptr for argument in args[:3])
        m, n, k, x_turned, y_turned, batches, x_step, y_step, arithmetic = map(int, args[3:])
        operand, result, compute = KINDS[ARITHMETICS[arithmetic]]
        scalar = ctypes.c_int if result == I32 else ctypes.c_float
        self._call(
            "cublasGemmStridedBatchedEx",
            *(self._turned[y_turned], self._turned[x_turned], n, m, k, ctypes.byref(scalar(1))),
            *(y, operand, k if y_turned else n, y_step),
            *(x, operand, m if x_turned else k, x_step),
            *(ctypes.byref(scalar(0)), out, result, n, m * n),
            *(batches, compute, DEFAULT_ALGORITHM),
        )


class HasFunctions(Protocol):
    """What stands for CuPy's extension module, with functions of its own, as the emulator has it."""

    functions: Mapping[str, Callable[..., int]]


def functions(binding: Any) -> dict[str, Callable[..., int]]:
    """The library's functions, through the extension module of CuPy that is linked with it."""
    if offers(binding, HasFunctions):
        return dict(binding.functions)
    library = ctypes.CDLL(binding.__file__)
    found = {}
    for name, parameters in FUNCTIONS.items():
        found[name] = function = getattr(library, name)
        function.argtypes, function.restype = list(parameters), ctypes.c_int
    return found


@dataclass(frozen=True)
class Routine:
    """A library's function that is called as a kernel is."""

    name: str
    function: Any
    enable_cooperative_groups: ClassVar[bool] = False

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
        self.function(grid, block, args)
