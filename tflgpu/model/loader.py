"""A .tflite file as a `Model`: what the verifier found well-formed is checked for meaning and assembled."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Sequence
from typing import Any

from tflgpu.model.constants import Budget
from tflgpu.model.graph import Graph, Model, Node, Options, Signature, TensorSpec, graphs_named
from tflgpu.model.schema import BUILTIN_OPERATORS, ENUMS, OPTIONS_OF, TABLES, VERSION
from tflgpu.model.tensor_loader import Buffers, load_tensors
from tflgpu.model.verifier import Table, read_model

# Without an options table, TensorFlow Lite's structures have zeros, not the schema's defaults.
_WITHOUT_TABLE = {"pot_scale_int16": False, "time_major": False}

_OptionsPlan = tuple[dict[str, Any], dict[str, Any], list[str]]


def load(path: str | os.PathLike[str] | None = None, content: Any = None, copy: bool = False) -> Model:
    """The model in a file, which is mapped, or read with `copy`; or in a bytes-like object, which is kept alive.

    Constants are read-only views of it, except packed, string and misaligned ones. Raises ValueError, in TensorFlow
    Lite's words where it has them, for what is not a valid model.
    """
    if isinstance(content, str):
        raise TypeError("model_content takes the bytes of a model, not str; a file's name goes into model_path")
    data = content if path is None else _read(os.fspath(path), copy)
    if data is None or len(data) == 0:
        raise ValueError("`model_path` or `model_content` must be specified.")
    try:
        return _model(read_model(data), memoryview(data).cast("B"))
    except ValueError as error:
        if path is None:
            raise
        raise ValueError(f"{str(error).rstrip()} (in '{os.fspath(path)!s}')") from None


def _read(path: str, copy: bool) -> Any:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ValueError(f"'{path}' is empty. The model allocation is null/empty")
            if copy:
                return file.read()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ValueError(
            f"Could not open '{path}'.The model allocation is null/empty\n({error.strerror}: {os.path.abspath(path)})"
        ) from None


def _model(raw: Table, content: memoryview) -> Model:
    if raw.version != VERSION:
        raise ValueError(f"Model provided is schema version {raw.version} not equal to supported version {VERSION}.\n")
    if not raw.subgraphs:
        raise ValueError("No subgraph in the model.\n")
    if raw.buffers is None:
        raise ValueError("No buffers in the model.\n")
    operator_codes = [_operator(operator_code) for operator_code in raw.operator_codes or ()]
    budget = Budget(len(content))
    buffers = Buffers(raw.buffers, content, budget)
    graphs = tuple(_graph(i, g, operator_codes, buffers) for i, g in enumerate(raw.subgraphs))
    _check_calls(graphs)
    return Model(
        raw.version,
        raw.description or "",
        graphs,
        tuple((op, version) for op, version, is_custom in operator_codes if not is_custom),
        dict(_signature(s, graphs) for s in raw.signature_defs or ()),
        {m.name or "": buffers.copy(m.buffer) for m in raw.metadata or ()},
        content,
    )


def _operator(operator_code: Table) -> tuple[str, int, bool]:
    """(name, version, is it custom) of an operator code."""
    names = ENUMS["BuiltinOperator"].numbers
    extended = names.get(operator_code.builtin_code, operator_code.builtin_code)
    number = max(extended, operator_code.deprecated_builtin_code)
    if not 0 <= number < len(BUILTIN_OPERATORS):
        raise ValueError(
            f"Op builtin_code out of range: {number}. Are you using old TFLite binary with newer model?\n"
            "Registration failed.\n"
        )
    if BUILTIN_OPERATORS[number] != "CUSTOM":
        return BUILTIN_OPERATORS[number], operator_code.version, False
    if operator_code.custom_code is None:
        raise ValueError("Operator with CUSTOM builtin_code has no custom_code.\nRegistration failed.\n")
    return operator_code.custom_code, operator_code.version, True


def _graph(index: int, raw: Table, operator_codes: Sequence[tuple[str, int, bool]], buffers: Buffers) -> Graph:
    if raw.tensors is None:
        raise ValueError(f"Did not get tensors in subgraph {index}.\n")
    tensors = load_tensors(index, raw.tensors, buffers)
    inputs, outputs = raw.inputs or (), raw.outputs or ()
    _check_indices(inputs, len(tensors), "inputs", index)
    _check_indices(outputs, len(tensors), "outputs", index)
    nodes = tuple(_node(i, node, operator_codes, tensors, buffers, index) for i, node in enumerate(raw.operators or ()))
    _check_order(nodes, tensors, inputs, outputs, index)
    return Graph(index, raw.name or "", tensors, nodes, inputs, outputs)


def _check_indices(indices: Iterable[int], count: int, what: str, graph: int, optional: bool = False) -> None:
    for i in indices:
        if not (0 <= i < count or (optional and i == -1)):
            raise ValueError(
                f"Invalid tensor index {i} in {what}. The subgraph has {count} tensors\n(subgraph {graph})"
            )


def _node(
    index: int,
    raw: Table,
    operator_codes: Sequence[tuple[str, int, bool]],
    tensors: tuple[TensorSpec, ...],
    buffers: Buffers,
    graph: int,
) -> Node:
    if raw.opcode_index >= len(operator_codes):
        raise ValueError(
            f"Missing registration for opcode_index {raw.opcode_index}\n(the model has {len(operator_codes)})"
        )
    op, version, is_custom = operator_codes[raw.opcode_index]
    inputs, outputs, inner = raw.inputs or (), raw.outputs or (), raw.intermediates or ()
    _check_indices(inputs, len(tensors), "node inputs", graph, optional=True)
    _check_indices(outputs, len(tensors), "node outputs", graph)
    _check_indices(inner, len(tensors), "node intermediates", graph)
    both = set(inputs).intersection(outputs)
    if both and not is_custom and op in OPTIONS_OF:
        i, o = inputs.index(min(both)), outputs.index(min(both))
        raise ValueError(
            f"Tensor {min(both)} is both input {i} and output {o}\n(node {index}, {op}, of subgraph {graph})"
        )
    custom_options = raw.custom_options or b""
    if is_custom and raw.custom_options is None and raw.large_custom_options_offset > 1:
        custom_options = buffers.outside(
            raw.large_custom_options_offset, raw.large_custom_options_size, f"node {index}"
        )
    return Node(
        index,
        op,
        version,
        Options() if is_custom else _options(op, raw, f"node {index} ({op}) of subgraph {graph}"),
        tuple(tensors[i] if i >= 0 else None for i in inputs),
        tuple(tensors[i] for i in outputs),
        tuple(tensors[i] for i in inner),
        is_custom,
        custom_options if is_custom else b"",
    )


def _options(op: str, raw: Table, where: str) -> Options:
    """All fields of the operator's options table; the defaults where the node has another table or none."""
    name = OPTIONS_OF.get(op)
    if name is None:
        return Options()
    defaults, empty, enums = _OPTIONS[name]
    if raw.builtin_options_type == name and raw.builtin_options is not None:
        values = vars(raw.builtin_options)
    elif raw.builtin_options_2_type == name and raw.builtin_options_2 is not None:
        values = vars(raw.builtin_options_2)
    else:
        return Options(**defaults)
    for field in enums:
        if not isinstance(values[field], str) and not isinstance(values[field], tuple | None):
            raise ValueError(f"{where}: {field} {values[field]} has no meaning in schema version {VERSION}")
    return Options(**{k: empty[k] if v is None else v for k, v in values.items()})


def _plan_options(name: str) -> _OptionsPlan:
    """(values without a table, values of absent vectors and strings, enum fields)."""
    empty: dict[str, Any] = {}
    for field in TABLES[name]:
        if field.kind == "string":
            empty[field.name] = ""
        elif field.kind == "vector":
            empty[field.name] = b"" if field.type == "ubyte" else ()
    defaults = {f.name: empty.get(f.name, _WITHOUT_TABLE.get(f.name, f.default)) for f in TABLES[name]}
    return defaults, empty, [f.name for f in TABLES[name] if f.type in ENUMS]


_OPTIONS = {name: _plan_options(name) for name in set(OPTIONS_OF.values())}


def _check_order(
    nodes: Iterable[Node], tensors: Sequence[TensorSpec], inputs: Sequence[int], outputs: Sequence[int], graph: int
) -> None:
    """Raises ValueError where a node reads a tensor before it is written, or writes one that is not its own.

    TensorFlow Lite computes with the memory's content there. An empty tensor needs no writer.
    """
    producer = {t.index: "a constant" for t in tensors if t.data is not None}
    producer |= dict.fromkeys(inputs, "a subgraph input")
    for node in nodes:
        for spec in node.inputs:
            if spec is not None and spec.index not in producer and not spec.is_variable and 0 not in spec.shape:
                raise ValueError(
                    f"Input tensor {spec.index} to op {node.index} ({node.op}) is not produced (subgraph {graph})"
                )
        for spec in node.outputs:
            if spec.index in producer:
                raise ValueError(
                    f"Output tensor {spec.index} to op {node.index} ({node.op}) is {producer[spec.index]} "
                    f"(subgraph {graph})"
                )
            if not spec.is_variable:
                producer[spec.index] = f"an output from another op, {node.index}"
    for i in outputs:
        if i not in producer and not tensors[i].is_variable and 0 not in tensors[i].shape:
            raise ValueError(f"Output tensor {i} of subgraph {graph} is not produced")


def _check_calls(graphs: Sequence[Graph]) -> None:
    """Raises ValueError where a node names a graph that is not there, or graphs call each other in a cycle."""
    calls: list[set[int]] = []
    for graph in graphs:
        calls.append(set())
        for node in graph.nodes:
            for callee in graphs_named(node):
                if not 0 <= callee < len(graphs):
                    raise ValueError(f"{node} of subgraph {graph.index} calls subgraph {callee} of {len(graphs)}")
                calls[-1].add(callee)
    unresolved = {i: len(called) for i, called in enumerate(calls)}
    callers: list[list[int]] = [[] for _ in graphs]
    for caller, called in enumerate(calls):
        for callee in called:
            callers[callee].append(caller)
    ready = [i for i, n in unresolved.items() if n == 0]
    while ready:
        for caller in callers[ready.pop()]:
            unresolved[caller] -= 1
            if unresolved[caller] == 0:
                ready.append(caller)
    cycle = sorted(i for i, n in unresolved.items() if n)
    if cycle:
        raise ValueError(f"subgraphs {cycle} call each other in a cycle")


def _signature(raw: Table, graphs: Sequence[Graph]) -> tuple[str, Signature]:
    if raw.signature_key is None:
        raise ValueError("Missing exported method name for SignatureDef")
    if raw.subgraph_index >= len(graphs):
        raise ValueError(f"signature {raw.signature_key!r}: subgraph {raw.subgraph_index} of {len(graphs)}")
    count = len(graphs[raw.subgraph_index].tensors)
    maps = []
    for entries in (raw.inputs or (), raw.outputs or ()):
        names = {entry.name: entry.tensor_index for entry in entries if entry.name is not None}
        _check_indices(names.values(), count, f"signature {raw.signature_key!r}", raw.subgraph_index)
        maps.append(dict(sorted(names.items())))
    return raw.signature_key, Signature(raw.signature_key, raw.subgraph_index, maps[0], maps[1])
