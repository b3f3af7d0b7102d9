"""EMBEDDING_LOOKUP, EMBEDDING_LOOKUP_SPARSE, HASHTABLE_LOOKUP, LSH_PROJECTION: rows by index, key or hash."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import BITS, DTYPES, Array, Node, Shape
from tflgpu.ops.indexing.farmhash import fingerprint64
from tflgpu.ops.registry import OpError, function, require, value
from tflgpu.ops.shape_rules import elements

_FLOATS = ("FLOAT32", "FLOAT16")
_QUANTIZED = ("INT8", "UINT8", "INT4", "INT2")
_FIXED = " ".join(name for name in DTYPES if name not in ("STRING", "RESOURCE", "VARIANT"))


def _embedding_lookup_shape(node: Node) -> list[Shape]:
    ids, table, output = node.input(0), node.input(1), node.outputs[0]
    require(len(ids.shape) == 1, f"NumDimensions(lookup) != 1 ({len(ids.shape)} != 1)")
    require(ids.type == "INT32", f"EMBEDDING_LOOKUP: indices of type {ids.type}, should be INT32. ")
    require(len(table.shape) >= 2, "NumDimensions(value) >= 2 was not true.")
    q = table.quantization
    if q is not None and not q.block_size:
        dequantized = table.type in _QUANTIZED and output.type == "FLOAT32"
        require(not dequantized or not q.zero_point[0], "qparams->zero_point->data[0] == 0 was not true.")
        if q.per_channel:
            require(table.type in _QUANTIZED and output.type in _FLOATS, "quantization by rows needs a float output. ")
            require(q.axis == 0 and q.scale.size == table.shape[0], "a table is quantized by its rows. ")
    return [(ids.shape[0], *table.shape[1:])]


def _check_indices(ids: Array, rows: int, what: str = "Embedding Lookup") -> None:
    outside = ids[(ids < 0) | (ids >= rows)]
    if outside.size:
        raise OpError(f"{what}: index out of bounds. Got {outside[0]}, and bounds are [0, {rows - 1}]")


@function("EMBEDDING_LOOKUP", inputs=2, version=5, types=_FIXED, typed_input=1, shape=_embedding_lookup_shape)
def embedding_lookup(node: Node, ids: Array, table: Array) -> Array:
    """The rows `ids` (n) of the table (rows, ...), dequantized where the output is float."""
    spec, output = node.input(1), node.outputs[0]
    q = spec.quantization
    blockwise = q is not None and q.block_size > 0
    if not len(table) and not blockwise and (spec.type == output.type or output.type not in _FLOATS):
        return np.zeros(output.shape, output.dtype)
    _check_indices(ids, len(table))
    if blockwise:
        return _blockwise_rows(node, ids, table)
    if spec.type == output.type:
        return table[ids]
    accepted = spec.type in _QUANTIZED and output.type in _FLOATS
    require(accepted, f"EMBEDDING_LOOKUP of {spec.type} into {output.type} is not supported. ")
    scale = np.zeros(1, np.float32) if q is None else q.scale
    row_scale = (scale[ids] if scale.size > 1 else scale).reshape(-1, *[1] * (table.ndim - 1))
    # uint8 is read as int8, as in TensorFlow Lite.
    quantized = _packed_rows(ids, table.view(np.int8), BITS.get(spec.type, 8))
    return np.asarray(quantized.astype(np.float32) * row_scale, output.dtype)


def _packed_rows(ids: Array, table: Array, bits: int) -> Array:
    """The rows `ids` of a quantized table. 4- and 2-bit rows that begin inside a byte are read from that byte's start.

    TensorFlow Lite addresses packed rows by whole bytes.
    """
    per_byte = 8 // bits
    columns = elements(table.shape[1:])
    if columns % per_byte == 0:
        return table[ids]
    starts = ids.astype(np.int64) * columns // per_byte * per_byte
    flat = table.reshape(-1)[starts[:, None] + np.arange(columns)]
    return flat.reshape(len(ids), *table.shape[1:])


def _blockwise_rows(node: Node, ids: Array, table: Array) -> Array:
    spec, output = node.input(1), node.outputs[0]
    q = spec.quantization
    assert q is not None
    accepted = spec.type in ("INT4", "INT2") and output.type in _FLOATS and table.ndim == 2
    require(accepted, f"Embedding Lookup: blockwise {spec.type} of {table.ndim} dimensions is not supported. ")
    columns, size = table.shape[1], q.block_size
    require(columns % size == 0, f"Embedding Lookup: lookup dimension {columns} must be divisible by blocksize {size}")
    scale = q.scale.astype(np.float32).reshape(len(table), columns // size)[ids]
    rows = table[ids].astype(np.float32).reshape(len(ids), -1, size) * scale[..., None]
    return np.asarray(rows.reshape(len(ids), columns), output.dtype)


def _embedding_lookup_sparse_shape(node: Node) -> list[Shape]:
    ids, indices, shape, weights, table = (node.input(i) for i in range(5))
    for spec, rank in ((ids, 1), (indices, 2), (shape, 1), (weights, 1)):
        require(len(spec.shape) == rank, f"{spec} should have {rank} dimensions. ")
    require(ids.type == indices.type == shape.type == "INT32", "EMBEDDING_LOOKUP_SPARSE takes INT32 indices. ")
    require(weights.type == "FLOAT32" and len(table.shape) >= 2, f"{weights} and {table} do not fit. ")
    count, rank = indices.shape
    require(count == ids.shape[0] == weights.shape[0], f"{count} indices for {ids.shape[0]} lookups. ")
    require(shape.shape[0] == rank, f"SizeOfDimension(dense_shape, 0) != lookup_rank ({shape.shape[0]} != {rank})")
    return [(*(int(d) for d in value(shape)[: rank - 1]), *table.shape[1:])]


@function("EMBEDDING_LOOKUP_SPARSE", inputs=5, types="FLOAT32", typed_input=4, shape=_embedding_lookup_sparse_shape)
def embedding_lookup_sparse(
    node: Node, ids: Array, indices: Array, shape: Array, weights: Array, table: Array
) -> Array:
    """Weighted sums of rows of the table, one for each run of lookups that share all but their last index.

    combiner SUM, MEAN (divided by the sum of weights) or SQRTN (by the root of the sum of their squares).
    """
    _check_indices(ids, len(table), "Embedding Lookup Sparse")
    lead = tuple(int(d) for d in shape[:-1])
    buckets, size = elements(lead), elements(table.shape[1:])
    rows = table.reshape(len(table), size)
    out = np.zeros((buckets, size), np.float32)
    strides = np.array([elements(lead[i + 1 :]) for i in range(len(lead))], np.int64)
    bucket_of = indices[:, :-1].astype(np.int64) @ strides if lead else np.zeros(len(ids), np.int64)
    inside = (bucket_of >= 0) & (bucket_of < buckets)
    # A run ends where the bucket changes; a bucket that comes again later is divided again, as in TensorFlow Lite.
    starts = np.flatnonzero(np.diff(bucket_of, prepend=bucket_of[:1] - 1))
    for start, stop in zip(starts, [*starts[1:], len(bucket_of)], strict=True):
        if not inside[start]:
            continue
        bucket, total, squares = bucket_of[start], np.float32(0), np.float32(0)
        for i in range(start, stop):
            total += weights[i]
            squares += weights[i] * weights[i]
            out[bucket] += rows[ids[i]] * weights[i]
        if node.options.combiner != "SUM":
            with np.errstate(all="ignore"):
                out[bucket] /= total if node.options.combiner == "MEAN" else np.sqrt(squares)
    return out.reshape(*lead, *table.shape[1:])


def _hashtable_lookup_shape(node: Node) -> list[Shape]:
    lookup, key, table = (node.input(i) for i in range(3))
    for spec in (lookup, key):
        require(len(spec.shape) == 1 and spec.type == "INT32", f"{spec} should be INT32 of 1 dimension. ")
    require(table.shape and key.shape[0] == table.shape[0], f"{table} has not one row for each of {key}. ")
    require(table.type != "STRING" or len(table.shape) == 1, f"{table} should have 1 dimension. ")
    types = (node.outputs[0].type, node.outputs[1].type)
    require(types == (table.type, "UINT8"), f"HASHTABLE_LOOKUP of {table.type} into {types} is not supported. ")
    return [(lookup.shape[0], *table.shape[1:]), lookup.shape]


@function(
    "HASHTABLE_LOOKUP", inputs=3, outputs=2, types=f"{_FIXED} STRING", typed_input=2, shape=_hashtable_lookup_shape
)
def hashtable_lookup(node: Node, lookup: Array, key: Array, table: Array) -> tuple[Array, Array]:
    """The rows of the table whose sorted keys (rows) are looked up (n), zero where there is none; hits (n) uint8."""
    require(len(table), "num_rows != 0 was not true.")
    hits = np.zeros(lookup.shape, np.uint8)
    rows = np.zeros(lookup.shape, np.int64)
    for i, wanted in enumerate(lookup.tolist()):
        found = _binary_search(key.tolist(), wanted)
        if found is not None:
            hits[i], rows[i] = 1, found
    out = table[rows]
    out[hits == 0] = b"" if table.dtype == object else 0
    return out, hits


def _binary_search(key: list[int], wanted: int) -> int | None:
    """As the C library's bsearch walks, which decides among equal keys and in keys that are not sorted."""
    low, high = 0, len(key)
    while low < high:
        middle = (low + high) // 2
        # The comparison subtracts in 32 bits.
        difference = ((wanted - key[middle] + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        if difference == 0:
            return middle
        low, high = (low, middle) if difference < 0 else (middle + 1, high)
    return None


def _lsh_projection_shape(node: Node) -> list[Shape]:
    seeds, x, weights = node.input(0), node.input(1), node.optional(2)
    require(len(seeds.shape) == 2 and seeds.shape[1] <= 32, f"{seeds} should be (hashes, up to 32 bits). ")
    require(x.shape and x.shape[0] >= 1, "SizeOfDimension(input, 0) >= 1 was not true.")
    require(weights is None or weights.shape == x.shape[:1], f"{weights} is not one for each of {x}. ")
    require(node.options.type in ("SPARSE", "DENSE"), f"LSH_PROJECTION of type {node.options.type}. ")
    return [seeds.shape[:1] if node.options.type == "SPARSE" else (elements(seeds.shape),)]


@function("LSH_PROJECTION", inputs="2-3", types=_FIXED, typed_input=1, shape=_lsh_projection_shape)
def lsh_projection(node: Node, seeds: Array, x: Array, weights: Array | None = None) -> Array:
    """Signs of weighted sums of the items' hashes, one for each seed (hashes, bits) float32.

    DENSE: each bit, int32 (hashes * bits). SPARSE: each hash's bits as one number, first bit highest, plus its bucket's
    first number, int32 (hashes).
    """
    items = [row.tobytes() for row in np.ascontiguousarray(x)]
    scale = np.ones(len(items), np.float32) if weights is None else weights
    signs = np.zeros(seeds.shape, np.int64)
    for index, seed in np.ndenumerate(seeds.astype(np.float32)):
        score = 0.0
        for item, weight in zip(items, scale, strict=True):
            signed = (fingerprint64(seed.tobytes() + item) + (1 << 63)) % (1 << 64) - (1 << 63)
            score += float(weight) * float(signed)
        signs[index] = score > 0
    if node.options.type == "DENSE":
        return signs.reshape(-1).astype(np.int32)
    hashes, bits = seeds.shape
    numbers = signs @ (np.int64(1) << np.arange(bits - 1, -1, -1, dtype=np.int64)) + np.arange(hashes) * (1 << bits)
    return np.asarray(numbers, np.int64).astype(np.int32)
