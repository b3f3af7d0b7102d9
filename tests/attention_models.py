"""Attention as PyTorch, Keras and others write it, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pattern_models import Pattern, Writer


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
