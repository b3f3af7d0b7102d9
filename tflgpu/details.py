"""Details of tensors and nodes, as dicts like TensorFlow Lite's, and the interpreter in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypedDict

import numpy as np

from tflgpu.delegation.delegate import Delegate, Partition, StandsIn
from tflgpu.model.graph import Array, Model, TensorSpec
from tflgpu.ops.registry import Op
from tflgpu.optional import offering
from tflgpu.runtime.graph_runner import GraphRunner
from tflgpu.values import caller_dtype


class QuantizationParameters(TypedDict):
    """scales, zero_points: one, or one for each index of quantized_dimension; empty where it is not quantized."""

    scales: Array
    zero_points: Array
    quantized_dimension: int
    block_size: int


class TensorDetails(TypedDict):
    """What `get_input_details` and the like say of a tensor. quantization: (scale, zero point), (0.0, 0) without."""

    name: str
    index: int
    shape: Array
    shape_signature: Array
    dtype: type[Any]
    quantization: tuple[float, int]
    quantization_parameters: QuantizationParameters
    sparsity_parameters: dict[str, Any]


def of_tensor(spec: TensorSpec) -> TensorDetails:
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


def of_tensors(specs: Sequence[TensorSpec]) -> list[TensorDetails]:
    """One dict a tensor. A type that NumPy has no name for is left out, as in TensorFlow Lite."""
    found = []
    for spec in specs:
        with suppress(ValueError):
            found.append(of_tensor(spec))
    return found


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


def of_interpreter(source: str, graph: GraphRunner, delegates: Sequence[Delegate]) -> str:
    """One line: where the model is from, its inputs and outputs, and who runs it. source: a path, or what else."""
    sides = [
        ", ".join(f"{graph.specs[i].name} {graph.specs[i].type}{list(graph.specs[i].shape)}" for i in side)
        for side in (graph.graph.inputs, graph.graph.outputs)
    ]
    names = ", ".join([*(delegate.name for delegate in delegates), "CPU"])
    ready = "" if graph.ready else "; not allocated"
    return (
        f"<tflgpu.Interpreter of {source}: {sides[0]} -> {sides[1]}; {len(graph.graph.nodes)} nodes on {names}{ready}>"
    )


def of_signatures(model: Model) -> dict[str, dict[str, dict[str, int]]]:
    """The index of each tensor by its name, by "inputs" and "outputs", by signature key; sorted."""
    return {
        key: {"inputs": dict(sorted(signature.inputs.items())), "outputs": dict(sorted(signature.outputs.items()))}
        for key, signature in sorted(model.signatures.items())
    }
