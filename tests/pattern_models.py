"""Small models with attention and normalization as exporters write them, and others that only look like it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tflgpu.model.builder import GraphBuilder, ModelBuilder

NONE = {"fused_activation_function": "NONE"}


class Writer:
    """A graph under construction, whose methods add one node and return the tensor that it makes."""

    def __init__(self) -> None:
        self.builder = ModelBuilder()
        self.g: GraphBuilder = self.builder.graph()
        self.shapes: dict[int, tuple[int, ...]] = {}
        self._count = 0

    def input(self, *shape: int, kind: str = "FLOAT32") -> int:
        self._count += 1
        return self._known(self.g.input(f"x{self._count}", kind, list(shape)), shape)

    def constant(self, value: Any) -> int:
        self._count += 1
        value = np.asarray(value)
        return self._known(self.g.constant(f"c{self._count}", value), value.shape)

    def node(self, op: str, inputs: Sequence[int], *shape: int, kind: str = "FLOAT32", **options: Any) -> int:
        self._count += 1
        out = self._known(self.g.tensor(f"{op}{self._count}", kind, list(shape)), shape)
        self.g.node(op, list(inputs), [out], version=1 if op != "SELECT_V2" else 2, **options)
        return out

    def _known(self, tensor: Any, shape: Sequence[int]) -> int:
        self.shapes[int(tensor)] = tuple(shape)
        return int(tensor)

    def binary(self, op: str, x: int, y: int) -> int:
        shape = np.broadcast_shapes(self.shapes[x], self.shapes[y])
        return self.node(op, [x, y], *shape, **(NONE if op in ("ADD", "SUB", "MUL", "DIV") else {}))

    def unary(self, op: str, x: int) -> int:
        return self.node(op, [x], *self.shapes[x])

    def softmax(self, x: int, beta: float = 1.0) -> int:
        return self.node("SOFTMAX", [x], *self.shapes[x], beta=beta)

    def transpose(self, x: int, *order: int) -> int:
        shape = [self.shapes[x][i] for i in order]
        return self.node("TRANSPOSE", [x, self.constant(np.array(order, np.int32))], *shape)

    def reshape(self, x: int, *shape: int) -> int:
        return self.node("RESHAPE", [x, self.constant(np.array(shape, np.int32))], *shape, new_shape=list(shape))

    def matmul(self, x: int, y: int, adj_x: bool = False, adj_y: bool = False) -> int:
        a, b = self.shapes[x], self.shapes[y]
        lead = np.broadcast_shapes(a[:-2], b[:-2])
        m, n = a[-1 if adj_x else -2], b[-2 if adj_y else -1]
        return self.node("BATCH_MATMUL", [x, y], *lead, m, n, adj_x=adj_x, adj_y=adj_y)

    def mean(self, x: int, axis: int | Sequence[int] = -1, keep: bool = True) -> int:
        axes = np.atleast_1d(np.array(axis, np.int32))
        rank = len(self.shapes[x])
        reduced = {int(a) % rank for a in axes}
        shape = [1 if i in reduced else d for i, d in enumerate(self.shapes[x]) if keep or i not in reduced]
        return self.node("MEAN", [x, self.constant(axes)], *shape, keep_dims=keep)

    def model(self, *outputs: int) -> bytes:
        self.g.outputs(*outputs)
        return self.builder.build()


@dataclass(frozen=True, eq=False)
class Pattern:
    """write: adds the nodes and returns the outputs. launches: how often which kernel runs. compiled: for every GPU."""

    name: str
    write: Callable[[Writer], Sequence[int]]
    launches: Mapping[str, int] = field(default_factory=lambda: {"attention": 1})
    compiled: bool = False

    def model(self) -> bytes:
        w = Writer()
        return w.model(*self.write(w))


def parameter(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs_of(model: bytes, seed: int = 0) -> list[Any]:
    """Inputs for a model: normal floats, all 8-bit values."""
    import tflgpu

    rng = np.random.default_rng(seed)
    details: Sequence[Mapping[str, Any]] = tflgpu.Interpreter(model_content=model).get_input_details()
    return [
        rng.normal(size=tuple(d["shape"])).astype(np.float32)
        if d["dtype"] == np.float32
        else rng.integers(-128, 128, tuple(d["shape"])).astype(d["dtype"])
        for d in details
    ]
