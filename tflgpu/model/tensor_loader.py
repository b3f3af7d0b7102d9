"""The tensors of one graph of a verified file: types, shapes, quantization, values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tflgpu.model.constants import Budget, decode, read_sparsity
from tflgpu.model.graph import BITS, DTYPES, Array, Quantization, Shape, Sparsity, TensorSpec
from tflgpu.model.verifier import Table

MAX_RANK = 32  # what NumPy 1 can hold


class Buffers:
    """The raw data of a file: in its buffers, or outside the FlatBuffer at an offset of the file."""

    def __init__(self, tables: Sequence[Table], content: memoryview, budget: Budget):
        self.tables = tables
        self.content = content
        self.budget = budget
        # Tensors of several graphs may share a buffer: what must be copied is copied once.
        self.decoded: dict[tuple[int, str, Shape], Array] = {}

    def find(self, index: int, what: str) -> Array | None:
        """The bytes of a buffer, None where it has none. Raises ValueError for one that is not there."""
        if index == 0:
            return None
        if index >= len(self.tables):
            raise ValueError(f"{what} specifies out of range buffer {index} (only {len(self.tables)} buffers).\n")
        table = self.tables[index]
        if table.data is not None:
            return table.data
        if table.offset <= 1:
            return None
        if table.offset + table.size > len(self.content):
            raise ValueError(
                f"Constant buffer {index} specified an out of range offset.\n"
                f"({table.offset} + {table.size} in {len(self.content)} bytes)"
            )
        return np.frombuffer(self.content, np.uint8, table.size, table.offset) if table.size else np.zeros(0, np.uint8)

    def copy(self, index: int) -> bytes:
        """The bytes of a buffer that are not a tensor's."""
        found = self.find(index, "Metadata")
        if found is None:
            return b""
        self.budget.spend(found.size)
        return found.tobytes()

    def outside(self, offset: int, size: int, what: str) -> bytes:
        """Bytes after the FlatBuffer. Raises ValueError where they are not in the file."""
        if offset + size > len(self.content):
            raise ValueError(f"Custom Option Offset for {what} is out of bound\n({offset} + {size})")
        self.budget.spend(size)
        return bytes(self.content[offset : offset + size])

    def value(self, index: int, raw: Array, type_: str, shape: Shape, sparsity: Sparsity | None) -> Array:
        """The value of a tensor that has these bytes."""
        if sparsity is not None or not (type_ in BITS or type_ in ("STRING", "BOOL")):
            return decode(raw, type_, shape, sparsity, self.budget)
        key = (index, type_, shape)
        if key not in self.decoded:
            self.decoded[key] = decode(raw, type_, shape, None, self.budget)
        return self.decoded[key]


def load_tensors(graph: int, tables: Sequence[Table], buffers: Buffers) -> tuple[TensorSpec, ...]:
    """The tensors of a graph. Raises ValueError, which names the tensor."""
    tensors: list[TensorSpec] = []
    blockwise = []
    for i, table in enumerate(tables):
        try:
            tensors.append(_tensor(i, table, buffers))
            if table.quantization is not None and table.quantization.details_type == "BlockwiseQuantization":
                blockwise.append(i)
        except ValueError as error:
            raise ValueError(f"{error} (tensor {i} {table.name!r} of subgraph {graph})") from None
    for i in blockwise:
        try:
            quantization = _blockwise(tables[i].quantization, tensors[i], tensors)
        except ValueError as error:
            raise ValueError(f"{error}Tensor {i} has invalid quantization parameters. (subgraph {graph})") from None
        tensors[i] = replace(tensors[i], quantization=quantization)
    return tuple(tensors)


def _tensor(index: int, table: Table, buffers: Buffers) -> TensorSpec:
    type_ = table.type
    if type_ not in DTYPES:
        raise ValueError(f"Unsupported data type {type_} in tensor\n")
    shape = table.shape or ()
    if len(shape) > MAX_RANK:
        raise ValueError(f"a shape of {len(shape)} dimensions; at most {MAX_RANK} are supported")
    raw = buffers.find(table.buffer, f"Tensor {index}")
    if (shape and min(shape) < 0) or math.prod(shape) * DTYPES[type_].itemsize >= 1 << 63:
        raise ValueError(f"BytesRequired number of elements overflowed.\nshape {list(shape)} cannot be allocated")
    try:
        quantization = None if table.quantization is None else _quantization(table.quantization, shape)
    except ValueError as error:
        raise ValueError(f"{error}Tensor {index} has invalid quantization parameters.") from None
    if table.external_buffer:
        raise ValueError(f"its data are in external buffer {table.external_buffer}: external files are not supported")
    sparsity = data = None
    if raw is not None and type_ not in ("RESOURCE", "VARIANT"):
        if table.is_variable:
            raise ValueError(
                f"Tensor {index} is a variable tensor with buffer or external buffer. It's not supported now.\n"
            )
        if table.sparsity is not None:
            sparsity = read_sparsity(table.sparsity)
        data = buffers.value(table.buffer, raw, type_, shape, sparsity)
    return TensorSpec(
        index, table.name or "", type_, shape, table.shape_signature, quantization, data, table.is_variable, sparsity
    )


def _quantization(table: Table, shape: Shape) -> Quantization | None:
    """The scales and zero points of a tensor, None without; blockwise ones follow when all tensors are known."""
    if table.details_type == "MultiAxisQuantization":
        raise ValueError("MultiAxisQuantization is not supported; per tensor, per channel and blockwise are. ")
    if table.details_type == "BlockwiseQuantization" or table.scale is None or not table.scale.size:
        return None
    if table.zero_point is None:
        raise ValueError("Quantization parameters has non-null scale but null zero_point.")
    scales, zero_points = table.scale.size, len(table.zero_point)
    if scales != zero_points:
        raise ValueError(
            f"QuantizationParam has {zero_points} zero_point values and {scales} scale values. Must have same number."
        )
    axis = table.quantized_dimension
    if axis < 0 or (shape and axis >= len(shape)):
        raise ValueError(f"quantized_dimension must be in range [0, {len(shape)}). Was {axis}.")
    if scales != 1 and shape and scales != shape[axis]:
        raise ValueError(
            f"num_scales must be 1 for per-layer quantization, or {shape[axis]} for per-axis quantization, "
            f"but got {scales}."
        )
    # TensorFlow Lite keeps the low 32 bits of a zero point.
    zero_point = np.array(table.zero_point, np.int64).astype(np.int32)
    zero_point.flags.writeable = False
    return Quantization(table.scale, zero_point, axis)


def _blockwise(table: Table, spec: TensorSpec, tensors: Sequence[TensorSpec]) -> Quantization:
    """Scales (and zero points) that are tensors themselves: one for each block of a row."""
    details = table.details
    if details is None:
        raise ValueError("Blockwise quantization details are missing.")
    if details.block_size <= 0 or not spec.shape or spec.shape[-1] % details.block_size:
        raise ValueError(f"blocks of {details.block_size} do not divide the rows of {list(spec.shape)}. ")
    blocks = math.prod(spec.shape) // details.block_size
    rows = math.prod(spec.shape[:-1])
    arrays = []
    for name, index in (("scales", details.scales), ("zero_points", details.zero_points)):
        if name == "zero_points" and index == -1:
            arrays.append(np.zeros((rows, blocks // rows if rows else 0), np.int32))
            continue
        if not 0 <= index < len(tensors) or tensors[index].data is None:
            raise ValueError(f"blockwise {name} must be a constant tensor, is {index} of {len(tensors)}. ")
        value, type_ = tensors[index].data, tensors[index].type
        assert value is not None
        allowed = ("FLOAT16", "FLOAT32") if name == "scales" else ("INT32", "INT8", "INT4", "UINT8", "UINT4", "INT16")
        if type_ not in allowed or value.size != blocks:
            raise ValueError(f"blockwise {name} must be {blocks} of type {', '.join(allowed)}, are {tensors[index]}. ")
        arrays.append(value.reshape(rows, -1).astype(np.float32 if name == "scales" else np.int32))
    return Quantization(arrays[0], arrays[1], table.quantized_dimension, details.block_size)
