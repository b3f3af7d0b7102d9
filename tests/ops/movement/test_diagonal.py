"""MATRIX_DIAG and MATRIX_SET_DIAG, held to LiteRT where it has a kernel for the type."""

import numpy as np
import pytest
from oracle import assert_same, tflgpu_run
from single_op import FIXED_SIZE, example, model_of, same_as_litert

# The types for which TensorFlow Lite's kernel has a case; it takes all others for float32.
DIAGONALS = ["FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64"]


@pytest.mark.parametrize("type", DIAGONALS)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 4)])
def test_matrix_diag(type, shape):
    x = example(type, shape)
    same_as_litert(model_of("MATRIX_DIAG", x, type), x)


@pytest.mark.parametrize("type", DIAGONALS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 5, 3), (2, 2, 3, 5)])
def test_matrix_set_diag(type, shape):
    x, diagonal = example(type, shape), example(type, (*shape[:-2], 3), 1)
    same_as_litert(model_of("MATRIX_SET_DIAG", x, type, {"type": type, "shape": diagonal.shape}), x, diagonal)


@pytest.mark.parametrize("type", [t for t in FIXED_SIZE if t not in DIAGONALS])
def test_diagonals_of_the_other_types_are_right_too(type):
    x, square = example(type, (2, 3)), example(type, (2, 3, 3), 1)
    on = np.eye(3, dtype=np.bool_)
    (diag,) = tflgpu_run(model_of("MATRIX_DIAG", x, type), [x])
    (replaced,) = tflgpu_run(model_of("MATRIX_SET_DIAG", square, type, {"type": type, "shape": x.shape}), [square, x])
    assert_same([diag[:, on], replaced[:, on], replaced[:, ~on]], [x, x, square[:, ~on]])
    assert not diag[:, ~on].any()
