"""Sparse constants: DENSIFY and sparse weights of FULLY_CONNECTED, against LiteRT's reference resolver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

import tflgpu
from tflgpu.model.graph import DimensionMetadata, Sparsity, TensorSpec
from tflgpu.ops.movement.sparse import dense_values
from tflgpu.ops.registry import OpError

F = np.float32


def compressed(dense: np.ndarray, block: int = 1) -> tuple[Sparsity, np.ndarray]:
    """A matrix as dense rows of compressed columns, in blocks of 1 by `block`: its sparsity and values."""
    rows, columns = dense.shape
    blocks = dense.reshape(rows, columns // block, block)
    kept = blocks.any(axis=2)
    segments = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    levels = [
        DimensionMetadata("DENSE", rows),
        DimensionMetadata("SPARSE_CSR", 0, segments, np.nonzero(kept)[1].astype(np.int32)),
    ]
    if block == 1:
        return Sparsity((0, 1), (), tuple(levels)), blocks[kept].ravel()
    return Sparsity((0, 1, 2), (1,), (*levels, DimensionMetadata("DENSE", block))), blocks[kept].ravel()


def matrix(random: np.random.Generator, dtype: Any, shape: tuple[int, int], block: int = 1) -> np.ndarray:
    kept = random.random((shape[0], shape[1] // block, 1)) < 0.4
    values = random.integers(1, 120, (shape[0], shape[1] // block, block)) * random.choice([-1, 1])
    return (values * kept).reshape(shape).astype(dtype)


def constant(dense: np.ndarray, block: int = 1, **fields: Any) -> dict[str, Any]:
    sparsity, values = compressed(dense, block)
    return {"value": values, "sparsity": sparsity, "shape": dense.shape, **fields}


def same(data: bytes, *inputs: np.ndarray, **tolerance: float) -> None:
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("block", [1, 4])
def test_densify_lays_values_out_in_the_dense_shape(dtype: str, block: int) -> None:
    dense = matrix(np.random.default_rng(1), dtype, (5, 8), block)
    data = one_op("DENSIFY", [constant(dense, block)], [{"type": dtype.upper(), "shape": dense.shape}])
    same(data)
    assert_same(tflgpu_run(data, []), [dense])


@pytest.mark.parametrize("block", [1, 4])
def test_sparsity_details_equal_litert_s(block: int) -> None:
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    dense = matrix(np.random.default_rng(1), "float32", (5, 8), block)
    data = one_op("DENSIFY", [constant(dense, block)], [{"type": "FLOAT32", "shape": dense.shape}])
    ours, theirs = (
        api.Interpreter(model_content=data).get_tensor_details()[0]["sparsity_parameters"] for api in (tflgpu, lite)
    )
    assert list(ours) == list(theirs) and ("block_map" in ours) == (block > 1)
    np.testing.assert_equal(ours, theirs)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (0, 1, 3, 2), (1, 0, 3, 2)])
def test_dimensions_are_traversed_in_the_order_that_the_tensor_gives(order: tuple[int, ...]) -> None:
    dense = np.arange(1, 49, dtype=F).reshape(6, 8)
    # Blocks of 2 by 4, every level dense: the values are only reordered.
    sizes = (3, 2, 2, 4)
    levels = tuple(DimensionMetadata("DENSE", sizes[d]) for d in order)
    values = dense.reshape(3, 2, 2, 4).transpose(0, 2, 1, 3).transpose(order).ravel()
    spec = {"value": values, "sparsity": Sparsity(order, (0, 1), levels), "shape": dense.shape}
    data = one_op("DENSIFY", [spec], [{"type": "FLOAT32", "shape": dense.shape}])
    assert_same(tflgpu_run(data, []), [dense])
    same(data)


def test_densify_refuses_a_constant_that_is_not_sparse() -> None:
    from tflgpu import Interpreter

    data = one_op("DENSIFY", [np.ones((2, 2), F)], [{"type": "FLOAT32", "shape": [2, 2]}])
    with pytest.raises(RuntimeError, match="sparsity"):
        Interpreter(model_content=data).allocate_tensors()


@pytest.mark.parametrize("block", [1, 4])
def test_float_layers_take_sparse_weights(block: int) -> None:
    random = np.random.default_rng(2)
    weights = (matrix(random, F, (5, 16), block) / 50).astype(F)
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "FLOAT32", "shape": [3, 16]}, constant(weights, block), random.standard_normal(5).astype(F)],
        [{"type": "FLOAT32", "shape": [3, 5]}],
        version=8,
        fused_activation_function="RELU",
    )
    same(data, random.standard_normal((3, 16)).astype(F), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scales", [1, 5])
def test_int8_layers_with_sparse_weights_are_rescaled_in_fixed_point(scales: int) -> None:
    random = np.random.default_rng(3)
    scale = (random.random(scales) * 0.01 + 0.002).astype(F)
    weights = constant(matrix(random, np.int8, (5, 32), 16), 16, scale=scale)
    bias = {"value": random.integers(-999, 999, 5).astype(np.int32), "scale": scale * F(0.05)}
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "INT8", "shape": [40, 32], "scale": F(0.05), "zero_point": 3}, weights, bias],
        [{"type": "INT8", "shape": [40, 5], "scale": F(0.09), "zero_point": -5}],
        version=8,
    )
    same(data, random.integers(-128, 128, (40, 32), dtype=np.int8))


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("scales", [1, 5])
def test_hybrid_layers_take_sparse_weights(asymmetric: bool, scales: int) -> None:
    random = np.random.default_rng(4)
    scale = (random.random(scales) * 0.01 + 0.002).astype(F)
    data = one_op(
        "FULLY_CONNECTED",
        [
            {"type": "FLOAT32", "shape": [6, 32]},
            constant(matrix(random, np.int8, (5, 32), 16), 16, scale=scale),
            random.standard_normal(5).astype(F),
        ],
        [{"type": "FLOAT32", "shape": [6, 5]}],
        version=9,
        asymmetric_quantize_inputs=asymmetric,
    )
    same(data, random.standard_normal((6, 32)).astype(F), rtol=1e-5, atol=1e-5)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 2, 3]))
def test_what_was_compressed_is_expanded_to_what_it_was(seed: int, rows: int, blocks: int, block: int) -> None:
    dense = matrix(np.random.default_rng(seed), F, (rows, blocks * block), block)
    sparsity, values = compressed(dense, block)
    spec = TensorSpec(0, "w", "FLOAT32", dense.shape, data=values, sparsity=sparsity)
    np.testing.assert_array_equal(dense_values(spec), dense)


def broken(**fields: Any) -> Sparsity:
    """A valid sparsity of a (2, 2) matrix with one value, with fields of its compressed level changed."""
    level = DimensionMetadata("SPARSE_CSR", 0, np.array([0, 1, 1]), np.array([1]))
    top = fields.pop("top", DimensionMetadata("DENSE", 2))
    whole = {key: fields.pop(key) for key in ("traversal_order", "block_map") if key in fields}
    return replace(Sparsity((0, 1), (), (top, replace(level, **fields))), **whole)


@pytest.mark.parametrize(
    "sparsity",
    [
        broken(array_indices=np.array([2])),
        broken(array_indices=np.array([-1])),
        broken(array_indices=np.array([], np.int32)),
        broken(array_segments=np.array([0, 1])),
        broken(array_segments=np.array([], np.int32)),
        broken(array_segments=np.array([0, 2, 1])),
        broken(array_segments=np.array([-1, 0, 1])),
        broken(array_segments=np.array([0, 0, 0])),
        broken(top=DimensionMetadata("DENSE", 10**9)),
        broken(top=DimensionMetadata("DENSE", -1)),
        broken(traversal_order=(0, 0)),
        broken(traversal_order=(1,)),
        broken(traversal_order=(0, 5)),
        broken(block_map=(0,)),
    ],
)
def test_a_sparsity_that_lies_is_an_error_and_nothing_worse(sparsity: Sparsity) -> None:
    spec = TensorSpec(0, "w", "FLOAT32", (2, 2), data=np.ones(1, F), sparsity=sparsity)
    with pytest.raises(OpError):
        dense_values(spec)
