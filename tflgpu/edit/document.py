"""A .tflite file as nested dicts that can be changed and written: everything that the schema knows survives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tflgpu.hints import did_you_mean
from tflgpu.model import associated_files
from tflgpu.model.constants import encode
from tflgpu.model.graph import Array
from tflgpu.model.loader import load
from tflgpu.model.schema import BUILTIN_OPERATORS, OPTIONS_OF
from tflgpu.model.verifier import read_model
from tflgpu.model.writer import Values, serialize, values_of


class Document:
    """A model that is being edited. values: its tables; files: what is attached after them, by name.

    origins: for each tensor of the main graph its index in the original, -1 for a new one. Raises ValueError for what
    is not a valid model.
    """

    def __init__(self, content: bytes):
        load(content=content)
        self.values = values_of(read_model(content), "Model")
        for graph in self.graphs:
            graph["inputs"], graph["outputs"] = graph.get("inputs") or [], graph.get("outputs") or []
        self.origins = list(range(len(self.tensors)))
        view = memoryview(content)
        self.files = {name: associated_files.read(view, name) for name in associated_files.names(view)}
        for buffer in self.buffers:
            offset, size = buffer.pop("offset", 0), buffer.pop("size", 0)
            if "data" not in buffer and offset > 1:
                buffer["data"] = np.frombuffer(view, np.uint8, size, offset)
        for node in (node for graph in self.graphs for node in graph.get("operators", ())):
            offset, size = node.pop("large_custom_options_offset", 0), node.pop("large_custom_options_size", 0)
            if offset > 1:
                node["custom_options"] = bytes(view[offset : offset + size])

    @property
    def buffers(self) -> list[Values]:
        return self.values["buffers"]

    @property
    def graphs(self) -> list[Values]:
        return self.values["subgraphs"]

    @property
    def main(self) -> Values:
        return self.graphs[0]

    @property
    def tensors(self) -> list[Values]:
        """Those of the main graph."""
        return self.main["tensors"]

    @property
    def nodes(self) -> list[Values]:
        """Those of the main graph."""
        return self.main.setdefault("operators", [])

    def op(self, node: Values) -> str:
        """The operator's name."""
        operator_code = self.values["operator_codes"][node.get("opcode_index", 0)]
        builtin = max(operator_code["builtin_code"], operator_code["deprecated_builtin_code"], key=_number)
        name = BUILTIN_OPERATORS[_number(builtin)]
        return str(operator_code["custom_code"]) if name == "CUSTOM" else name

    def find(self, name: str) -> int:
        """The index of a tensor of the main graph, by its name or its number. Raises ValueError where there is none."""
        found = [i for i, tensor in enumerate(self.tensors) if tensor.get("name") == name]
        if len(found) == 1:
            return found[0]
        if not found and name.isdigit() and int(name) < len(self.tensors):
            return int(name)
        if found:
            raise ValueError(f"tensors {found} are all called {name!r}: give the number")
        known = [str(tensor.get("name")) for tensor in self.tensors]
        raise ValueError(f"the main graph has no tensor {name!r}; tflgpu inspect lists them{did_you_mean(name, known)}")

    def name(self, index: int) -> str:
        return str(self.tensors[index].get("name") or index)

    def is_constant(self, index: int) -> bool:
        return "data" in self.buffers[self.tensors[index].get("buffer", 0)]

    def signatures(self) -> list[Values]:
        return self.values.setdefault("signature_defs", [])

    def constant(self, name: str, value: Array, type_: str) -> int:
        """Appends a constant to the main graph; its index."""
        self.buffers.append({"data": encode(value, type_)})
        tensor = {"name": name, "type": type_, "shape": list(value.shape), "has_rank": True}
        self.tensors.append({**tensor, "buffer": len(self.buffers) - 1})
        self.origins.append(-1)
        return len(self.tensors) - 1

    def options(self, node: Values) -> Values:
        """A node's options, by the schema's names, to be changed."""
        union = node.get("builtin_options") or node.get("builtin_options_2")
        if union is None:
            union = node["builtin_options"] = (OPTIONS_OF[self.op(node)], {})
        return union[1]

    def without_unused(self) -> None:
        """Drops nodes that no output needs, and the main graph's tensors, buffers and graphs that nothing names.

        Nodes that write variables, or run graphs that may, stay.
        """
        main = self.main
        main["operators"] = self.needed()
        used = {i for node in main["operators"] for i in _tensors_of(node)} | {*main["inputs"], *main["outputs"]}
        details = [(tensor.get("quantization") or {}).get("details") for tensor in self.tensors]
        blockwise = {i: d[1] for i, d in enumerate(details) if d and d[0] == "BlockwiseQuantization"}
        used |= {d.get(key, -1) for i, d in blockwise.items() if i in used for key in ("scales", "zero_points")}
        for signature in self.signatures():
            if signature.get("subgraph_index", 0) == 0:
                used |= {entry["tensor_index"] for side in ("inputs", "outputs") for entry in signature.get(side, ())}
        self._renumber(sorted(used - {-1}), blockwise.values())
        self.without_unused_buffers()

    def needed(self) -> list[Values]:
        """The main graph's nodes that its outputs need, in order, and those that write variables or nothing."""
        wanted = set(self.main["outputs"])
        kept: list[Values] = []
        for node in reversed(self.nodes):
            outputs = set(node.get("outputs", ()))
            variable = any(self.tensors[i].get("is_variable") for i in node.get("inputs", ()) if i >= 0)
            if outputs & wanted or variable or not outputs:
                kept.append(node)
                wanted |= set(node.get("inputs", ()))
        return kept[::-1]

    def _renumber(self, used: Sequence[int], blockwise: Iterable[Values]) -> None:
        number = {old: new for new, old in enumerate(used)} | {-1: -1}
        main = self.main
        main["tensors"] = [main["tensors"][i] for i in used]
        self.origins = [self.origins[i] for i in used]
        for holder, keys in ((main, ("inputs", "outputs")), *((node, _SIDES) for node in main["operators"])):
            for key in keys:
                if holder.get(key):
                    holder[key] = [number[i] for i in holder[key]]
        for details in blockwise:
            for key in ("scales", "zero_points"):
                details[key] = number.get(details.get(key, -1), -1)
        for signature in self.signatures():
            if signature.get("subgraph_index", 0) == 0:
                for entry in (*signature.get("inputs", ()), *signature.get("outputs", ())):
                    entry["tensor_index"] = number[entry["tensor_index"]]

    def without_unused_buffers(self) -> None:
        """Empties the buffers that nothing names: their numbers stay."""
        tensors = (tensor for graph in self.graphs for tensor in graph["tensors"])
        used = {tensor.get("buffer", 0) for tensor in tensors}
        used |= {entry["buffer"] for entry in self.values.get("metadata") or ()}
        for index, buffer in enumerate(self.buffers):
            if index not in used:
                buffer.clear()

    def build(self) -> bytes:
        """The file. Raises ValueError where the result is not a valid model."""
        values = {**self.values}
        for key in ("signature_defs", "metadata"):
            values[key] = values.get(key) or None
        built = associated_files.appended(serialize(values), self.files)
        load(content=built)
        return built


_SIDES = ("inputs", "outputs", "intermediates")


def _number(builtin: str | int) -> int:
    return BUILTIN_OPERATORS.index(builtin) if isinstance(builtin, str) else builtin


def _tensors_of(node: Values) -> set[int]:
    return {i for side in _SIDES for i in node.get(side) or ()}
