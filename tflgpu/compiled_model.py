"""The drop-in for `ai_edge_litert.compiled_model`: a model run by signature, between buffers of its caller's."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflgpu import details
from tflgpu.accelerators import CpuOptions, HardwareAccelerator, Options, accelerated
from tflgpu.delegation.delegate import Delegate
from tflgpu.interpreter import Interpreter
from tflgpu.model.graph import Signature
from tflgpu.tensor_buffer import TensorBuffer

__all__ = ["CompiledModel", "CpuOptions", "HardwareAccelerator", "Options", "TensorBuffer"]

UNNAMED = "<placeholder signature>"
"""The signature of a model that names none."""
HOST_MEMORY = 1
"""The one type of buffer there is, by LiteRT's number."""


class CompiledModel:
    """Runs a model by signature.

    >>> model = CompiledModel.from_file("model.tflite", HardwareAccelerator.GPU)  # doctest: +SKIP
    >>> inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)  # doctest: +SKIP
    >>> inputs[0].write(x)  # doctest: +SKIP
    >>> model.run_by_index(0, inputs, outputs)  # doctest: +SKIP
    >>> y = outputs[0].read(1000, np.float32)  # doctest: +SKIP
    """

    _make: type[Interpreter] = Interpreter

    def __init__(self, interpreter: Interpreter, environment: Any = None, on_cpu: bool = True):
        """Use from_file or from_buffer. on_cpu: whether nothing but the CPU was asked for."""
        self._interpreter: Interpreter | None = interpreter
        self.environment = environment
        self._on_cpu = on_cpu
        graph = interpreter._graphs[0].graph
        unnamed = Signature(
            UNNAMED, 0, *({graph.tensors[i].name: i for i in side} for side in (graph.inputs, graph.outputs))
        )
        self._signatures = list(interpreter._model.signatures.values()) or [unnamed]
        for signature in self._signatures:
            interpreter._interpreter.AllocateTensors(signature.graph)

    @classmethod
    def from_file(
        cls,
        model_path: str | os.PathLike[str],
        hardware_accel: HardwareAccelerator | None = None,
        environment: Any = None,
        options: Any = None,
        *,
        delegates: Sequence[Delegate] | None = None,
    ) -> CompiledModel:
        """The model in a file, ready to run.

        hardware_accel: the CPU unless given; of a GPU alone, every node must run there, or RuntimeError is raised.
        options: an Options, in place of hardware_accel. environment: kept, and without effect here. delegates: from
        `load_delegate`, in place of what the accelerators would load.
        """
        return cls._made("file", {"model_path": model_path}, hardware_accel, environment, options, delegates)

    @classmethod
    def from_buffer(
        cls,
        model_data: Any,
        hardware_accel: HardwareAccelerator | None = None,
        environment: Any = None,
        options: Any = None,
        *,
        delegates: Sequence[Delegate] | None = None,
    ) -> CompiledModel:
        """The model in these bytes, as `from_file`."""
        return cls._made("buffer", {"model_content": model_data}, hardware_accel, environment, options, delegates)

    @classmethod
    def _made(
        cls,
        source: str,
        model: dict[str, Any],
        hardware_accel: HardwareAccelerator | None,
        environment: Any,
        options: Any,
        delegates: Sequence[Delegate] | None,
    ) -> CompiledModel:
        if options is not None and hardware_accel is not None:
            raise ValueError("Pass either options or hardware_accel, not both.")
        asked = options or Options(HardwareAccelerator.CPU if hardware_accel is None else hardware_accel)
        accelerators = int(asked.hardware_accelerators)
        if delegates is None:
            delegates = accelerated(accelerators)
        try:
            interpreter = cls._make(
                **model, experimental_delegates=list(delegates), num_threads=asked.cpu_options.num_threads or None
            )
        except ValueError as error:
            raise RuntimeError(f"Failed to load model from {source}\n{error}") from error
        return cls(interpreter, environment, not delegates)

    def __enter__(self) -> CompiledModel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the model; the object is of no more use."""
        self._interpreter = None

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """{signature key: {"inputs": names, "outputs": names}}, in the order of the model."""
        return {s.key: {side: list(self._side(s, side)) for side in ("inputs", "outputs")} for s in self._signatures}

    def get_signature_by_index(self, index: int) -> dict[str, Any]:
        """key, inputs and outputs of one signature."""
        key = self._signature(index).key
        return {"key": key, **self.get_signature_list()[key]}

    def get_num_signatures(self) -> int:
        return len(self._signatures)

    def get_signature_index(self, key: str) -> int:
        """-1 where there is none of this name."""
        return next((i for i, signature in enumerate(self._signatures) if signature.key == key), -1)

    def get_input_tensor_details(self, signature_key: str) -> dict[str, dict[str, Any]]:
        """Input name -> name, index, dtype and present shape."""
        return self._details(self._named(signature_key), "inputs")

    def get_output_tensor_details(self, signature_key: str) -> dict[str, dict[str, Any]]:
        """As `get_input_tensor_details`."""
        return self._details(self._named(signature_key), "outputs")

    def get_input_buffer_requirements(self, input_index: int, signature_index: int = 0) -> dict[str, Any]:
        """buffer_size, in bytes, and supported_types."""
        return self._requirements(self._signature(signature_index), "inputs", input_index)

    def get_output_buffer_requirements(self, output_index: int, signature_index: int = 0) -> dict[str, Any]:
        """As `get_input_buffer_requirements`."""
        return self._requirements(self._signature(signature_index), "outputs", output_index)

    def is_fully_accelerated(self) -> bool:
        """Whether every node runs where it was asked to: all on delegates, unless only the CPU was."""
        return self._on_cpu or all(one.owner is not None for one in self._model._running_partitions())

    def create_input_buffers(self, signature_index: int) -> list[TensorBuffer]:
        """A buffer for each input of a signature, in the order of `get_signature_by_index`."""
        return self._buffers(self._signature(signature_index), "inputs")

    def create_output_buffers(self, signature_index: int) -> list[TensorBuffer]:
        """As `create_input_buffers`."""
        return self._buffers(self._signature(signature_index), "outputs")

    def create_input_buffer_by_name(self, signature_key: str, input_name: str) -> TensorBuffer:
        return self._buffer(self._named(signature_key), "inputs", input_name)

    def create_output_buffer_by_name(self, signature_key: str, output_name: str) -> TensorBuffer:
        return self._buffer(self._named(signature_key), "outputs", output_name)

    def resize_input_tensor(
        self, input_index: int, dims: Sequence[int], signature_index: int = 0, strict: bool = True
    ) -> None:
        """Gives an input another shape; buffers made before keep theirs. strict: only open dimensions may change."""
        signature = self._signature(signature_index)
        index = self._side(signature, "inputs")[self._at(signature, "inputs", input_index)]
        self._model._interpreter.ResizeInputTensor(index, list(dims), strict, signature.graph)
        self._model._interpreter.AllocateTensors(signature.graph)

    def resize_input_tensor_by_name(
        self, signature_key: str, input_name: str, dims: Sequence[int], strict: bool = True
    ) -> None:
        """As `resize_input_tensor`."""
        number = self.get_signature_index(signature_key)
        if number < 0:
            raise ValueError(f"Unknown signature: {signature_key}")
        names = list(self._side(self._signatures[number], "inputs"))
        if input_name not in names:
            raise ValueError(f"Unknown input '{input_name}' for signature '{signature_key}'")
        self.resize_input_tensor(names.index(input_name), dims, number, strict)

    def run_by_name(self, signature_key: str, input_map: Mapping[str, Any], output_map: Mapping[str, Any]) -> None:
        """Reads the inputs from their buffers, runs the signature, and writes the outputs to theirs.

        Open dimensions of an input become those of its buffer.
        """
        self._run(self._named(signature_key), input_map, output_map)

    def run_by_index(self, signature_index: int, input_buffers: Sequence[Any], output_buffers: Sequence[Any]) -> None:
        """As `run_by_name`, with the buffers in the order of `get_signature_by_index`."""
        signature = self._signature(signature_index)
        maps = []
        for side, buffers in (("inputs", input_buffers), ("outputs", output_buffers)):
            names = self._side(signature, side)
            if len(names) != len(buffers):
                raise RuntimeError(f"Buffer count mismatch: number of {side}:{len(names)} vs buffers:{len(buffers)}")
            maps.append(dict(zip(names, buffers, strict=True)))
        self._run(signature, *maps)

    def _run(self, signature: Signature, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        for side, given in (("inputs", inputs), ("outputs", outputs)):
            if given.keys() != self._side(signature, side).keys():
                raise RuntimeError(
                    f"the {side} of {signature.key!r} are {list(self._side(signature, side))}, given were {list(given)}"
                )
        model, graph = self._model._interpreter, signature.graph
        wanted = self._side(signature, "inputs")
        for name, index in wanted.items():
            shape = inputs[name].get_tensor_details()["shape"]
            if math.prod(shape) != math.prod(model.TensorSize(index, graph).tolist()):
                model.ResizeInputTensor(index, shape, True, graph)
        model.AllocateTensors(graph)
        for name, index in wanted.items():
            size = model.TensorSize(index, graph)
            value = inputs[name].read(math.prod(size.tolist()), model.TensorType(index, graph))
            model.SetTensor(index, value.reshape(size), graph)
        model.Invoke(graph)
        for name, index in self._side(signature, "outputs").items():
            outputs[name].write(model.GetTensor(index, graph))

    @property
    def _model(self) -> Interpreter:
        if self._interpreter is None:
            raise RuntimeError("the CompiledModel is closed")
        return self._interpreter

    def _named(self, key: str) -> Signature:
        number = self.get_signature_index(key)
        if number < 0:
            raise RuntimeError(f"Signature not found: {key}")
        return self._signatures[number]

    def _signature(self, index: int) -> Signature:
        if not 0 <= index < len(self._signatures):
            raise RuntimeError(f"Signature index {index} is out of range: the model has {len(self._signatures)}")
        return self._signatures[index]

    def _side(self, signature: Signature, side: str) -> dict[str, int]:
        """Names of inputs or outputs with their tensors, in the order in which the subgraph has these."""
        graph = self._model._graphs[signature.graph].graph
        order = list(getattr(graph, side))
        return dict(sorted(getattr(signature, side).items(), key=lambda item: order.index(item[1])))

    def _at(self, signature: Signature, side: str, index: int) -> str:
        names = list(self._side(signature, side))
        if not 0 <= index < len(names):
            raise RuntimeError(f"{side.capitalize()[:-1]} index out of range: {index}, of {names}")
        return names[index]

    def _details(self, signature: Signature, side: str) -> dict[str, dict[str, Any]]:
        specs = self._model._graphs[signature.graph].specs
        found = {name: details.of_tensor(specs[index]) for name, index in self._side(signature, side).items()}
        return {
            name: {
                "name": d["name"],
                "index": d["index"],
                "dtype": np.dtype(d["dtype"]).name,
                "shape": [int(size) for size in d["shape"]],
            }
            for name, d in found.items()
        }

    def _requirements(self, signature: Signature, side: str, index: int) -> dict[str, Any]:
        buffer = self._buffer(signature, side, self._at(signature, side, index))
        return {"buffer_size": buffer.nbytes, "supported_types": [HOST_MEMORY]}

    def _buffers(self, signature: Signature, side: str) -> list[TensorBuffer]:
        return [self._buffer(signature, side, name) for name in self._side(signature, side)]

    def _buffer(self, signature: Signature, side: str, name: str) -> TensorBuffer:
        if name not in getattr(signature, side):
            raise RuntimeError(f"{side.capitalize()[:-1]} tensor not found: {name}")
        model, index = self._model._interpreter, getattr(signature, side)[name]
        size, dtype = model.TensorSize(index, signature.graph), model.TensorType(index, signature.graph)
        if dtype is np.bytes_:
            raise RuntimeError(f"{name} has strings, for which there are no buffers; run it by Interpreter")
        return TensorBuffer(np.zeros(tuple(size), dtype))
