"""Builds .tflite files for tests, examples and authors of delegates. The bytes are deterministic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tflgpu.model.constants import encode
from tflgpu.model.graph import DTYPES, Sparsity
from tflgpu.model.schema import BUILTIN_OPERATORS, OPTIONS_OF, UNIONS, VERSION
from tflgpu.model.writer import Values, serialize

Numbers = float | int | Sequence[float] | Sequence[int] | npt.NDArray[Any]

# By the dtype's name, those of ml_dtypes too; where several types look alike in NumPy, the schema's first.
_TYPE_OF = {str(dtype): name for name, dtype in reversed(list(DTYPES.items()))} | {
    name: name.upper() for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "int2", "uint4")
}
_NARROW_INDICES = {"uint8": "Uint8Vector", "uint16": "Uint16Vector"}


class ModelBuilder:
    """A model under construction: graphs, then signatures and metadata, then `build`."""

    def __init__(self, description: str = "", version: int = VERSION):
        self.description = description
        self.version = version
        self.graphs: list[GraphBuilder] = []
        self._operator_codes: dict[tuple[str, int, bool], int] = {}
        self._buffers: list[bytes | None] = [None]
        self._metadata: list[Values] = []
        self._signatures: list[Values] = []

    def graph(self, name: str = "main") -> GraphBuilder:
        """Adds a graph; the first is the one that an interpreter runs."""
        self.graphs.append(GraphBuilder(self, len(self.graphs), name))
        return self.graphs[-1]

    def signature(
        self, key: str, graph: GraphBuilder, inputs: Mapping[str, int] = {}, outputs: Mapping[str, int] = {}
    ) -> None:
        """Makes a graph an entry point, with names for its arguments and results."""
        maps = [[{"name": name, "tensor_index": i} for name, i in names.items()] for names in (inputs, outputs)]
        self._signatures.append(
            {"signature_key": key, "subgraph_index": graph.index, "inputs": maps[0], "outputs": maps[1]}
        )

    def metadata(self, name: str, content: bytes) -> None:
        self._metadata.append({"name": name, "buffer": self._buffer(content)})

    def build(self, *, external: bool = False) -> bytes:
        """The file. external: constants and custom options follow the FlatBuffer, as in files over 2 GB."""
        if not external:
            return serialize(self._values(None))
        payloads = [content for content in self._buffers if content is not None]
        payloads += [node["custom_options"] for g in self.graphs for node in g.nodes if "custom_options" in node]
        root = serialize(self._values([2] * len(payloads)))
        offsets = []
        tail = bytearray()
        for content in payloads:
            tail += bytes(-(len(root) + len(tail)) % 16)
            offsets.append(len(root) + len(tail))
            tail += content
        return serialize(self._values(offsets)) + bytes(tail)

    def _buffer(self, content: bytes) -> int:
        self._buffers.append(content)
        return len(self._buffers) - 1

    def _operator_code(self, op: str, version: int, custom: bool) -> int:
        return self._operator_codes.setdefault((op, version, custom), len(self._operator_codes))

    def _values(self, offsets: list[int] | None) -> Values:
        """The model as one table's values; with `offsets`, payloads are referred to by their offset in the file."""
        left = iter(offsets or ())
        buffers: list[Values] = [
            {} if data is None else {"data": data} if offsets is None else {"offset": next(left), "size": len(data)}
            for data in self._buffers
        ]
        operator_codes = []
        for op, version, custom in self._operator_codes:
            builtin = "CUSTOM" if custom else op
            number = min(BUILTIN_OPERATORS.index(builtin), 127)
            values = {"builtin_code": builtin, "deprecated_builtin_code": number, "version": version}
            operator_codes.append({**values, "custom_code": op} if custom else values)
        graphs = []
        for g in self.graphs:
            nodes = [dict(node) for node in g.nodes]
            for node in nodes if offsets is not None else ():
                if "custom_options" in node:
                    node["large_custom_options_size"] = len(node.pop("custom_options"))
                    node["large_custom_options_offset"] = next(left)
            graphs.append({"name": g.name, "tensors": g.tensors, "operators": nodes, **g.interface})
        return {
            "version": self.version,
            "operator_codes": operator_codes,
            "subgraphs": graphs,
            "description": self.description,
            "buffers": buffers,
            "metadata": self._metadata or None,
            "signature_defs": self._signatures or None,
        }


class GraphBuilder:
    """One graph of a `ModelBuilder`. Tensors are known by their index."""

    def __init__(self, model: ModelBuilder, index: int, name: str):
        self.model = model
        self.index = index
        self.name = name
        self.tensors: list[Values] = []
        self.nodes: list[Values] = []
        self.interface: dict[str, list[int]] = {"inputs": [], "outputs": []}

    def tensor(
        self,
        name: str,
        type: str,
        shape: Sequence[int],
        *,
        scale: Numbers | None = None,
        zero_point: Numbers | None = None,
        axis: int = 0,
        quantization: Values | None = None,
        **fields: Any,
    ) -> int:
        """A tensor that a node computes; its index.

        scale, zero_point: one, or one for each index of `axis`. quantization: further fields of QuantizationParameters,
        e.g. details=("BlockwiseQuantization", {...}). fields: of Tensor, e.g. shape_signature, is_variable.
        """
        values: Values = {"name": name, "type": type, "shape": [int(d) for d in shape], "has_rank": True, **fields}
        if scale is not None or quantization is not None:
            values["quantization"] = {**(quantization or {}), "quantized_dimension": axis}
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            zero_points = np.atleast_1d(np.asarray(0 if zero_point is None else zero_point, np.int64))
            if zero_points.size == 1:
                zero_points = np.repeat(zero_points, scales.size)
            values["quantization"] |= {"scale": scales.tolist(), "zero_point": zero_points.tolist()}
        self.tensors.append(values)
        return len(self.tensors) - 1

    def input(self, name: str, type: str, shape: Sequence[int], **arguments: Any) -> int:
        """A tensor, as by `tensor`, that is the next input of the graph."""
        self.interface["inputs"].append(self.tensor(name, type, shape, **arguments))
        return self.interface["inputs"][-1]

    def constant(
        self,
        name: str,
        value: npt.ArrayLike,
        *,
        type: str | None = None,
        sparsity: Sparsity | None = None,
        shape: Sequence[int] | None = None,
        **arguments: Any,
    ) -> int:
        """A tensor with a value, of the type that fits its dtype unless given. Further arguments as of `tensor`.

        With sparsity, value is the 1-D compressed values, and shape the dense shape.
        """
        array = np.asarray(value)
        type = type or ("STRING" if array.dtype.kind in "OSU" else _TYPE_OF[str(array.dtype)])
        content = self.model._buffer(encode(array, type))
        dense = array.shape if shape is None else shape
        compressed = None if sparsity is None else _sparsity_values(sparsity)
        return self.tensor(name, type, dense, buffer=content, sparsity=compressed, **arguments)

    def node(
        self,
        op: str,
        inputs: Sequence[int | None],
        outputs: Sequence[int],
        *,
        version: int = 1,
        intermediates: Sequence[int] | None = None,
        mutating_variable_inputs: Sequence[bool] | None = None,
        without_options: bool = False,
        **options: Any,
    ) -> None:
        """Appends a node. options: fields of the operator's options table, by the schema's names; others default."""
        values = self._node(op, inputs, outputs, version, False)
        values["intermediates"] = intermediates
        values["mutating_variable_inputs"] = mutating_variable_inputs
        table = OPTIONS_OF.get(op)
        if table is None:
            if options:
                raise TypeError(f"{op} has no options, got {', '.join(options)}")
        elif not without_options:
            union = "builtin_options" if table in UNIONS["BuiltinOptions"] else "builtin_options_2"
            values[union] = (table, options)

    def custom(
        self, op: str, inputs: Sequence[int | None], outputs: Sequence[int], *, options: bytes = b"", version: int = 1
    ) -> None:
        """Appends a node of a custom operator."""
        self._node(op, inputs, outputs, version, True)["custom_options"] = bytes(options)

    def outputs(self, *tensors: int) -> None:
        """Appends outputs of the graph."""
        self.interface["outputs"].extend(tensors)

    def _node(
        self, op: str, inputs: Sequence[int | None], outputs: Sequence[int], version: int, custom: bool
    ) -> Values:
        values: Values = {
            "opcode_index": self.model._operator_code(op, version, custom),
            "inputs": [-1 if i is None else int(i) for i in inputs],
            "outputs": [int(i) for i in outputs],
        }
        self.nodes.append(values)
        return values


def _sparsity_values(sparsity: Sparsity) -> Values:
    def indices(array: npt.NDArray[Any] | None) -> tuple[str, Values] | None:
        if array is None:
            return None
        return _NARROW_INDICES.get(str(array.dtype), "Int32Vector"), {"values": array}

    return {
        "traversal_order": sparsity.traversal_order,
        "block_map": sparsity.block_map or None,
        "dim_metadata": [
            {
                "format": d.format,
                "dense_size": d.dense_size,
                "array_segments": indices(d.array_segments),
                "array_indices": indices(d.array_indices),
            }
            for d in sparsity.dim_metadata
        ],
    }
