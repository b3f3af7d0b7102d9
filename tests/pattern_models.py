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


def _parameter(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _heads(w: Writer, x: int, heads: int, *order: int) -> int:
    batch, tokens, depth = w.shapes[x]
    return w.transpose(w.reshape(x, batch, tokens, heads, depth // heads), *order)


def _joined(w: Writer, x: int) -> int:
    batch, heads, tokens, each = w.shapes[x]
    return w.reshape(w.transpose(x, 0, 2, 1, 3), batch, tokens, heads * each)


def torch_attention(tokens: int, keys: int, heads: int, each: int, batch: int = 1) -> Callable[[Writer], list[int]]:
    """q times k transposed by the BATCH_MATMUL itself, then scaled."""

    def write(w: Writer) -> list[int]:
        q, k, v = (_heads(w, w.input(batch, n, heads * each), heads, 0, 2, 1, 3) for n in (tokens, keys, keys))
        scores = w.binary("MUL", w.matmul(q, k, adj_y=True), w.constant(np.float32(each**-0.5)))
        return [_joined(w, w.matmul(w.softmax(scores), v))]

    return write


def keras_attention(tokens: int, heads: int, each: int, mask: str) -> Callable[[Writer], list[int]]:
    """k transposed by a TRANSPOSE; mask: "keys" (1, 1, 1, n), "all" (1, 1, m, n), "choice" or ""."""

    def write(w: Writer) -> list[int]:
        q = _heads(w, w.input(1, tokens, heads * each), heads, 0, 2, 1, 3)
        k = _heads(w, w.input(1, tokens, heads * each), heads, 0, 2, 3, 1)
        v = _heads(w, w.input(1, tokens, heads * each), heads, 0, 2, 1, 3)
        scores = w.binary("DIV", w.matmul(q, k), w.constant(np.float32(each**0.5)))
        scores = w.reshape(scores, *w.shapes[scores])
        if mask == "choice":
            below = w.constant(np.tril(np.ones((1, 1, tokens, tokens), np.bool_)))
            scores = w.node("SELECT_V2", [below, scores, w.constant(np.float32(-3.4e38))], *w.shapes[scores])
        elif mask:
            given = w.input(1, 1, 1 if mask == "keys" else tokens, tokens)
            scores = w.binary("ADD", scores, w.binary("MUL", given, w.constant(np.float32(-1e4))))
        out = w.matmul(w.softmax(scores), v)
        return [_joined(w, w.reshape(out, *w.shapes[out]))]

    return write


def packed_attention(w: Writer) -> list[int]:
    """q, k and v cut out of one tensor; heads and batch are one dimension where they are multiplied (torchaudio)."""
    tokens, batch, heads, each = 21, 2, 2, 12
    x = w.transpose(w.reshape(w.input(tokens, batch, 3 * heads * each), tokens, batch, 3, heads * each), 2, 0, 1, 3)

    def sliced(index: int) -> int:
        begin, size = np.array([index, 0, 0, 0], np.int32), np.array([1, tokens, batch, heads * each], np.int32)
        cut = w.node("SLICE", [x, w.constant(begin), w.constant(size)], *size.tolist())
        return w.transpose(w.reshape(cut, tokens, batch * heads, each), 1, 0, 2)

    q, k, v = (sliced(index) for index in range(3))
    scores = w.reshape(w.matmul(q, w.transpose(k, 0, 2, 1)), batch, heads, tokens, tokens)
    weights = w.softmax(w.binary("ADD", scores, w.input(batch, 1, 1, tokens)))
    out = w.matmul(w.reshape(weights, batch * heads, tokens, tokens), v)
    return [w.reshape(w.transpose(out, 1, 0, 2), tokens, batch, heads * each)]


def plain_attention(
    m: int,
    n: int,
    deep: int,
    wide: int,
    q_batch: Sequence[int] = (2,),
    k_batch: Sequence[int] = (2,),
    beta: float = 1.0,
) -> Callable[[Writer], list[int]]:
    def write(w: Writer) -> list[int]:
        q, k, v = w.input(*q_batch, m, deep), w.input(*k_batch, n, deep), w.input(*k_batch, n, wide)
        scores = w.matmul(q, k, adj_y=True)
        if deep > 32:
            scores = w.binary("MUL", scores, w.constant(np.float32(deep**-0.5)))
        return [w.matmul(w.softmax(scores, beta), v)]

    return write


ATTENTIONS = [
    Pattern("as PyTorch writes it", torch_attention(37, 37, 3, 64), compiled=True),
    Pattern("two images, other keys than queries", torch_attention(9, 70, 2, 32, batch=2)),
    Pattern("as Keras writes it", keras_attention(33, 2, 64, "")),
    Pattern("keys masked", keras_attention(40, 2, 20, "keys"), {"elementwise": 1, "attention": 1}, compiled=True),
    Pattern("queries and keys masked", keras_attention(19, 2, 8, "all"), {"elementwise": 1, "attention": 1}),
    Pattern("later keys replaced", keras_attention(33, 2, 16, "choice")),
    Pattern("cut out of one tensor", packed_attention, {"move": 1, "attention": 1}),
    Pattern("one query", plain_attention(1, 64, 32, 32)),
    Pattern("odd sizes", plain_attention(17, 65, 7, 5, beta=0.7)),
    Pattern("one key", plain_attention(3, 1, 4, 33)),
    Pattern("deep", plain_attention(18, 40, 128, 128), compiled=True),
    Pattern("deeper", plain_attention(18, 40, 256, 256), compiled=True),
    Pattern("deeper, with narrow values", plain_attention(5, 70, 200, 24), compiled=True),
    Pattern("wide values", plain_attention(33, 33, 20, 250), compiled=True),
    Pattern("one more than 128", plain_attention(17, 9, 129, 129)),
    Pattern("heads that share keys", plain_attention(6, 35, 48, 96, q_batch=(3, 2), k_batch=(1, 2)), compiled=True),
    Pattern("many queries", plain_attention(65, 5, 4, 4, q_batch=(132,), k_batch=(1,))),
]


def _scores_wanted(w: Writer) -> list[int]:
    q, k, v = (w.input(2, 9, 8) for _ in range(3))
    scores = w.matmul(q, k, adj_y=True)
    return [w.matmul(w.softmax(scores), v), scores]


def _scores_read_twice(w: Writer) -> list[int]:
    q, k, v = (w.input(2, 9, 8) for _ in range(3))
    scores = w.matmul(q, k, adj_y=True)
    return [w.matmul(w.softmax(scores), v), w.unary("ABS", scores)]


def _weights_wanted(w: Writer) -> list[int]:
    q, k, v = (w.input(2, 9, 8) for _ in range(3))
    weights = w.softmax(w.matmul(q, k, adj_y=True))
    return [w.matmul(weights, v), weights]


def _weights_transposed(w: Writer) -> list[int]:
    q, k, v = (w.input(2, 9, 8) for _ in range(3))
    return [w.matmul(w.softmax(w.matmul(q, k, adj_y=True)), v, adj_x=True)]


def _softmax_along_queries(w: Writer) -> list[int]:
    q, k, v = (w.input(2, 9, 8) for _ in range(3))
    return [w.matmul(w.softmax(w.transpose(w.matmul(q, k, adj_y=True), 0, 2, 1)), v)]


def _rows_cut_otherwise(w: Writer) -> list[int]:
    q, k, v = w.input(2, 6, 8), w.input(2, 4, 8), w.input(2, 4, 8)
    scores = w.reshape(w.matmul(q, k, adj_y=True), 2, 2, 12)
    return [w.matmul(w.reshape(w.softmax(scores), 2, 6, 4), v)]


def _values_of_more_batches(w: Writer) -> list[int]:
    q, k, v = w.input(2, 6, 8), w.input(2, 4, 8), w.input(3, 2, 4, 8)
    return [w.matmul(w.softmax(w.matmul(q, k, adj_y=True)), v)]


NO_ATTENTIONS = [
    Pattern("the scores are an output", _scores_wanted),
    Pattern("the scores have another reader", _scores_read_twice),
    Pattern("the weights are an output", _weights_wanted),
    Pattern("the weights are transposed", _weights_transposed),
    Pattern("softmax along the queries", _softmax_along_queries),
    Pattern("softmax of other rows", _rows_cut_otherwise),
    Pattern("values of more batches", _values_of_more_batches),
    Pattern("deeper than the kernel takes", plain_attention(5, 6, 257, 8)),
]


def _epsilon(w: Writer) -> int:
    return w.constant(np.float32(1e-5))


def keras_norm(*shape: int) -> Callable[[Writer], list[int]]:
    """x * g + (beta - mean * g) with g = gamma / deviation."""

    def write(w: Writer) -> list[int]:
        x = w.input(*shape)
        mean = w.mean(x)
        variance = w.mean(w.binary("SQUARED_DIFFERENCE", x, mean))
        g = w.unary("RSQRT", w.binary("ADD", variance, _epsilon(w)))
        g = w.binary("MUL", g, w.constant(_parameter(1, 1, 1, shape[-1])))
        back = w.binary("ADD", w.binary("MUL", w.unary("NEG", mean), g), w.constant(_parameter(2, 1, 1, shape[-1])))
        return [w.binary("ADD", w.binary("MUL", x, g), back)]

    return write


def torch_norm(*shape: int) -> Callable[[Writer], list[int]]:
    """(x - mean) / deviation * gamma + beta, squares by multiplication."""

    def write(w: Writer) -> list[int]:
        x = w.input(*shape)
        centred = w.binary("SUB", x, w.mean(x))
        variance = w.mean(w.binary("MUL", centred, centred))
        unit = w.binary("DIV", centred, w.unary("SQRT", w.binary("ADD", variance, _epsilon(w))))
        scaled = w.binary("MUL", unit, w.constant(_parameter(1, shape[-1])))
        return [w.binary("ADD", scaled, w.constant(_parameter(2, shape[-1])))]

    return write


def flat_norm(w: Writer) -> list[int]:
    """Without gamma; means without their dimension, which RESHAPE brings back (torchaudio)."""
    x = w.input(1, 30, 20)
    mean = w.mean(x, (0, 2), keep=False)
    variance = w.mean(w.binary("SQUARED_DIFFERENCE", x, w.reshape(mean, 1, 30, 1)), (0, 2), keep=False)
    factor = w.unary("RSQRT", w.binary("ADD", variance, _epsilon(w)))
    back = w.binary("SUB", w.constant(np.float32(0)), w.binary("MUL", factor, mean))
    unit = w.binary("MUL", x, w.reshape(factor, 1, 30, 1))
    return [w.binary("ADD", unit, w.reshape(back, 1, 30, 1))]


def root_mean_square(*shape: int) -> Callable[[Writer], list[int]]:
    def write(w: Writer) -> list[int]:
        x = w.input(*shape)
        factor = w.unary("RSQRT", w.binary("ADD", w.mean(w.unary("SQUARE", x)), _epsilon(w)))
        return [w.binary("MUL", w.binary("MUL", x, factor), w.constant(_parameter(1, shape[-1])))]

    return write


def sum_then_norm_then_more(w: Writer) -> list[int]:
    """A residual sum, its normalization, and an activation; both sum and outcome are wanted."""
    x = w.binary("ADD", w.input(2, 5, 48), w.input(2, 5, 48))
    centred = w.binary("SUB", x, w.mean(x))
    factor = w.unary("RSQRT", w.binary("ADD", w.mean(w.unary("SQUARE", centred)), _epsilon(w)))
    return [w.unary("TANH", w.binary("MUL", centred, factor)), x]


ROW = {"row_chain": 1}
NORMS = [
    Pattern("Keras's normalization", keras_norm(2, 7, 192), ROW, compiled=True),
    Pattern("Keras's of an odd number", keras_norm(1, 5, 67), ROW, compiled=True),
    Pattern("PyTorch's normalization", torch_norm(3, 5, 768), ROW, compiled=True),
    Pattern("PyTorch's of one row", torch_norm(1, 132), ROW),
    Pattern("PyTorch's of rows without a vector", torch_norm(4, 1001), ROW),
    Pattern("torchaudio's normalization", flat_norm, ROW),
    Pattern("root of the mean square", root_mean_square(6, 128), ROW),
    Pattern("root of the mean square of one row", root_mean_square(1, 128), ROW),
    Pattern("as long as can be", root_mean_square(2, 4096), ROW, compiled=True),
    Pattern("with what is around", sum_then_norm_then_more, ROW | {"elementwise": 1}),
]


def _mean_wanted(w: Writer) -> list[int]:
    x = w.input(4, 32)
    mean = w.mean(x)
    return [w.binary("SUB", x, mean), mean]


def _along_another_axis(w: Writer) -> list[int]:
    x = w.input(2, 32, 16)
    return [w.unary("ABS", w.binary("SUB", x, w.mean(x, 1)))]


def _over_an_image(w: Writer) -> list[int]:
    x = w.input(1, 8, 8, 16)
    return [w.unary("ABS", w.binary("SUB", x, w.mean(x, (1, 2))))]


def _of_length(columns: int) -> Callable[[Writer], list[int]]:
    def write(w: Writer) -> list[int]:
        x = w.input(3, columns)
        return [w.unary("ABS", w.binary("SUB", x, w.mean(x)))]

    return write


def _means_added_up(w: Writer) -> list[int]:
    """Means of rows are no rows."""
    x = w.input(4, 4, 32)
    return [w.binary("ADD", w.reshape(w.mean(x), 1, 16), w.input(16, 16))]


NO_NORMS = [
    Pattern("the mean is an output", _mean_wanted),
    Pattern("along another axis", _along_another_axis),
    Pattern("over an image", _over_an_image),
    Pattern("means as a row", _means_added_up),
    Pattern("too short", _of_length(12)),
    Pattern("too long", _of_length(4100)),
]


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
