"""A model's signature as a function."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

import numpy as np

from tflgpu import details
from tflgpu.details import TensorDetails
from tflgpu.memory import Tensor, host_array
from tflgpu.model.graph import Array, Model, Signature, TensorSpec
from tflgpu.runtime.exclusive import Exclusive
from tflgpu.runtime.graph_runner import GraphRunner
from tflgpu.tensor_access import resize, set_value, value_of


class RunsSignatures(Protocol):
    """What a SignatureRunner uses of the Interpreter that it belongs to."""

    _model: Model
    _graphs: list[GraphRunner]
    _exclusive: Exclusive
    _states: dict[str, Tensor]


class SignatureRunner:
    """Runs one signature of a model: keyword arguments by name in, a dict of results out.

    State (variables, tables) is the interpreter's. Made by `Interpreter.get_signature_runner`.
    """

    def __init__(self, interpreter: RunsSignatures | None = None, signature_key: str | None = None):
        if not interpreter:
            raise ValueError("None interpreter provided.")
        if not signature_key:
            raise ValueError("None signature_key provided.")
        signatures = interpreter._model.signatures
        if signature_key not in signatures:
            raise ValueError(f'Invalid signature_key provided: "{signature_key}".')
        self._interpreter = interpreter
        self._signature: Signature = signatures[signature_key]
        self._subgraph_index = self._signature.graph  # programs for the Edge TPU ask for it
        self._graph = interpreter._graphs[self._subgraph_index]

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Results by name. Each argument's shape becomes the input's. Raises ValueError for wrong names or types.

        Of inputs and outputs that `bind` connects there are no arguments and no results.
        """
        graph = self._graph
        wanted = {name: index for name, index in self._signature.inputs.items() if index not in graph.carried}
        carried = {one.output for one in graph.carried.values()}
        if len(inputs) != len(wanted):
            raise ValueError(
                "Invalid number of inputs provided for running a SignatureDef, "
                f"expected {len(wanted)} vs provided {len(inputs)}"
            )
        for name in inputs:
            if name not in wanted:
                raise ValueError(f"Invalid Input name ({name}) for SignatureDef")

        def run() -> None:
            for name, array in inputs.items():
                resize(graph, wanted[name], np.array(array.shape, dtype=np.int32))
            graph.allocate()
            for name, array in inputs.items():
                set_value(graph, wanted[name], array)
            graph.invoke()

        self._interpreter._exclusive.run(run)
        outputs = {name: index for name, index in self._signature.outputs.items() if index not in carried}
        return {name: value_of(graph, index) for name, index in sorted(outputs.items())}

    def bind(self, **outputs: str | None) -> None:
        """Gives inputs, after each run, the values of outputs: `bind(kv_cache_k_0="kv_cache_k_0")`; None ends that.

        The values stay where they are, on a device too, where the graph only writes a slice of the input anew
        (DYNAMIC_UPDATE_SLICE) and nothing else reads it; else they are copied. Signatures of one interpreter that bind
        inputs of the same name share the value, which is zeros before the first run, or what `set_state` gave it.
        Raises ValueError for names that are not there, or an output of another shape or type than its input.
        """
        for name, output in outputs.items():
            spec = self._spec("input", self._signature.inputs, name)
            if output is not None:
                other = self._spec("output", self._signature.outputs, output)
                if (spec.shape, spec.type) != (other.shape, other.type):
                    raise ValueError(f"{spec} cannot have the value of {other}")
            tensor = self._state_of(name, spec)
            index = None if output is None else self._signature.outputs[output]
            self._interpreter._exclusive.run(partial(self._graph.carry, spec.index, tensor, index))

    def get_state(self, name: str) -> Array:
        """A copy of a bound input's present value."""
        return value_of(self._graph, self._bound(name))

    def set_state(self, name: str, value: Array) -> None:
        """Copies a value into a bound input. Raises ValueError where its type or shape does not fit."""
        set_value(self._graph, self._bound(name), value)

    def _bound(self, name: str) -> int:
        index = self._signature.inputs.get(name, -1)
        if index not in self._graph.carried:
            raise ValueError(f"Input {name} is bound to no output")
        self._interpreter._exclusive.run(self._graph.allocate)
        return index

    def _spec(self, side: str, names: Mapping[str, int], name: str) -> TensorSpec:
        if name not in names:
            raise ValueError(f"Invalid {side} name ({name}) for SignatureDef")
        return self._graph.specs[names[name]]

    def _state_of(self, name: str, spec: TensorSpec) -> Tensor:
        found = self._interpreter._states.setdefault(name, Tensor(spec, host_array(spec)))
        if (found.spec.shape, found.spec.type) != (spec.shape, spec.type):
            raise ValueError(f"{spec} cannot share the value of {found.spec}")
        return found

    def get_input_details(self) -> dict[str, TensorDetails]:
        """Input name -> tensor details, as `Interpreter.get_input_details`."""
        return self._details(self._signature.inputs)

    def get_output_details(self) -> dict[str, TensorDetails]:
        """Output name -> tensor details, as `Interpreter.get_output_details`."""
        return self._details(self._signature.outputs)

    def _details(self, names: Mapping[str, int]) -> dict[str, TensorDetails]:
        return {name: details.of_tensor(self._graph.specs[index]) for name, index in sorted(names.items())}

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(sorted(names)) for names in (self._signature.inputs, self._signature.outputs))
        return f"<tflgpu.SignatureRunner {self._signature.key}({inputs}) -> {outputs}>"


def only_signature(model: Model) -> str:
    """The key of the model's only signature. Raises ValueError where it has none or several."""
    keys = list(model.signatures)
    if len(keys) != 1:
        raise ValueError(
            f"SignatureDef signature_key is None and model has {len(keys)} Signatures. "
            "None is only allowed when the model has 1 SignatureDef"
        )
    return keys[0]
