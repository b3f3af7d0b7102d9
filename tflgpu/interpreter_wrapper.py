"""`Interpreter._interpreter`: what programs ask of TensorFlow Lite's native object there."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tflgpu import details
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.runtime.graph_runner import GraphRunner
from tflgpu.tensor_access import set_value, tensor_at


class InterpreterWrapper:
    """The methods of LiteRT's InterpreterWrapper, of an Interpreter: those that read, and the forms of allocate, set,
    get and invoke that name a subgraph. What would change it otherwise, delegates and threads, is given to Interpreter.
    """

    def __init__(self, interpreter: Any):
        self._interpreter = interpreter

    def NumSubgraphs(self) -> int:
        return self._interpreter.num_subgraphs()

    def NumTensors(self, subgraph_index: int) -> int:
        return len(self._graph(subgraph_index).specs)

    def NumNodes(self) -> int:
        """Nodes of the main graph, and one for each delegated partition."""
        return details.node_count(self._graph(0))

    def NodeName(self, node_index: int) -> str:
        name: str = self._interpreter._get_op_details(node_index)["op_name"]
        return name

    def NodeInputs(self, node_index: int) -> Array:
        indices: Array = self._interpreter._get_op_details(node_index)["inputs"]
        return indices

    def NodeOutputs(self, node_index: int) -> Array:
        indices: Array = self._interpreter._get_op_details(node_index)["outputs"]
        return indices

    def TensorName(self, tensor_index: int, subgraph_index: int) -> str:
        return self._spec(tensor_index, subgraph_index).name

    def TensorSize(self, tensor_index: int, subgraph_index: int) -> Array:
        return self._of_tensor(tensor_index, subgraph_index)["shape"]

    def TensorSizeSignature(self, tensor_index: int, subgraph_index: int) -> Array:
        return self._of_tensor(tensor_index, subgraph_index)["shape_signature"]

    def TensorType(self, tensor_index: int, subgraph_index: int) -> type[np.generic]:
        return self._of_tensor(tensor_index, subgraph_index)["dtype"]

    def TensorQuantization(self, tensor_index: int, subgraph_index: int) -> tuple[float, int]:
        return self._of_tensor(tensor_index, subgraph_index)["quantization"]

    def TensorQuantizationParameters(self, tensor_index: int, subgraph_index: int) -> tuple[Array, Array, int, int]:
        """Scales, zero points, the quantized dimension and the block size."""
        return tuple(self._of_tensor(tensor_index, subgraph_index)["quantization_parameters"].values())

    def TensorSparsityParameters(self, tensor_index: int, subgraph_index: int) -> dict[str, Any]:
        return self._of_tensor(tensor_index, subgraph_index)["sparsity_parameters"]

    def InputIndices(self) -> Array:
        return np.array(self._graph(0).graph.inputs, np.int32)

    def OutputIndices(self) -> Array:
        return np.array(self._graph(0).graph.outputs, np.int32)

    def GetSignatureDefs(self) -> dict[str, dict[str, dict[str, int]]]:
        return self._interpreter._get_full_signature_list()

    def GetSubgraphIndexFromSignature(self, signature_key: str) -> int:
        signatures = self._interpreter._model.signatures
        if signature_key not in signatures:
            raise ValueError("No matching signature.")
        return signatures[signature_key].graph

    def GetTensor(self, tensor_index: int, subgraph_index: int = 0) -> Array:
        return self._interpreter.get_tensor(tensor_index, subgraph_index)

    def tensor(self, base_object: object, tensor_index: int, subgraph_index: int = 0) -> Array:
        """A view of the tensor's memory, as from the function that `Interpreter.tensor` returns."""
        return self._interpreter._view(self._graph(subgraph_index), operator.index(tensor_index))

    def SetTensor(self, i: int, value: Any, subgraph_index: int = 0) -> None:
        set_value(self._graph(subgraph_index), operator.index(i), value)

    def ResizeInputTensor(self, i: int, value: Any, strict: bool, subgraph_index: int = 0) -> None:
        self._interpreter._resize(self._graph(subgraph_index), operator.index(i), value, strict)

    def AllocateTensors(self, subgraph_index: int = -1) -> None:
        """Prepares one subgraph; -1 is the main one."""
        self._interpreter._exclusive.run(self._graph(max(subgraph_index, 0)).allocate)

    def Invoke(self, subgraph_index: int = 0) -> None:
        self._interpreter._invoke(self._graph(subgraph_index))

    def ResetVariableTensors(self) -> None:
        self._interpreter.reset_all_variables()

    def ArenaUsedBytes(self) -> int:
        """Bytes of the memory that the main graph's tensors share; 0 before it is allocated."""
        return sum(segment.arena_nbytes for segment in self._graph(0).segments)

    def _graph(self, subgraph_index: int) -> GraphRunner:
        return self._interpreter._graph_at(operator.index(subgraph_index))

    def _spec(self, tensor_index: int, subgraph_index: int) -> TensorSpec:
        return tensor_at(self._graph(subgraph_index), operator.index(tensor_index))

    def _of_tensor(self, tensor_index: int, subgraph_index: int) -> Any:
        return details.of_tensor(self._spec(tensor_index, subgraph_index))
