"""TensorSpecs as the C structs that a native delegate reads, and the memory that these need."""

from __future__ import annotations

import ctypes as c
import math
from typing import Any

import numpy as np

from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.structs import Tensor
from tflgpu.memory import aligned_zeros
from tflgpu.model.constants import encode
from tflgpu.model.graph import BITS, Array, Shape, Sparsity, TensorSpec

SPARE = 64
"""Tensors that a delegate can add before the array of them must move."""


class NativeTensors:
    """The tensors of a context: an array of structs that may grow, and what their pointers point to."""

    def __init__(self, specs: tuple[TensorSpec, ...]):
        self._arrays = [(Tensor * (len(specs) + SPARE))()]
        self.count = len(specs)
        self._constants: dict[int, Any] = {}
        self._memory: dict[int, Array] = {}
        self._keep: list[Any] = []
        self._owned: list[int] = []
        for spec in specs:
            self._describe(spec)

    @property
    def address(self) -> int:
        return c.addressof(self._arrays[-1])

    def __getitem__(self, index: int) -> Tensor:
        return self._arrays[-1][index]

    def index_of(self, address: int) -> int:
        """The number of the tensor at an address. Raises RuntimeError where there is none."""
        for array in reversed(self._arrays):
            index, rest = divmod(address - c.addressof(array), c.sizeof(Tensor))
            if 0 <= index < self.count and rest == 0:
                return index
        raise RuntimeError(f"there is no tensor at {address:#x}")

    def add(self, count: int) -> int:
        """Room for more tensors; the number of the first of them."""
        first = self.count
        if first + count > len(self._arrays[-1]):
            # Who kept the address of a tensor finds the old array still there.
            grown = (Tensor * (2 * (first + count)))()
            c.memmove(grown, self._arrays[-1], first * c.sizeof(Tensor))
            self._arrays.append(grown)
        self.count = first + count
        for index in range(first, self.count):
            self[index].buffer_handle = structs.NO_HANDLE
        return first

    def reshape(self, spec: TensorSpec) -> None:
        """Gives a tensor the shape of spec, and its constant value where it has one."""
        tensor = self[spec.index]
        if tuple(structs.ints(tensor.dims)) != spec.shape:
            structs.free(tensor.dims)
            tensor.dims = structs.int_array(spec.shape)
            tensor.bytes = _nbytes(spec)
        if spec.data is not None and self._constants.get(spec.index) is not spec.data:
            self._set_constant(tensor, spec)

    def set_dims(self, tensor: Tensor, dims: int) -> None:
        """Gives a tensor the TfLiteIntArray at dims, which it now owns, and the size that follows from it."""
        if tensor.dims and tensor.dims != dims:
            structs.free(tensor.dims)
        tensor.dims = dims
        name = structs.TYPES[tensor.type]
        spec = TensorSpec(0, "", name if name != "NOTYPE" else "UINT8", tuple(structs.ints(dims)))
        tensor.bytes = _nbytes(spec)

    def allocate(self, index: int) -> None:
        """Gives a tensor zeroed memory of its own, of its present size; strings have none before they are written."""
        if self._is_text(index):
            return
        tensor = self[index]
        self._memory[index] = aligned_zeros(max(tensor.bytes, 1))
        tensor.data = self._memory[index].ctypes.data

    def set_strings(self, index: int, content: bytes) -> None:
        """Gives a string tensor its value, in memory that whoever writes another may free, as TensorFlow Lite does."""
        tensor = self[index]
        structs.free(tensor.data)
        tensor.data, tensor.bytes = structs.copied(content), len(content)

    def close(self) -> None:
        """Frees what was allocated for the tensors."""
        for index in range(self.count):
            tensor = self[index]
            if self._is_text(index):
                structs.free(tensor.data)
            for address in (tensor.dims, tensor.dims_signature):
                if address:
                    structs.free(address)
            tensor.dims = tensor.dims_signature = tensor.data = None
        for address in self._owned:
            structs.free(address)
        self._owned.clear()

    def _is_text(self, index: int) -> bool:
        return self[index].type == structs.TYPE_CODES["STRING"] and self[index].allocation_type == structs.DYNAMIC

    def _describe(self, spec: TensorSpec) -> None:
        tensor = self[spec.index]
        tensor.type = structs.TYPE_CODES[spec.type]
        tensor.dims = structs.int_array(spec.shape)
        tensor.dims_signature = structs.int_array(spec.shape_signature or ())
        tensor.bytes = _nbytes(spec)
        name = spec.name.encode()
        self._keep.append(name)
        tensor.name = name
        tensor.buffer_handle = structs.NO_HANDLE
        tensor.is_variable = spec.is_variable
        tensor.allocation_type = structs.ARENA_RW_PERSISTENT if spec.is_variable else structs.ARENA_RW
        if spec.dtype == object:
            tensor.allocation_type = structs.DYNAMIC
        q = spec.quantization
        if q is not None and not q.block_size:
            scale = structs.float_array([float(s) for s in q.scale])
            zero_point = structs.int_array([int(z) for z in q.zero_point])
            self._owned += [scale, zero_point]
            affine = structs.AffineQuantization(scale, zero_point, q.axis)
            self._keep.append(affine)
            tensor.quantization = structs.Quantization(1, c.addressof(affine))
            if q.scale.size == 1:
                tensor.params = structs.QuantizationParams(float(q.scale[0]), int(q.zero_point[0]))
        if spec.sparsity is not None:
            tensor.sparsity = c.addressof(self._sparsity(spec.sparsity))
        if spec.data is not None:
            self._set_constant(tensor, spec)

    def _set_constant(self, tensor: Tensor, spec: TensorSpec) -> None:
        assert spec.data is not None
        packed = spec.type in BITS or spec.dtype == object
        data = np.frombuffer(encode(spec.data, spec.type), np.uint8) if packed else np.ascontiguousarray(spec.data)
        self._constants[spec.index] = spec.data
        self._memory[spec.index] = data
        tensor.data, tensor.bytes, tensor.allocation_type = data.ctypes.data, data.nbytes, structs.MMAP_RO

    def _sparsity(self, sparsity: Sparsity) -> structs.Sparsity:
        levels = (structs.DimensionMetadata * len(sparsity.dim_metadata))()
        for level, known in zip(levels, sparsity.dim_metadata, strict=True):
            level.format, level.dense_size = known.format != "DENSE", known.dense_size
            level.array_segments, level.array_indices = map(self._ints, (known.array_segments, known.array_indices))
        order, blocks = self._ints(sparsity.traversal_order), self._ints(sparsity.block_map)
        self._keep += [levels, structs.Sparsity(order, blocks, levels, len(levels))]
        found: structs.Sparsity = self._keep[-1]
        return found

    def _ints(self, values: Any) -> int | None:
        if values is None:
            return None
        self._owned.append(structs.int_array([int(v) for v in values]))
        return self._owned[-1]


def _nbytes(spec: TensorSpec) -> int:
    """Bytes of a tensor as C has it, where the narrow types are packed."""
    count = math.prod(spec.shape)
    if spec.type in BITS:
        return -(-count * BITS[spec.type] // 8)
    return 0 if spec.dtype == object else count * spec.dtype.itemsize


def shape_of(tensor: Tensor) -> Shape:
    """A tensor's present shape."""
    return tuple(structs.ints(tensor.dims))
