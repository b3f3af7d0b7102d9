"""STABLEHLO_GATHER and STABLEHLO_SCATTER, held to LiteRT."""

import itertools

import numpy as np
import pytest
from oracle import litert, one_op
from single_op import FIXED_SIZE, example, same_as_litert

from tflgpu.model.builder import ModelBuilder

INDICES = {"INT32": np.int32, "INT64": np.int64}


def spec(type, shape, **more):
    return {"type": type, "shape": shape, **more}


@pytest.mark.parametrize("type", FIXED_SIZE)
def test_stablehlo_gather_of_every_type(type):
    x, at = example(type, (4, 5, 3)), np.array([[0, 1], [3, 9], [-1, 2]], np.int32)
    data = one_op(
        "STABLEHLO_GATHER",
        [spec(type, x.shape), spec("INT32", at.shape)],
        [spec(type, (3, 2, 3))],
        offset_dims=[1, 2],
        collapsed_slice_dims=[0],
        start_index_map=[0, 1],
        index_vector_dim=1,
        slice_sizes=[1, 2, 3],
    )
    same_as_litert(data, x, at)


@pytest.mark.parametrize("index_type", ["INT32", "INT64"])
@pytest.mark.parametrize("index_vector_dim", [0, 1, 2])
@pytest.mark.parametrize("offset_dims", [[0, 1], [1, 3], [2, 3]])
def test_stablehlo_gather_with_its_dimensions_anywhere(index_type, index_vector_dim, offset_dims):
    x = example("FLOAT32", (4, 5, 3))
    shape = [2, 3]
    shape.insert(index_vector_dim, 2)
    at = np.random.default_rng(0).integers(-1, 5, shape).astype(INDICES[index_type])
    batch, window = iter((2, 3)), iter((2, 3))
    out = [next(window) if d in offset_dims else next(batch) for d in range(4)]
    data = one_op(
        "STABLEHLO_GATHER",
        [spec("FLOAT32", x.shape), spec(index_type, at.shape)],
        [spec("FLOAT32", out)],
        offset_dims=offset_dims,
        collapsed_slice_dims=[1],
        start_index_map=[2, 1],
        index_vector_dim=index_vector_dim,
        slice_sizes=[2, 1, 3],
    )
    same_as_litert(data, x, at)


def scatter_model(x, at, updates, type, body, **options):
    model = ModelBuilder()
    main, inner = model.graph(), model.graph("body")
    ins = [main.input("x", type, x.shape), main.input("at", "INT32", at.shape), main.input("u", type, updates.shape)]
    y = main.tensor("y", type, x.shape)
    main.node("STABLEHLO_SCATTER", ins, [y], update_computation_subgraph_index=1, **options)
    main.outputs(y)
    a, b = inner.input("a", type, ()), inner.input("b", type, ())
    if body is None:
        inner.outputs(b)
    else:
        c = inner.tensor("c", type, ())
        inner.node(body, [a, b], [c])
        inner.outputs(c)
    return model.build()


BODIES = [None, "STABLEHLO_ADD", "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM"]


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "INT32", "INT64"])
@pytest.mark.parametrize("body", BODIES)
def test_stablehlo_scatter_combines_in_order_and_drops_what_is_out_of_bounds(type, body):
    x, updates = example(type, (4, 5)), example(type, (4, 2), 1)
    at = np.array([[0, 1], [3, 4], [0, 1], [-1, 2]], np.int32)
    options = {
        "update_window_dims": [1],
        "inserted_window_dims": [0],
        "scatter_dims_to_operand_dims": [0, 1],
        "index_vector_dim": 1,
    }
    same_as_litert(scatter_model(x, at, updates, type, body, **options), x, at, updates)


@pytest.mark.parametrize("body", ["STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM"])
def test_stablehlo_scatter_keeps_the_first_of_equal_zeros_and_no_new_nan(body):
    zeros = list(itertools.product([0.0, -0.0, -1.0, 1.0, np.nan], repeat=3))
    x, first, second = np.array(zeros, np.float32).T.copy()
    at = np.tile(np.arange(len(x), dtype=np.int32), 2).reshape(-1, 1)
    updates = np.concatenate([first, second])
    options = {
        "update_window_dims": [],
        "inserted_window_dims": [0],
        "scatter_dims_to_operand_dims": [0],
        "index_vector_dim": 1,
    }
    model = scatter_model(x, at, updates, "FLOAT32", body, **options)
    (got,) = same_as_litert(model, x, at, updates)
    (want,) = litert(model, (x, at, updates))
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


@pytest.mark.parametrize("window_dims", [[0, 1], [0, 2], [1, 2]])
def test_stablehlo_scatter_with_its_windows_anywhere(window_dims):
    x, at = example("FLOAT32", (4, 5)), np.array([[0, 1, 3], [1, 2, 0]], np.int32)
    shape = [2, 2]
    shape.insert(({0, 1, 2} - set(window_dims)).pop(), 3)
    updates = example("FLOAT32", tuple(shape), 1)
    options = {
        "update_window_dims": window_dims,
        "inserted_window_dims": [],
        "scatter_dims_to_operand_dims": [1, 0],
        "index_vector_dim": 0,
    }
    same_as_litert(scatter_model(x, at, updates, "FLOAT32", "STABLEHLO_ADD", **options), x, at, updates)
