"""TensorFlow Lite's C structs in ctypes, as on 64-bit machines; sizes are checked when this module is imported.

Source of the facts: the declarations of TensorFlow Lite's `common.h`, whose structs have only ever grown at their ends.
"""

from __future__ import annotations

import ctypes as c
import math
import os
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflgpu.model.graph import BITS, DTYPES, Array, TensorSpec

OK, ERROR = 0, 1
INIT_FAILED = 2**64 - 1
"""What a kernel's init returns where it failed: the address -1."""
NO_HANDLE = -1

ALLOW_DYNAMIC, PROPAGATE_SHAPES = 1, 2
"""A delegate's flags: it takes graphs with dynamic tensors; the runtime tells its kernels the shapes."""

MMAP_RO, ARENA_RW, ARENA_RW_PERSISTENT, DYNAMIC, PERSISTENT_RO = 1, 2, 3, 4, 5
"""Where a tensor's memory comes from (TfLiteAllocationType)."""

CUSTOM, DELEGATE = 32, 51
"""The builtin codes of all custom operators, and of the node that a delegate's kernel is."""

_TYPES = (
    "NOTYPE FLOAT32 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT16 FLOAT64 COMPLEX128 UINT64 RESOURCE "
    "VARIANT UINT32 UINT16 INT4 BFLOAT16 INT2 UINT4 FLOAT8_E4M3FN FLOAT8_E5M2"
)
TYPES = _TYPES.split()
"""The schema's names of element types by TfLiteType."""
TYPE_CODES = {name: number for number, name in enumerate(TYPES)}

Pointer = c.c_void_p


class QuantizationParams(c.Structure):
    """The scale and zero point of a tensor quantized as a whole."""

    _fields_ = [("scale", c.c_float), ("zero_point", c.c_int32)]


class Quantization(c.Structure):
    """type 1: params is an AffineQuantization."""

    _fields_ = [("type", c.c_int), ("params", Pointer)]


class AffineQuantization(c.Structure):
    """scale is a TfLiteFloatArray, zero_point a TfLiteIntArray."""

    _fields_ = [("scale", Pointer), ("zero_point", Pointer), ("quantized_dimension", c.c_int32)]


class Tensor(c.Structure):
    _fields_ = [
        ("type", c.c_int),
        ("data", Pointer),
        ("dims", Pointer),
        ("params", QuantizationParams),
        ("allocation_type", c.c_int),
        ("bytes", c.c_size_t),
        ("allocation", Pointer),
        ("name", c.c_char_p),
        ("delegate", Pointer),
        ("buffer_handle", c.c_int),
        ("data_is_stale", c.c_bool),
        ("is_variable", c.c_bool),
        ("quantization", Quantization),
        ("sparsity", Pointer),
        ("dims_signature", Pointer),
    ]


class Node(c.Structure):
    _fields_ = [
        ("inputs", Pointer),
        ("outputs", Pointer),
        ("intermediates", Pointer),
        ("temporaries", Pointer),
        ("user_data", Pointer),
        ("builtin_data", Pointer),
        ("custom_initial_data", Pointer),
        ("custom_initial_data_size", c.c_int),
        ("delegate", Pointer),
        ("might_have_side_effect", c.c_bool),
    ]


class DimensionMetadata(c.Structure):
    """format 0 is dense; array_segments and array_indices are TfLiteIntArrays."""

    _fields_ = [("format", c.c_int), ("dense_size", c.c_int), ("array_segments", Pointer), ("array_indices", Pointer)]


class Sparsity(c.Structure):
    _fields_ = [
        ("traversal_order", Pointer),
        ("block_map", Pointer),
        ("dim_metadata", c.POINTER(DimensionMetadata)),
        ("dim_metadata_size", c.c_int),
    ]


INIT = c.CFUNCTYPE(Pointer, Pointer, Pointer, c.c_size_t)
FREE = c.CFUNCTYPE(None, Pointer, Pointer)
RUN = c.CFUNCTYPE(c.c_int, Pointer, Pointer)
"""(context, node or delegate) -> status: a kernel's prepare and invoke, a delegate's Prepare."""
COPY = c.CFUNCTYPE(c.c_int, Pointer, Pointer, c.c_int, Pointer)
FREE_HANDLE = c.CFUNCTYPE(None, Pointer, Pointer, c.POINTER(c.c_int))


class Registration(c.Structure):
    """The last three members came in 2022 and 2023: libraries built before leave garbage there."""

    _fields_ = [
        ("init", INIT),
        ("free", FREE),
        ("prepare", RUN),
        ("invoke", RUN),
        ("profiling_string", Pointer),
        ("builtin_code", c.c_int32),
        ("custom_name", c.c_char_p),
        ("version", c.c_int),
        ("registration_external", Pointer),
        ("async_kernel", Pointer),
        ("inplace_operator", c.c_uint64),
    ]


class Delegate(c.Structure):
    _fields_ = [
        ("data_", Pointer),
        ("Prepare", RUN),
        ("CopyFromBufferHandle", COPY),
        ("CopyToBufferHandle", COPY),
        ("FreeBufferHandle", FREE_HANDLE),
        ("flags", c.c_int64),
        ("opaque_delegate_builder", Pointer),
    ]


class DelegateParams(c.Structure):
    _fields_ = [(name, Pointer) for name in ("delegate", "nodes_to_replace", "input_tensors", "output_tensors")]


def variadic(system: str, machine: str) -> tuple[Any, ...]:
    """The parameters by which a callback finds the arguments of a variadic call; none where they cannot be found so.

    x86-64 Linux and macOS pass them in registers, then on the stack. Fewer may have been given: what is
    read beyond them is never used.
    """
    if system != "posix" or machine not in ("x86_64", "AMD64"):
        return ()
    return (c.c_uint64,) * 4 + (c.c_double,) * 8 + (c.c_uint64,) * 24


VARIADIC = variadic(os.name, platform.machine())

CALLBACKS: dict[str, Any] = {
    "GetExecutionPlan": c.CFUNCTYPE(c.c_int, Pointer, c.POINTER(Pointer)),
    "ResizeTensor": c.CFUNCTYPE(c.c_int, Pointer, Pointer, Pointer),
    "ReportError": c.CFUNCTYPE(None, Pointer, c.c_char_p, *VARIADIC),
    "AddTensors": c.CFUNCTYPE(c.c_int, Pointer, c.c_int, c.POINTER(c.c_int)),
    "GetNodeAndRegistration": c.CFUNCTYPE(c.c_int, Pointer, c.c_int, c.POINTER(Pointer), c.POINTER(Pointer)),
    "ReplaceNodeSubsetsWithDelegateKernels": c.CFUNCTYPE(c.c_int, Pointer, Registration, Pointer, Pointer),
    "GetExternalContext": c.CFUNCTYPE(Pointer, Pointer, c.c_int),
    "SetExternalContext": c.CFUNCTYPE(None, Pointer, c.c_int, Pointer),
    "PreviewDelegatePartitioning": c.CFUNCTYPE(
        c.c_int, Pointer, Pointer, c.POINTER(c.POINTER(DelegateParams)), c.POINTER(c.c_int)
    ),
    "GetModelMetadata": c.CFUNCTYPE(c.c_int, Pointer, c.c_char_p, c.POINTER(Pointer), c.POINTER(c.c_size_t)),
    "AcquireSubgraphContext": c.CFUNCTYPE(c.c_int, Pointer, c.c_int, c.POINTER(Pointer)),
    "ReleaseSubgraphContext": c.CFUNCTYPE(c.c_int, Pointer, c.c_int),
}
"""The functions that a context offers; the others of its members are left NULL, as Google's runtime does."""


class Context(c.Structure):
    _fields_ = [
        ("tensors_size", c.c_size_t),
        ("GetExecutionPlan", CALLBACKS["GetExecutionPlan"]),
        ("tensors", Pointer),
        ("impl_", Pointer),
        ("ResizeTensor", CALLBACKS["ResizeTensor"]),
        ("ReportError", CALLBACKS["ReportError"]),
        ("AddTensors", CALLBACKS["AddTensors"]),
        ("GetNodeAndRegistration", CALLBACKS["GetNodeAndRegistration"]),
        ("ReplaceNodeSubsetsWithDelegateKernels", CALLBACKS["ReplaceNodeSubsetsWithDelegateKernels"]),
        ("recommended_num_threads", c.c_int),
        ("GetExternalContext", CALLBACKS["GetExternalContext"]),
        ("SetExternalContext", CALLBACKS["SetExternalContext"]),
        ("allow_fp32_relax_to_fp16", c.c_bool),
        ("profiler", Pointer),
        ("AllocatePersistentBuffer", Pointer),
        ("AllocateBufferForEval", Pointer),
        ("RequestScratchBufferInArena", Pointer),
        ("GetScratchBuffer", Pointer),
        ("ResizeTensorExplicit", Pointer),
        ("PreviewDelegatePartitioning", CALLBACKS["PreviewDelegatePartitioning"]),
        ("GetTensor", Pointer),
        ("GetEvalTensor", Pointer),
        ("GetModelMetadata", CALLBACKS["GetModelMetadata"]),
        ("AcquireSubgraphContext", CALLBACKS["AcquireSubgraphContext"]),
        ("ReleaseSubgraphContext", CALLBACKS["ReleaseSubgraphContext"]),
    ]


_SIZES = (
    (Tensor, 112),
    (Node, 80),
    (Registration, 88),
    (Delegate, 56),
    (DelegateParams, 32),
    (Context, 200),
    (AffineQuantization, 24),
)
for _struct, _size in _SIZES:
    if c.sizeof(_struct) != _size:
        raise ImportError(f"{_struct.__name__} has {c.sizeof(_struct)} bytes here and {_size} in TensorFlow Lite")

# Arrays that change hands are freed by whoever has them last, so all of them come from the C library.
_LIBC = c.CDLL("ucrtbase" if os.name == "nt" else None)
_LIBC.malloc.restype, _LIBC.malloc.argtypes = Pointer, [c.c_size_t]
_LIBC.free.restype, _LIBC.free.argtypes = None, [Pointer]
free = _LIBC.free


def int_array(values: Sequence[int]) -> int:
    """The address of a new TfLiteIntArray, to be freed with `free`."""
    address: int = _LIBC.malloc(4 * (len(values) + 1))
    (c.c_int32 * (len(values) + 1)).from_address(address)[:] = [len(values), *values]
    return address


def copied(content: bytes) -> int:
    """The address of a copy, to be freed with `free`."""
    address: int = _LIBC.malloc(max(len(content), 1))
    c.memmove(address, content, len(content))
    return address


def float_array(values: Sequence[float]) -> int:
    """The address of a new TfLiteFloatArray, to be freed with `free`."""
    address: int = _LIBC.malloc(4 * (len(values) + 1))
    c.c_int32.from_address(address).value = len(values)
    (c.c_float * len(values)).from_address(address + 4)[:] = list(values)
    return address


def ints(address: int | None) -> list[int]:
    """The values of a TfLiteIntArray; none where there is no array."""
    return _values(address, c.c_int32)


def floats(address: int | None) -> list[float]:
    """The values of a TfLiteFloatArray; none where there is no array."""
    return _values(address, c.c_float)


def _values(address: int | None, kind: Any) -> list[Any]:
    return list((kind * c.c_int32.from_address(address).value).from_address(address + 4)) if address else []


def tensor_at(context: Context, index: int) -> Tensor:
    """The tensor of a context at `index`, where it is."""
    return Tensor.from_address(context.tensors + index * c.sizeof(Tensor))


def node_at(context: Context, index: int) -> tuple[Node, Registration]:
    """A node of a context and what it does. Raises RuntimeError where the context has none of that number."""
    node, registration = Pointer(), Pointer()
    status = context.GetNodeAndRegistration(c.addressof(context), index, c.byref(node), c.byref(registration))
    if status != OK or not node.value or not registration.value:
        raise RuntimeError(f"the runtime has no node {index}")
    return Node.from_address(node.value), Registration.from_address(registration.value)


def memory(address: int, nbytes: int) -> Array:
    """nbytes of memory at an address, as uint8; whoever owns it must keep it."""
    return np.ctypeslib.as_array((c.c_uint8 * nbytes).from_address(address))


def array_at(tensor: Tensor, spec: TensorSpec) -> Array | None:
    """A view of a tensor's memory in spec's type and shape; None where it has none or is laid out otherwise."""
    nbytes = spec.dtype.itemsize * math.prod(spec.shape)
    if nbytes == 0:
        return np.empty(spec.shape, spec.dtype)
    if not tensor.data or spec.dtype == object or spec.type in BITS or tensor.bytes != nbytes:
        return None
    return memory(tensor.data, nbytes).view(DTYPES[spec.type]).reshape(spec.shape)
