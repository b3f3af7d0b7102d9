"""One signature of a model in an interpreter of its own, by the names of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from tflgpu import details
from tflgpu.images import image_input
from tflgpu.interpreter import Interpreter
from tflgpu.model.graph import Array, Model, Signature

Arrays = Mapping[str, Array]

RANDOM = {"RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "STABLEHLO_RNG_BIT_GENERATOR", "SKIP_GRAM"}


def stateful(model: Model) -> bool:
    """Whether what a model returns may depend on what it was given before."""
    nodes = (node for graph in model.graphs for node in graph.nodes)
    variables = (spec.is_variable for graph in model.graphs for spec in graph.tensors)
    return any(variables) or any(node.op == "ASSIGN_VARIABLE" or node.op in RANDOM for node in nodes)


@dataclass(frozen=True)
class Port:
    """An input or output. shape: -1 where any size goes. own: the shape in the file. dtype: bytes_ for strings.

    details: as `get_input_details` gives them.
    """

    name: str
    index: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    own: tuple[int, ...]
    details: Mapping[str, Any]

    def check(self, array: Array, fixed_from: int = 0) -> None:
        """Raises ValueError where the type, the rank, or a fixed dimension from `fixed_from` on differs."""
        strings = self.dtype.kind == "S" and array.dtype.kind in "SUO"
        if array.dtype != self.dtype and not strings:
            raise ValueError(f"input {self.name!r} takes {self.dtype.name}, not {array.dtype.name}")
        wanted = self.shape[fixed_from:]
        given = array.shape[fixed_from:]
        if len(given) != len(wanted) or any(d not in (-1, g) for d, g in zip(wanted, given, strict=True)):
            raise ValueError(f"input {self.name!r} takes the shape {list(self.shape)}, not {list(array.shape)}")


class EntryPoint:
    """A signature that is invoked with whole inputs: a dict of arrays in, a dict of arrays out.

    signature: its key; None for the model's only signature, or its main graph where it has none or several. Tensors of
    a graph without a signature go by their own names, or input_0, output_1 where these are empty or taken.
    """

    def __init__(self, interpreter: Interpreter, signature: str | None = None):
        self._interpreter, self._wrapper = interpreter, interpreter._interpreter
        chosen = _chosen(interpreter, signature)
        self._graph = chosen.graph
        specs = interpreter._graphs[self._graph].specs
        order = interpreter._graphs[self._graph].graph
        self.inputs = _ports(chosen.inputs, order.inputs, specs)
        self.outputs = _ports(chosen.outputs, order.outputs, specs)
        self.stateful = stateful(interpreter._model)
        self._shapes: list[tuple[int, ...]] | None = None

    def invoke(self, arrays: Arrays) -> dict[str, Array]:
        """The outputs for these inputs, whose shapes the model takes on. Raises ValueError or RuntimeError."""
        values = [(port.index, arrays[name]) for name, port in self.inputs.items()]
        shapes = [value.shape for _, value in values]
        if shapes != self._shapes:
            self._shapes = None
            for (index, _), shape in zip(values, shapes, strict=True):
                self._wrapper.ResizeInputTensor(index, shape, False, self._graph)
            self._wrapper.AllocateTensors(self._graph)
            self._shapes = shapes
        for index, value in values:
            self._wrapper.SetTensor(index, value, self._graph)
        self._wrapper.Invoke(self._graph)
        return {name: self._wrapper.GetTensor(port.index, self._graph) for name, port in self.outputs.items()}

    def picture(self, name: str, path: str | PathLike[str]) -> Array:
        """A picture as the input of that name, as `image_input` makes it by the metadata."""
        main, port = self._interpreter._graphs[0].graph, self.inputs[name]
        about = self._interpreter.metadata.inputs if self._graph == 0 else ()
        told = {**port.details, "shape": (1, *port.own[1:])}  # one row of its batch
        return image_input(path, told, dict(zip(main.inputs, about, strict=False)).get(port.index))

    def arena_nbytes(self) -> int:
        """Bytes of the memory that the activations of the main graph share."""
        return self._wrapper.ArenaUsedBytes()


def _chosen(interpreter: Interpreter, key: str | None) -> Signature:
    signatures = interpreter._model.signatures
    if key is None and len(signatures) == 1:
        return next(iter(signatures.values()))
    if key is not None and key not in signatures:
        raise ValueError(f"no signature {key!r}; the model has {sorted(signatures) or 'none'}")
    if key is not None:
        return signatures[key]
    graph = interpreter._graphs[0]
    sides = (("input", graph.graph.inputs), ("output", graph.graph.outputs))
    return Signature("", 0, *(_named(side, [(graph.specs[i].name, i) for i in indices]) for side, indices in sides))


def _named(side: str, tensors: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, (name, index) in enumerate(tensors):
        found[name if name and name not in found else f"{side}_{number}"] = index
    return found


def _ports(names: Mapping[str, int], order: Iterable[int], specs: Any) -> dict[str, Port]:
    by_index = {index: name for name, index in names.items()}
    listed = [index for index in dict.fromkeys(order) if index in by_index]
    return {by_index[index]: _port(by_index[index], details.of_tensor(specs[index])) for index in listed}


def _port(name: str, told: Mapping[str, Any]) -> Port:
    shape, own = (tuple(map(int, told[key])) for key in ("shape_signature", "shape"))
    return Port(name, told["index"], np.dtype(told["dtype"]), shape or own, own, told)
