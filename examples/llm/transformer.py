"""A decoder-only transformer with seeded weights as a .tflite file: Llama's layers, signatures and caches by name.

Signatures `prefill_N` and `decode` take `tokens` (1, N), `input_pos` (N) and the caches `kv_cache_k_0`,
`kv_cache_v_0`, ... (1, length, kv heads, depth), and return the caches; `decode` (N = 1) also `logits` (1, 1,
vocabulary).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tflgpu.model.builder import GraphBuilder, ModelBuilder

BLOCK = 32
"""4-bit weights that share a scale."""


@dataclass(frozen=True)
class Size:
    """A model's dimensions; the defaults are SmolLM2-135M's, with a cache of 512 tokens.

    repeated: whether keys and values are repeated by BROADCAST_TO for all heads of queries that share them, as
    litert-torch exports them; else these heads are rows of one matrix.
    """

    vocabulary: int = 49152
    width: int = 576
    layers: int = 30
    heads: int = 9
    kv_heads: int = 3
    hidden: int = 1536
    length: int = 512
    repeated: bool = False

    @property
    def depth(self) -> int:
        return self.width // self.heads

    @property
    def caches(self) -> list[str]:
        return [f"kv_cache_{side}_{i}" for i in range(self.layers) for side in "kv"]

    @property
    def cache_shape(self) -> tuple[int, ...]:
        return 1, self.length, self.kv_heads, self.depth


def transformer(size: Size, weights: str, prefill: Sequence[int] = (), seed: int = 0) -> bytes:
    """The file. weights: "float32", "int8" (a scale for each row) or "int4" (one for each 32 values of a row).

    prefill: the numbers of tokens that a signature takes each.
    """
    model = ModelBuilder()
    shared = _Weights(model, weights, np.random.default_rng(seed), {})
    for n in (1, *prefill):
        _signature(model, size, shared, n)
    return model.build()


@dataclass(frozen=True)
class _Weights:
    """The weights of all signatures: each is made and stored once, and becomes a tensor of each graph."""

    model: ModelBuilder
    kind: str
    random: np.random.Generator
    stored: dict[str, Mapping[str, Any]]

    def matrix(self, graph: GraphBuilder, name: str, rows: int, columns: int) -> int:
        """Weights (rows, columns) that keep the variance of what they multiply."""

        def made() -> npt.NDArray[Any]:
            return self.random.standard_normal((rows, columns)).astype(np.float32) / np.float32(np.sqrt(columns))

        if self.kind == "float32":
            return self._tensor(graph, name, made, {})
        most, block = (127, columns) if self.kind == "int8" else (7, BLOCK)
        scale = np.full((rows, columns // block), 4 / np.sqrt(columns) / most).astype(np.float16)

        def quantized() -> npt.NDArray[Any]:
            values = made().reshape(rows, -1, block) / scale.astype(np.float32)[:, :, np.newaxis]
            return np.clip(np.rint(values), -most, most).astype(np.int8).reshape(rows, columns)

        if self.kind == "int8":
            return self._tensor(graph, name, quantized, {"type": "INT8", "scale": scale.astype(np.float32).ravel()})
        scales = self._tensor(graph, f"{name} scales", lambda: scale, {})
        details = ("BlockwiseQuantization", {"scales": scales, "zero_points": -1, "block_size": block})
        return self._tensor(graph, name, quantized, {"type": "INT4", "quantization": {"details": details}})

    def _tensor(
        self, graph: GraphBuilder, name: str, made: Callable[[], npt.NDArray[Any]], fields: Mapping[str, Any]
    ) -> int:
        if name not in self.stored:
            index = graph.constant(name, made(), **fields)
            self.stored[name] = graph.tensors[index]
            return index
        graph.tensors.append({**self.stored[name], **_quantization(graph, self.stored[name], fields)})
        return len(graph.tensors) - 1


def _quantization(graph: GraphBuilder, stored: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The stored tensor's, with the scales of this graph."""
    if "quantization" not in fields:
        return {}
    return {"quantization": {**stored["quantization"], **fields["quantization"]}}


@dataclass(frozen=True)
class _Layers:
    """The operators of one signature's graph, by what they compute."""

    graph: GraphBuilder
    size: Size
    weights: _Weights
    n: int

    def op(
        self, op: str, inputs: Sequence[int | None], shape: Sequence[int], type: str = "FLOAT32", **given: Any
    ) -> int:
        y = self.graph.tensor(f"{op} {len(self.graph.tensors)}", type, shape)
        self.graph.node(op, inputs, [y], **given)
        return y

    def constant(self, value: npt.ArrayLike) -> int:
        return self.graph.constant(f"constant {len(self.graph.tensors)}", value)

    def shaped(self, x: int, shape: Sequence[int]) -> int:
        return self.op("RESHAPE", [x, self.constant(np.array(shape, np.int32))], shape)

    def transposed(self, x: int, order: Sequence[int], shape: Sequence[int]) -> int:
        return self.op("TRANSPOSE", [x, self.constant(np.array(order, np.int32))], shape)

    def linear(self, name: str, x: int, columns: int, rows: int) -> int:
        w = self.weights.matrix(self.graph, name, rows, columns)
        version = {"float32": 1, "int8": 12, "int4": 12}[self.weights.kind]
        return self.op(
            "FULLY_CONNECTED", [x, w, None], [1, self.n, rows], version=version, keep_num_dims=True,
            asymmetric_quantize_inputs=self.weights.kind != "float32",
        )  # fmt: skip

    def norm(self, x: int) -> int:
        """x divided by the root of the mean of its squares."""
        row, one = [1, self.n, self.size.width], [1, self.n, 1]
        square = self.op("MUL", [x, x], row)
        mean = self.op("MEAN", [square, self.constant(np.array([2], np.int32))], one, keep_dims=True)
        root = self.op("RSQRT", [self.op("ADD", [mean, self.constant(np.float32(1e-5))], one)], one)
        return self.op("MUL", [x, root], row)

    def rotated(self, x: int, heads: int, cos: int, sin: int) -> int:
        """Rotary position embeddings of x (1, n, heads, depth); cos, sin (1, n, 1, depth / 2)."""
        half = [1, self.n, heads, self.size.depth // 2]
        size = self.constant(np.array(half, np.int32))
        a, b = (
            self.op("SLICE", [x, self.constant(np.array([0, 0, 0, start], np.int32)), size], half)
            for start in (0, half[-1])
        )

        def combined(op: str, left: int, right: int) -> int:
            return self.op(op, [self.op("MUL", [left, cos], half), self.op("MUL", [right, sin], half)], half)

        both = [combined("SUB", a, b), combined("ADD", b, a)]
        return self.op("CONCATENATION", both, [1, self.n, heads, self.size.depth], axis=3)

    def by_head(self, cache: int) -> int:
        """A cache (1, length, kv heads, depth) as (1, kv heads, length, depth), or repeated for all heads."""
        s = self.size
        moved = self.transposed(cache, (0, 2, 1, 3), [1, s.kv_heads, s.length, s.depth])
        if not s.repeated:
            return moved
        one = self.shaped(moved, [1, s.kv_heads, 1, s.length, s.depth])
        wide = [1, s.kv_heads, s.heads // s.kv_heads, s.length, s.depth]
        many = self.op("BROADCAST_TO", [one, self.constant(np.array(wide, np.int32))], wide, version=2)
        return self.shaped(many, [1, s.heads, s.length, s.depth])

    def attention(self, q: int, k: int, v: int, mask: int) -> int:
        """q (1, n, heads, depth) on caches k and v, with the mask (1, 1, n, length): (1, n, width)."""
        s, n = self.size, self.n
        groups = s.heads if s.repeated else s.kv_heads
        rows = n * s.heads // groups
        scaled = self.op("MUL", [q, self.constant(np.float32(s.depth**-0.5))], [1, n, s.heads, s.depth])
        q = self.transposed(scaled, (0, 2, 1, 3), [1, s.heads, n, s.depth])
        q = self.shaped(q, [1, groups, rows, s.depth])
        scores = self.op("BATCH_MATMUL", [q, self.by_head(k)], [1, groups, rows, s.length], adj_y=True)
        scores = self.shaped(scores, [1, s.heads, n, s.length])
        masked = self.op("ADD", [scores, mask], [1, s.heads, n, s.length])
        mixed = self.op("SOFTMAX", [masked], [1, s.heads, n, s.length], beta=1.0)
        mixed = self.shaped(mixed, [1, groups, rows, s.length])
        heads = self.op("BATCH_MATMUL", [mixed, self.by_head(v)], [1, groups, rows, s.depth])
        heads = self.shaped(heads, [1, s.heads, n, s.depth])
        return self.shaped(self.transposed(heads, (0, 2, 1, 3), [1, n, s.heads, s.depth]), [1, n, s.width])

    def block(self, i: int, x: int, caches: tuple[int, int], shared: _Positions) -> tuple[int, int, int]:
        """Layer i: its output and its caches."""
        s, n, normed = self.size, self.n, self.norm(x)
        q, k, v = (
            self.shaped(
                self.linear(f"{name} {i}", normed, s.width, heads * s.depth), [1, n, heads, s.depth]
            )
            for name, heads in (("q", s.heads), ("k", s.kv_heads), ("v", s.kv_heads))
        )  # fmt: skip
        q, k = self.rotated(q, s.heads, shared.cos, shared.sin), self.rotated(k, s.kv_heads, shared.cos, shared.sin)
        written = [
            self.op("DYNAMIC_UPDATE_SLICE", [cache, new, shared.start], s.cache_shape)
            for cache, new in zip(caches, (k, v), strict=True)
        ]
        mixed = self.linear(f"o {i}", self.attention(q, *written, shared.mask), s.width, s.width)
        x = self.op("ADD", [x, mixed], [1, n, s.width])
        normed, wide = self.norm(x), [1, n, s.hidden]
        gate, up = (self.linear(f"{name} {i}", normed, s.width, s.hidden) for name in ("gate", "up"))
        gate = self.op("MUL", [gate, self.op("LOGISTIC", [gate], wide)], wide)
        down = self.linear(f"down {i}", self.op("MUL", [gate, up], wide), s.hidden, s.width)
        return self.op("ADD", [x, down], [1, n, s.width]), *written


@dataclass(frozen=True)
class _Positions:
    """What follows from the tokens' positions, for all layers."""

    cos: int
    sin: int
    mask: int
    start: int


def _positions(layers: _Layers, position: int) -> _Positions:
    s, n = layers.size, layers.n
    half = s.depth // 2
    as_float = layers.op("CAST", [position], [n], in_data_type="INT32", out_data_type="FLOAT32")
    rates = layers.constant((10000.0 ** -(np.arange(half) / half)).astype(np.float32))
    angles = layers.op("MUL", [layers.shaped(as_float, [1, n, 1, 1]), rates], [1, n, 1, half])
    cos, sin = (layers.op(op, [angles], [1, n, 1, half]) for op in ("COS", "SIN"))
    table = np.where(np.tri(s.length, dtype=bool), np.float32(0), np.float32(-1e9))
    mask = layers.op("GATHER", [layers.constant(table), position], [n, s.length], axis=0)
    zero, size = layers.constant(np.array([0], np.int32)), layers.constant(np.array([1], np.int32))
    first = layers.op("SLICE", [position, zero, size], [1], "INT32")
    start = layers.op("CONCATENATION", [zero, first, zero, zero], [4], "INT32", axis=0)
    return _Positions(cos, sin, layers.shaped(mask, [1, 1, n, s.length]), start)


def _signature(model: ModelBuilder, size: Size, weights: _Weights, n: int) -> None:
    name = "decode" if n == 1 else f"prefill_{n}"
    graph = model.graph(name)
    tokens, position = graph.input("tokens", "INT32", [1, n]), graph.input("input_pos", "INT32", [n])
    caches = {cache: graph.input(cache, "FLOAT32", size.cache_shape) for cache in size.caches}
    layers, updated = _Layers(graph, size, weights, n), dict[str, int]()
    ids = layers.op("RESHAPE", [tokens, layers.constant(np.array([n], np.int32))], [n], "INT32")
    table = weights.matrix(graph, "embedding", size.vocabulary, size.width)
    x = layers.shaped(layers.op("EMBEDDING_LOOKUP", [ids, table], [n, size.width], version=5), [1, n, size.width])
    shared = _positions(layers, position)
    for i in range(size.layers):
        k, v = f"kv_cache_k_{i}", f"kv_cache_v_{i}"
        x, updated[k], updated[v] = layers.block(i, x, (caches[k], caches[v]), shared)
    logits = {"logits": layers.linear("embedding", layers.norm(x), size.width, size.vocabulary)} if n == 1 else {}
    graph.outputs(*updated.values(), *logits.values())
    model.signature(name, graph, {"tokens": tokens, "input_pos": position, **caches}, {**updated, **logits})
