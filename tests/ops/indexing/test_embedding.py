"""Rows of tables by index, key and hash, against LiteRT's reference resolver."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.model.builder import ModelBuilder

F = np.float32
IDS = np.array([4, 0, 0, 2], np.int32)


def same(data: bytes, *inputs: np.ndarray, **tolerance: float) -> None:
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


def lookup(table: Any, output: str, shape: tuple[int, ...], version: int = 5) -> bytes:
    ids = {"type": "INT32", "shape": [len(IDS)]}
    return one_op("EMBEDDING_LOOKUP", [ids, table], [{"type": output, "shape": (len(IDS), *shape)}], version=version)


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "float16",
        "float64",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "bool",
        "complex64",
    ],
)
def test_rows_of_any_type_are_copied(dtype: str) -> None:
    table = np.arange(30).reshape(5, 3, 2).astype(dtype)
    same(lookup(table, dtype.upper(), (3, 2)), IDS)


@pytest.mark.parametrize("type", ["INT4", "INT2"])
def test_packed_rows_are_copied(type: str) -> None:
    table = {"type": type, "value": (np.arange(40).reshape(5, 8) % 3 - 1).astype(np.int8)}
    same(lookup(table, type, (8,)), IDS)


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT4", "INT2"])
@pytest.mark.parametrize("scales", [1, 5])
@pytest.mark.parametrize("output", ["FLOAT32", "FLOAT16"])
@pytest.mark.parametrize("columns", [8, 7])
def test_quantized_values_are_dequantized_into_floats(type: str, scales: int, output: str, columns: int) -> None:
    random = np.random.default_rng(1)
    limit = {"INT4": 8, "INT2": 2}.get(type, 128)
    values = random.integers(0 if type == "UINT8" else -limit, 255 if type == "UINT8" else limit, (5, columns))
    values = values.astype(np.uint8 if type == "UINT8" else np.int8)
    table = {"type": type, "value": values, "scale": random.random(scales).astype(F)}
    # Rows of an odd number of packed values begin inside a byte, which is upstream's error to follow.
    same(lookup(table, output, (columns,)), IDS)


@pytest.mark.parametrize("type", ["INT4", "INT2"])
@pytest.mark.parametrize("output", ["FLOAT32", "FLOAT16"])
def test_blocks_of_a_row_have_scales_of_their_own(type: str, output: str) -> None:
    random = np.random.default_rng(2)
    limit = 8 if type == "INT4" else 2
    model = ModelBuilder()
    graph = model.graph()
    ids = graph.input("ids", "INT32", [len(IDS)])
    scale = graph.constant("scale", random.random((5, 2)).astype(np.float16))
    details = ("BlockwiseQuantization", {"scales": scale, "zero_points": -1, "block_size": 32})
    values = random.integers(-limit, limit, (5, 64)).astype(np.int8)
    table = graph.constant("table", values, type=type, quantization={"details": details})
    y = graph.tensor("y", output, [len(IDS), 64])
    graph.node("EMBEDDING_LOOKUP", [ids, table], [y], version=5)
    graph.outputs(y)
    same(model.build(), IDS)


@pytest.mark.parametrize("wrong", [-1, 5])
def test_an_index_out_of_range_is_an_error_that_names_it(wrong: int) -> None:
    data = lookup(np.ones((5, 2), F), "FLOAT32", (2,))
    with pytest.raises(RuntimeError, match=rf"Got {wrong}, and bounds are \[0, 4\]"):
        tflgpu_run(data, [np.array([0, wrong, 1, 1], np.int32)])


@pytest.mark.parametrize("combiner", ["SUM", "MEAN", "SQRTN"])
@pytest.mark.parametrize("rank", [2, 3])
def test_sparse_lookups_combine_rows(combiner: str, rank: int) -> None:
    shape = np.array([3, 4, 5][-rank:], np.int32)
    indices = np.array([[0, 0, 0], [0, 0, 2], [0, 1, 1], [2, 1, 0], [2, 1, 3]], np.int32)[:, -rank:]
    table = np.random.default_rng(3).standard_normal((4, 3, 2)).astype(F)
    data = one_op(
        "EMBEDDING_LOOKUP_SPARSE",
        [{"type": "INT32", "shape": [5]}, indices, shape, {"type": "FLOAT32", "shape": [5]}, table],
        [{"type": "FLOAT32", "shape": [*shape[:-1], 3, 2]}],
        combiner=combiner,
    )
    same(data, np.array([1, 3, 0, 2, 1], np.int32), np.array([1, 2, 4, 0.5, -2], F))


def test_an_output_row_that_is_met_again_is_divided_again() -> None:
    indices = np.array([[0, 0], [1, 0], [0, 1]], np.int32)
    data = one_op(
        "EMBEDDING_LOOKUP_SPARSE",
        [
            {"type": "INT32", "shape": [3]},
            indices,
            np.array([2, 2], np.int32),
            np.array([1, 2, 4], F),
            np.eye(3, dtype=F),
        ],
        [{"type": "FLOAT32", "shape": [2, 3]}],
        combiner="MEAN",
    )
    same(data, np.array([0, 1, 2], np.int32))


def table_of(value: Any) -> bytes:
    types = {"float32": "FLOAT32", "int8": "INT8", "int32": "INT32"}
    type = types.get(str(np.asarray(value).dtype), "STRING")
    return one_op(
        "HASHTABLE_LOOKUP",
        [{"type": "INT32", "shape": [5]}, np.array([-7, 0, 11], np.int32), value],
        [{"type": type, "shape": [5, *np.shape(value)[1:]]}, {"type": "UINT8", "shape": [5]}],
    )


@pytest.mark.parametrize(
    "value",
    [
        np.arange(1, 7, dtype=F).reshape(3, 2),
        np.arange(1, 4, dtype=np.int8),
        np.array([b"a", b"bcd", b"ef"], object),
    ],
    ids=["floats", "quantized", "strings"],
)
def test_rows_are_found_by_sorted_keys_and_missing_ones_are_empty(value: Any) -> None:
    same(table_of(value), np.array([11, -7, 3, 0, 99], np.int32))


@pytest.mark.parametrize("keys", [[3, 1, 2], [5, 5, 5], [1, 1, 2], [-(2**31), 0, 2**31 - 1]])
def test_keys_are_searched_as_the_c_library_does(keys: list[int]) -> None:
    data = one_op(
        "HASHTABLE_LOOKUP",
        [{"type": "INT32", "shape": [5]}, np.array(keys, np.int32), np.arange(1, 4, dtype=F)],
        [{"type": "FLOAT32", "shape": [5]}, {"type": "UINT8", "shape": [5]}],
    )
    same(data, np.array([1, 2, 3, 5, -(2**31)], np.int32))


@pytest.mark.parametrize("kind", ["SPARSE", "DENSE"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("item", [1, 2, 5, 11, 12, 40, 70, 200])
def test_projections_hash_as_farmhash_does(kind: str, weighted: bool, item: int) -> None:
    random = np.random.default_rng(item)
    seeds = random.standard_normal((9, 7)).astype(F)
    x = random.integers(0, 256, (3, item), dtype=np.uint8)
    inputs: list[Any] = [seeds, {"type": "UINT8", "shape": x.shape}]
    inputs += [np.array([1, -2, 0.5], F)] if weighted else []
    shape = [9] if kind == "SPARSE" else [63]
    same(one_op("LSH_PROJECTION", inputs, [{"type": "INT32", "shape": shape}], type=kind), x)
