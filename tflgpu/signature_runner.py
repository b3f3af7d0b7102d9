"""A model's signature as a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from tflgpu import details
from tflgpu.details import TensorDetails
from tflgpu.model.graph import Array, Model, Signature
from tflgpu.runtime.exclusive import Exclusive
from tflgpu.runtime.graph_runner import GraphRunner
from tflgpu.tensor_access import resize, set_value, value_of


class RunsSignatures(Protocol):
    """What a SignatureRunner uses of the Interpreter that it belongs to."""

    _model: Model
    _graphs: list[GraphRunner]
    _exclusive: Exclusive


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
        """Results by name. Each argument's shape becomes the input's. Raises ValueError for wrong names or types."""
        wanted = self._signature.inputs
        if len(inputs) != len(wanted):
            raise ValueError(
                "Invalid number of inputs provided for running a SignatureDef, "
                f"expected {len(wanted)} vs provided {len(inputs)}"
            )
        graph = self._graph
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
        return {name: value_of(graph, index) for name, index in sorted(self._signature.outputs.items())}

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
