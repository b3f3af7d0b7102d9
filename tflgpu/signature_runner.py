"""A model's signature as a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tflgpu import details
from tflgpu.model.graph import Array, Signature

if TYPE_CHECKING:
    from tflgpu.interpreter import Interpreter


class SignatureRunner:
    """Runs one signature of a model: keyword arguments by name in, a dict of results out.

    State (variables, tables) is the interpreter's. Made by `Interpreter.get_signature_runner`.
    """

    def __init__(self, interpreter: Interpreter | None = None, signature_key: str | None = None):
        if not interpreter:
            raise ValueError("None interpreter provided.")
        if not signature_key:
            raise ValueError("None signature_key provided.")
        signatures = interpreter._model.signatures
        if signature_key not in signatures:
            raise ValueError(f'Invalid signature_key provided: "{signature_key}".')
        self._interpreter = interpreter
        self._signature: Signature = signatures[signature_key]
        self._subgraph_index = self._signature.graph
        self._graph = interpreter._graphs[self._subgraph_index]

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Results by name. Each argument's shape becomes the input's. Raises ValueError for wrong names or types."""
        wanted = self._signature.inputs
        if len(inputs) != len(wanted):
            raise ValueError(
                "Invalid number of inputs provided for running a SignatureDef, "
                f"expected {len(wanted)} vs provided {len(inputs)}"
            )
        interpreter, graph = self._interpreter, self._graph
        for name in inputs:
            if name not in wanted:
                raise ValueError(f"Invalid Input name ({name}) for SignatureDef")

        def run() -> None:
            for name, array in inputs.items():
                interpreter._resize(graph, wanted[name], np.array(array.shape, dtype=np.int32), False)
            graph.allocate()
            for name, array in inputs.items():
                interpreter._set_tensor(graph, wanted[name], array)
            graph.invoke()

        interpreter._exclusive.run(run)
        return {
            name: interpreter.get_tensor(index, self._subgraph_index)
            for name, index in sorted(self._signature.outputs.items())
        }

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """Input name -> tensor details, as `Interpreter.get_input_details`."""
        return self._details(self._signature.inputs)

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """Output name -> tensor details, as `Interpreter.get_output_details`."""
        return self._details(self._signature.outputs)

    def _details(self, names: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        return {name: details.of_tensor(self._graph.specs[index]) for name, index in sorted(names.items())}
