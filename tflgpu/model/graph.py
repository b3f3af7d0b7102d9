"""What a model is: graphs of nodes over tensors, as frozen data that a resize replaces and never changes."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Options = SimpleNamespace
"""A node's builtin options, by the schema's field names; enum fields hold the enum's name ("SAME", "RELU6")."""

# The array type of each element type. 4- and 2-bit integers are unpacked, one a byte; bfloat16 and the 8-bit floats
# are their bits; a string is bytes; a resource is the number of its entry in the runtime.
DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "FLOAT32": np.float32,
        "FLOAT16": np.float16,
        "INT32": np.int32,
        "UINT8": np.uint8,
        "INT64": np.int64,
        "STRING": object,
        "BOOL": np.bool_,
        "INT16": np.int16,
        "COMPLEX64": np.complex64,
        "INT8": np.int8,
        "FLOAT64": np.float64,
        "COMPLEX128": np.complex128,
        "UINT64": np.uint64,
        "RESOURCE": np.int32,
        "VARIANT": object,
        "UINT32": np.uint32,
        "UINT16": np.uint16,
        "INT4": np.int8,
        "BFLOAT16": np.uint16,
        "INT2": np.int8,
        "UINT4": np.uint8,
        "FLOAT8_E4M3FN": np.uint8,
        "FLOAT8_E5M2": np.uint8,
    }.items()
}

BITS: Mapping[str, int] = {"INT4": 4, "UINT4": 4, "INT2": 2}
"""Bits of an element in the file, for the types narrower than a byte."""


@dataclass(frozen=True, eq=False, slots=True)
class Quantization:
    """real = scale * (quantized - zero_point).

    scale and zero_point have one entry for the whole tensor, or one for each index of `axis`. Blockwise
    quantization (block_size > 0) has scale (rows, columns / block_size) in float16, cast to float32.
    """

    scale: Array
    zero_point: Array
    axis: int = 0
    block_size: int = 0

    @property
    def per_channel(self) -> bool:
        return self.scale.size > 1


@dataclass(frozen=True, eq=False, slots=True)
class DimensionMetadata:
    """One dimension of a sparse tensor: dense of a size, or compressed (CSR) by segments and indices."""

    format: str
    dense_size: int
    array_segments: Array | None = None
    array_indices: Array | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Sparsity:
    """How a constant's compressed values lie in its dense shape (TACO's traversal order and block map)."""

    traversal_order: tuple[int, ...]
    block_map: tuple[int, ...]
    dim_metadata: tuple[DimensionMetadata, ...]


@dataclass(frozen=True, eq=False, slots=True)
class TensorSpec:
    """A tensor as known before anything runs.

    shape: as last inferred. shape_signature: as in the model, -1 where any size goes; None without one.
    data: the value where it is constant (read-only; a sparse tensor's are its 1-D compressed values).
    """

    index: int
    name: str
    type: str
    shape: Shape
    shape_signature: Shape | None = None
    quantization: Quantization | None = None
    data: Array | None = None
    is_variable: bool = False
    sparsity: Sparsity | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.type]

    @property
    def scale(self) -> np.float32:
        """The scale of a tensor quantized as a whole. Raises RuntimeError where there is none."""
        return np.float32(self._quantization().scale[0])

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor quantized as a whole. Raises RuntimeError where there is none."""
        return int(self._quantization().zero_point[0])

    def _quantization(self) -> Quantization:
        if self.quantization is None:
            raise RuntimeError(f"{self} has no quantization parameters. ")
        return self.quantization

    def __str__(self) -> str:
        return f"tensor {self.index} {self.name!r} {self.type} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Composite:
    """Where an inlined node comes from.

    name: of the composite, e.g. "odml.rms_norm". node: the number of the outermost one. inner: the node's own number in
    the decomposition.
    """

    name: str
    node: int
    inner: int


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One operation. inputs and outputs in the operator's order; None where an optional input is absent."""

    index: int
    op: str
    version: int
    options: Options
    inputs: tuple[TensorSpec | None, ...]
    outputs: tuple[TensorSpec, ...]
    intermediates: tuple[TensorSpec, ...] = ()
    is_custom: bool = False
    custom_options: bytes = b""
    composite: Composite | None = None

    def input(self, position: int) -> TensorSpec:
        """The input at `position`, which must be there. Raises RuntimeError where it is absent."""
        spec = self.inputs[position] if position < len(self.inputs) else None
        if spec is None:
            raise RuntimeError(f"Tensor at index {position} was optional but was expected\n")
        return spec

    def optional(self, position: int) -> TensorSpec | None:
        """The input at `position`, or None where the node has none there."""
        return self.inputs[position] if position < len(self.inputs) else None

    def __str__(self) -> str:
        return f"node {self.index} {self.op}"


def graphs_named(node: Node) -> list[int]:
    """The indices of the graphs that a node runs, by its options."""
    named: list[int] = []
    for name, value in vars(node.options).items():
        if name.endswith("subgraph_index") or name == "subgraph":
            named.append(int(value))
        elif name.endswith("subgraph_indices") or name == "called_computations":
            named += map(int, value)
    return named


class CallersText(bytes):
    """A string that a caller gave, which operators that move it keep: the model itself made any other one."""


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """Nodes in execution order over tensors; inputs and outputs are tensor indices."""

    index: int
    name: str
    tensors: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Signature:
    """A named entry point: argument and result names to tensor indices of one graph."""

    key: str
    graph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A verified .tflite file. builtins: its builtin operators with their versions, also those that no node has.

    content: the file's bytes, of which its constants are views.
    """

    version: int
    description: str
    graphs: tuple[Graph, ...]
    builtins: tuple[tuple[str, int], ...] = ()
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    content: memoryview = field(default_factory=lambda: memoryview(b""))

    @property
    def nbytes(self) -> int:
        return len(self.content)

    def require_whole(self) -> None:
        """Raises RuntimeError where the mapped file has become shorter: reading what it lacks would end the process."""
        file = self.content.obj
        if isinstance(file, mmap.mmap) and file.size() < self.nbytes:
            raise RuntimeError(f"The model's file had {self.nbytes:,} bytes and has {file.size():,} now.")
