"""What the interpreter tells of tensors and nodes, and its checks of the indices and shapes that callers give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflgpu.delegation.delegate import Delegate, Partition, StandsIn
from tflgpu.model.graph import Shape, TensorSpec
from tflgpu.ops.registry import Op
from tflgpu.optional import offering
from tflgpu.runtime.graph_runner import GraphRunner
from tflgpu.values import caller_dtype

_MOST_BYTES = 2**63 - 1
"""Of one tensor: what a size in memory can tell."""


def of_tensor(spec: TensorSpec) -> dict[str, Any]:
    """The dict that describes a tensor. Raises ValueError for a type that NumPy has no name for."""
    q = spec.quantization
    scales = np.array([], np.float32) if q is None else q.scale.copy()
    zero_points = np.array([], np.int32) if q is None else q.zero_point.astype(np.int32)
    signature = spec.shape if spec.shape_signature is None else spec.shape_signature
    return {
        "name": spec.name,
        "index": spec.index,
        "shape": np.array(spec.shape, np.int32),
        "shape_signature": np.array(signature, np.int32),
        "dtype": caller_dtype(spec).type,
        "quantization": (float(scales[0]), int(zero_points[0])) if scales.size == 1 else (0.0, 0),
        "quantization_parameters": {
            "scales": scales,
            "zero_points": zero_points,
            "quantized_dimension": 0 if q is None else q.axis,
            "block_size": 0 if q is None else q.block_size,
        },
        "sparsity_parameters": _of_sparsity(spec),
    }


def _of_sparsity(spec: TensorSpec) -> dict[str, Any]:
    sparsity = spec.sparsity
    if sparsity is None:
        return {}
    dimensions = []
    for d in sparsity.dim_metadata:
        dense = {"format": 0, "dense_size": d.dense_size}
        sparse = {"format": 1, "array_segments": d.array_segments, "array_indices": d.array_indices}
        dimensions.append(dense if d.format == "DENSE" else sparse)
    blocks = {"block_map": np.array(sparsity.block_map, np.int32)} if len(sparsity.block_map) else {}
    order = np.array(sparsity.traversal_order, np.int32)
    return {"traversal_order": order, **blocks, "dim_metadata": dimensions}


def tensor_at(graph: GraphRunner, index: int) -> TensorSpec:
    """The spec of tensor `index`. Raises ValueError where there is none."""
    if not 0 <= index < len(graph.specs):
        raise ValueError(f"Invalid tensor index {index} exceeds max tensor index {len(graph.specs)}")
    return graph.specs[index]


def check_resize(graph: GraphRunner, index: int, shape: Shape, strict: bool) -> None:
    """Raises RuntimeError, with TensorFlow Lite's text, where tensor `index` cannot take this shape."""
    if not 0 <= index < len(graph.specs):
        raise RuntimeError(
            f"tensor_index {index} < context_.tensors_size && tensor_index >= 0 was not true: "
            f"the graph has {len(graph.specs)} tensors."
        )
    spec = graph.specs[index]
    if spec.data is not None and graph.graph.tensors[index].data is not None:
        raise RuntimeError("Attempting to resize a fixed-size tensor.")
    if any(d < 0 for d in shape) or math.prod(shape) * max(spec.dtype.itemsize, 1) > _MOST_BYTES:
        raise RuntimeError(
            f"tflite/util.cc BytesRequired number of elements overflowed.\nShape {list(shape)} of {spec}."
        )
    if not strict:
        return
    if len(shape) != len(spec.shape):
        raise RuntimeError(f"tensor->dims->size != dims.size() ({len(spec.shape)} != {len(shape)})")
    signature = spec.shape if spec.shape_signature is None else spec.shape_signature
    for axis, (old, new, allowed) in enumerate(zip(spec.shape, shape, signature, strict=True)):
        if allowed != -1 and old != new:
            raise RuntimeError(
                f"Attempting to resize dimension {axis} of tensor {index} with value {old} to {new}. "
                "ResizeInputTensorStrict only allows mutating unknown dimensions identified by -1."
            )


def delegated_partitions(graph: GraphRunner) -> list[Partition]:
    """The partitions of a graph that run on a delegate, as far as it is prepared."""
    return [partition for partition in graph.partitions if partition.owner is not None]


def node_count(graph: GraphRunner) -> int:
    """Nodes of the model's graph, and one for each delegated partition."""
    return len(graph.graph.nodes) + len(delegated_partitions(graph))


def of_node(graph: GraphRunner, index: int) -> dict[str, Any]:
    """The dict that describes node `index`: one of the model's, or after those, a delegated partition."""
    own = len(graph.graph.nodes)
    if not 0 <= index < node_count(graph):
        raise ValueError(f"Invalid node index {index}: the graph has {node_count(graph)} nodes.")
    if index < own:
        node = graph.graph.nodes[index]
        name = node.op
        inputs: Sequence[int] = [-1 if s is None else s.index for s in node.inputs]
        outputs: Sequence[int] = [s.index for s in node.outputs]
    else:
        partition = delegated_partitions(graph)[index - own]
        # A resource variable is no tensor of the graph.
        sides = partition.inputs, partition.outputs
        inputs, outputs = (sorted(i for i in side if i < len(graph.specs)) for side in sides)
        name = "DELEGATE"
    return {
        "index": index,
        "op_name": name,
        "inputs": np.array(inputs, np.int32),
        "outputs": np.array(outputs, np.int32),
        "operand_types": [caller_dtype(graph.specs[i]).type for i in inputs if i != -1],
        "result_types": [caller_dtype(graph.specs[i]).type for i in outputs],
    }


def with_stand_ins(ops: Mapping[str, Op], delegates: Sequence[Delegate]) -> Mapping[str, Op]:
    """The operators, and those that only a delegate can run."""
    only = {n: op for delegate in offering(delegates, StandsIn) for n, op in delegate.stand_ins.items() if n not in ops}
    return {**ops, **only} if only else ops
