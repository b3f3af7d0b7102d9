"""Every operator's nodes of the case tables, each with one thing changed: a type, a shape, a value, an option."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from kit import kernels

from tflgpu.model.graph import DTYPES, Graph, Model, Node, Quantization, TensorSpec
from tflgpu.model.loader import load

TYPES = ("FLOAT32", "FLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL", "COMPLEX64")
NUMBERS = (-(2**31), -100, -2, -1, 0, 1, 3, 100, 2**31 - 1)
WORDS = (
    ("SAME", "VALID"),
    ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT"),
    ("REFLECT", "SYMMETRIC"),
    ("DEFAULT", "SHUFFLED4x16INT8"),
    ("FULL", "BASIC"),
    ("FLOAT32", "INT8", "INT32", "INT64", "STRING"),
)
"""Enums of the schema that options are of."""


@dataclass(frozen=True, eq=False)
class Variant:
    """name: what is changed of which case. The node reads and writes `specs`, by index."""

    name: str
    node: Node
    graph: Graph
    model: Model


def sound(thorough: bool = False) -> Iterator[Variant]:
    """Nodes of every operator: one for each kind of input types; thorough: for all types, and constants apart."""
    seen = set()
    for case in kernels():
        model = load(content=case.sample().model)
        graph = model.graphs[0]
        for node in graph.nodes if len(graph.nodes) == 1 else ():
            given = [spec for spec in node.inputs if spec is not None]
            types = [
                (s.type, s.data is None) if thorough else s.dtype.kind + str(s.quantization is None) for s in given[:2]
            ]
            if (key := (node.op, *types)) not in seen:
                seen.add(key)
                yield Variant(case.name, node, graph, model)


def variants(of: Variant) -> Iterator[Variant]:
    """The same node with one thing changed."""
    for what, node in _changed(of.node):
        yield replace(of, name=f"{of.name} {what}", node=node)


def _changed(node: Node) -> Iterator[tuple[str, Node]]:
    for position, spec in enumerate(node.inputs):
        if spec is None:
            continue
        yield f"input {position} absent", _with_input(node, position, None)
        for what, other in (*_other_specs(spec), *_other_values(spec)):
            yield f"input {position} {what}", _with_input(node, position, other)
    for position, spec in enumerate(node.outputs):
        for what, other in _other_specs(spec):
            outputs = (*node.outputs[:position], other, *node.outputs[position + 1 :])
            yield f"output {position} {what}", replace(node, outputs=outputs)
    for name, value in vars(node.options).items():
        for other in _other_options(value):
            yield f"{name} {other!r}", replace(node, options=SimpleNamespace(**vars(node.options) | {name: other}))
    for position, spec in enumerate(node.intermediates):
        for what, quantization in _other_quantizations(spec):
            other = replace(spec, quantization=quantization)
            changed = (*node.intermediates[:position], other, *node.intermediates[position + 1 :])
            yield f"intermediate {position} {what}", replace(node, intermediates=changed)
    if node.intermediates:
        yield "no intermediates", replace(node, intermediates=())


def _with_input(node: Node, position: int, spec: TensorSpec | None) -> Node:
    return replace(node, inputs=(*node.inputs[:position], spec, *node.inputs[position + 1 :]))


def _other_specs(spec: TensorSpec) -> Iterator[tuple[str, TensorSpec]]:
    for kind in TYPES:
        if kind != spec.type and spec.dtype != object:
            data = None if spec.data is None else spec.data.astype(DTYPES[kind])
            yield kind, replace(spec, type=kind, data=data)
    for shape in _other_shapes(spec.shape):
        data = None if spec.data is None or spec.sparsity else np.resize(spec.data, shape)
        yield f"of {list(shape)}", replace(spec, shape=shape, data=data)
    if spec.is_variable:
        yield "no variable", replace(spec, is_variable=False)
    for what, quantization in _other_quantizations(spec):
        yield what, replace(spec, quantization=quantization)


def _other_shapes(shape: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    found = [(1, *shape), (*shape, 1), shape[1:], shape[:-1], (2, 2, 2, 2, 2, 2, 2)[: len(shape) + 2]]
    for axis, size in enumerate(shape):
        found += [(*shape[:axis], n, *shape[axis + 1 :]) for n in (0, 1, size + 1, 2 * size + 3)]
    return [s for s in dict.fromkeys(found) if s != shape]


def _other_quantizations(spec: TensorSpec) -> Iterator[tuple[str, Quantization | None]]:
    one = np.array([0.3], np.float32)
    if spec.quantization is None:
        if spec.type in ("INT8", "UINT8", "INT16"):
            yield "quantized", Quantization(one, np.array([1]))
        return
    yield "not quantized", None
    for name, scale in (
        ("scale 0", 0),
        ("scale -1", -1),
        ("scale 1e30", 1e30),
        ("scale 1e-30", 1e-30),
        ("nan", np.nan),
    ):
        yield name, replace(spec.quantization, scale=np.full_like(spec.quantization.scale, scale))
    yield "another zero point", replace(spec.quantization, zero_point=spec.quantization.zero_point + 1)
    yield "scales of its rows", Quantization(np.float32([0.1, 0.2]), np.array([0, 0]))
    yield "scales of axis 9", Quantization(np.float32([0.1, 0.2]), np.array([0, 0]), axis=9)


def _other_values(spec: TensorSpec) -> Iterator[tuple[str, TensorSpec]]:
    if spec.data is None or spec.sparsity:
        return
    yield "not constant", replace(spec, data=None)
    if spec.dtype.kind == "i" and spec.data.size <= 16 and spec.quantization is None:
        for number in NUMBERS:
            for where in ("first", "all"):
                value = spec.data.copy()
                value.reshape(-1)[: 1 if where == "first" else None] = np.int64(number).astype(spec.dtype)
                yield f"{where} {number}", replace(spec, data=value)


def _other_options(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [n for n in NUMBERS if n != value]
    if isinstance(value, float):
        return [-1.0, 0.0, 1e30, float("nan"), float("inf")]
    if isinstance(value, str):
        return [word for words in WORDS if value in words for word in words if word != value]
    if isinstance(value, (list, tuple, np.ndarray)) and len(value):
        first = [
            type(value)([n, *value[1:]]) if not isinstance(value, np.ndarray) else np.array([n, *value[1:]])
            for n in (-2, -1, 0, 100)
        ]
        return [*first, value[:-1]]
    return []
