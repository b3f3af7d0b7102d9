"""The values of constant tensors in a file: dense, packed 4- and 2-bit, sparse, strings."""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import Any

import numpy as np

from tflgpu.model.graph import BITS, DTYPES, Array, DimensionMetadata, Shape, Sparsity
from tflgpu.model.verifier import Table


class Budget:
    """Bounds what a file may make us copy: a multiple of its own size, however often it names the same bytes."""

    def __init__(self, nbytes: int):
        self.left = 4 * nbytes + (1 << 20)

    def spend(self, nbytes: int) -> None:
        self.left -= nbytes
        if self.left < 0:
            raise ValueError("constants that must be copied refer to more than four times the file")


def decode(raw: Array, type_: str, shape: Shape, sparsity: Sparsity | None, budget: Budget) -> Array:
    """A tensor's value from its bytes: a view where possible. Raises ValueError.

    Sparse: the compressed values, 1-D. Strings: an object array of bytes.
    """
    if type_ == "STRING":
        return _strings(raw, shape, budget)
    count = math.prod(shape) if sparsity is None else count_sparse(shape, sparsity)
    bits = BITS.get(type_)
    dtype = DTYPES[type_]
    nbytes = -(-count * bits // 8) if bits else count * dtype.itemsize
    if raw.size < nbytes:
        raise ValueError(f"{type_} {list(shape)} takes {nbytes} bytes, its buffer has {raw.size}")
    raw = raw[:nbytes]
    if bits:
        budget.spend(raw.size * 8 // bits)
        value = _unpack(raw, bits, type_ != "UINT4", count)
    elif type_ == "BOOL":
        budget.spend(raw.size)
        value = raw != 0
    else:
        value = raw.view(dtype.newbyteorder("<"))
        if not value.flags.aligned:
            budget.spend(raw.size)
        value = np.require(value, dtype, ["A"])
    value = value.reshape(shape if sparsity is None else (count,))
    value.flags.writeable = False
    return value


def _unpack(raw: Array, bits: int, signed: bool, count: int) -> Array:
    """One element a byte; the first is in the low bits."""
    high = 8 - bits
    unpacked = np.empty((raw.size, 8 // bits), np.uint8)
    for i in range(8 // bits):
        np.left_shift(raw, high - i * bits, out=unpacked[:, i])
    values: Array = unpacked.reshape(-1)[:count]
    return values.view(np.int8) >> np.int8(high) if signed else values >> np.uint8(high)


def _strings(raw: Array, shape: Shape, budget: Budget) -> Array:
    budget.spend(4 * raw.size)
    content = raw.tobytes()
    count = int.from_bytes(content[:4], "little", signed=True)
    header = 4 * (count + 2)
    if len(content) < 4 or count < 0 or header > len(content):
        raise ValueError(f"a string buffer of {len(content)} bytes cannot hold the offsets of {count} strings")
    if count != math.prod(shape):
        raise ValueError(f"STRING {list(shape)} takes {math.prod(shape)} strings, its buffer has {count}")
    offsets = np.frombuffer(content, "<i4", count + 1, 4)
    if offsets[0] != header or offsets[-1] > len(content) or (np.diff(offsets) < 0).any():
        raise ValueError(f"the offsets of a string buffer must rise from {header} to at most {len(content)}")
    value = np.empty(count, object)
    ends = offsets.tolist()
    value[:] = [content[start:end] for start, end in pairwise(ends)]
    shaped: Array = value.reshape(shape)
    shaped.flags.writeable = False
    return shaped


def encode(array: Array, type: str) -> bytes:
    """The bytes that `decode` reads as these elements."""
    if type == "STRING":
        return _encode_strings([s.encode() if isinstance(s, str) else bytes(s) for s in array.ravel().tolist()])
    dtype = DTYPES[type]
    same_bits = array.dtype.itemsize == dtype.itemsize and array.dtype.kind not in "bifuc"
    little = dtype.newbyteorder("<")
    flat = np.ascontiguousarray(array.ravel().view(dtype) if same_bits else array.ravel().astype(little)).astype(little)
    if type not in BITS:
        return flat.tobytes()
    bits = BITS[type]
    per_byte = 8 // bits
    values = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    values[: flat.size] = flat.view(np.uint8) & (2**bits - 1)
    shifted = values.reshape(-1, per_byte) << np.arange(0, 8, bits, dtype=np.uint8)
    return np.bitwise_or.reduce(shifted, axis=1).astype(np.uint8).tobytes()


def _encode_strings(strings: list[bytes]) -> bytes:
    ends = np.cumsum([0, *map(len, strings)], dtype=np.int64) + 4 * (len(strings) + 2)
    return struct.pack(f"<{len(ends) + 1}i", len(strings), *ends.tolist()) + b"".join(strings)


def read_sparsity(table: Table) -> Sparsity:
    """The sparsity of a tensor in the file. Raises ValueError."""
    if table.traversal_order is None or table.dim_metadata is None:
        raise ValueError("Invalid sparsity parameter.")
    dimensions = []
    for i, d in enumerate(table.dim_metadata):
        if d.format == "DENSE":
            dimensions.append(DimensionMetadata("DENSE", d.dense_size))
            continue
        if d.format != "SPARSE_CSR":
            raise ValueError(f"The {i}th dimension has unknown type: {d.format}.")
        segments, indices = _indices(d.array_segments), _indices(d.array_indices)
        if segments is None or indices is None:
            raise ValueError(f"The {i}th sparse dimension has invalid parameters.")
        dimensions.append(DimensionMetadata("SPARSE_CSR", d.dense_size, segments, indices))
    return Sparsity(table.traversal_order, table.block_map or (), tuple(dimensions))


def _indices(vector: Any) -> Array | None:
    """As int32, whatever the width in the file, so that no arithmetic is done in bytes."""
    return None if vector is None or vector.values is None else vector.values.astype(np.int32, copy=False)


def count_sparse(shape: Shape, sparsity: Sparsity) -> int:
    """How many values a sparse tensor stores. Raises ValueError where its levels do not fit each other or the shape."""
    sizes = _level_sizes(shape, sparsity)
    count = 1
    for dimension, level in zip(sparsity.dim_metadata, sparsity.traversal_order, strict=True):
        if dimension.array_segments is None or dimension.array_indices is None:
            if dimension.dense_size != sizes[level]:
                raise ValueError(f"dense dimension {level} of size {dimension.dense_size} should have {sizes[level]}")
            count *= dimension.dense_size
            continue
        segments, indices = dimension.array_segments, dimension.array_indices
        if segments.size != count + 1 or segments[0] != 0 or (segments[:-1] > segments[1:]).any():
            raise ValueError(f"sparse dimension {level} must have {count + 1} rising segments, has {segments.size}")
        if indices.size != segments[-1] or (indices.size and (indices.min() < 0 or indices.max() >= sizes[level])):
            raise ValueError(f"sparse dimension {level} must have {segments[-1]} indices below {sizes[level]}")
        count = indices.size
    return count


def _level_sizes(shape: Shape, sparsity: Sparsity) -> list[int]:
    """The size of each dimension, the tensor's and then the blocks', by the numbers in the traversal order."""
    order, rank = sparsity.traversal_order, len(shape)
    blocks = len(order) - rank
    if len(sparsity.dim_metadata) != len(order) or blocks < 0 or len(sparsity.block_map) != blocks:
        raise ValueError(
            f"sparsity of rank {rank} has {len(order)} traversed dimensions, "
            f"{len(sparsity.dim_metadata)} described, {len(sparsity.block_map)} blocks"
        )
    if sorted(order[:rank]) != list(range(rank)) or sorted(order[rank:]) != list(range(rank, len(order))):
        raise ValueError(f"traversal order {list(order)} must permute {rank} dimensions, then {blocks} of the blocks")
    sizes = [*shape, *[0] * blocks]
    for level, dimension in zip(order[rank:], sparsity.dim_metadata[rank:], strict=True):
        mapped, block = sparsity.block_map[level - rank], dimension.dense_size
        if block <= 0 or not 0 <= mapped < rank or sizes[mapped] % block:
            raise ValueError(f"blocks of {block} do not divide dimension {mapped} of {list(shape)}")
        sizes[level] = block
        sizes[mapped] //= block
    return sizes
