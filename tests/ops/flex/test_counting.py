"""Flex operators that count, look up, scatter, decode and draw; on matrices, sparse and ragged tensors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from flex_models import model, run

import tflgpu
from tflgpu import Limits

RNG = np.random.default_rng(0)
INDICES = "INT64 INT64 INT64"


def i4(*values):
    return np.array(values, np.int32)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def test_bins_are_counted_by_row():
    x, size, none = i4([0, 1, 1, 9], [3, 3, 3, 0]), (np.array(4, np.int32),), (np.array([], np.float32),)
    (counts,) = run("DenseBincount", [x, size, none], "FLOAT32")
    assert counts.tolist() == [[1, 2, 0, 0], [1, 0, 0, 3]]
    (there,) = run("DenseBincount", [x, size, none], "FLOAT32", binary_output=True)
    assert there.tolist() == [[1, 1, 0, 0], [1, 0, 0, 1]]
    weights = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert run("DenseBincount", [x, size, weights], "FLOAT32")[0].tolist() == [[0, 3, 0, 0], [7, 0, 0, 15]]
    assert run("Bincount", [x, size, weights], "FLOAT32")[0].tolist() == [7, 3, 0, 15]
    with pytest.raises(RuntimeError, match="must be non-negative"):
        run("DenseBincount", [x - 1, size, none], "FLOAT32")
    data = model("DenseBincount", [x, (np.array(2**30, np.int32),), none], "FLOAT32")
    with pytest.raises(RuntimeError, match="limits.memory_bytes"):
        tflgpu.Interpreter(model_content=data, limits=Limits(memory_bytes=1 << 20)).allocate_tensors()


def test_values_are_told_apart_and_ranked():
    values, index, counts = run("UniqueWithCounts", [i4(3, 1, 3, 7, 3)], "INT32 INT32 INT32")
    assert (values.tolist(), index.tolist(), counts.tolist()) == ([3, 1, 7], [0, 1, 0, 2, 0], [3, 1, 1])
    x = np.array([[1, 5, 5, 2], [4, 3, 2, np.inf], [4, 3, 2, 1]], np.float32)
    assert run("InTopKV2", [x, i4(2, 0, 7), (np.array(1, np.int32),)], "BOOL")[0].tolist() == [True, False, False]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_products(exclusive, reverse):
    x = normal(2, 4)
    attributes = {"exclusive": exclusive, "reverse": reverse}
    (got,) = run("Cumprod", [x, (np.array(-1, np.int32),)], "FLOAT32", **attributes)
    for i in range(4):
        within = slice(i + exclusive, None) if reverse else slice(None, i + 1 - exclusive)
        np.testing.assert_allclose(got[:, i], x[:, within].prod(axis=1), 1e-6)


@pytest.mark.parametrize(
    "op, combine", [("Add", np.add), ("Max", np.maximum), ("Min", np.minimum), ("Sub", np.subtract), ("Update", None)]
)
def test_updates_are_scattered(op, combine):
    x, updates, at = normal(4, 2), normal(3, 2), [3, 0, 3]
    (got,) = run(f"TensorScatter{op}", [x, i4(*at).reshape(3, 1), updates], "FLOAT32")
    for index, update in zip(at, updates, strict=True):
        x[index] = update if combine is None else combine(x[index], update)
    np.testing.assert_array_equal(got, x)
    with pytest.raises(RuntimeError, match="an index is outside"):
        run(f"TensorScatter{op}", [x, i4(4, 0, 0).reshape(3, 1), updates], "FLOAT32")


def test_matrices():
    x = normal(2, 4, 4)
    np.testing.assert_allclose(run("MatrixInverse", [x], "FLOAT32")[0] @ x, [np.eye(4)] * 2, 1e-3, 1e-4)
    (adjoint,) = run("MatrixInverse", [x], "FLOAT32", adjoint=True)
    np.testing.assert_allclose(np.swapaxes(x, 1, 2) @ adjoint, [np.eye(4)] * 2, 1e-3, 1e-4)
    positive = x @ np.swapaxes(x, 1, 2) + 4 * np.eye(4, dtype=np.float32)
    (lower,) = run("Cholesky", [positive], "FLOAT32")
    np.testing.assert_allclose(lower @ np.swapaxes(lower, 1, 2), positive, 1e-4, 1e-4)
    assert not np.triu(lower, 1).any()
    q, r = run("Qr", [x[..., :3]], "FLOAT32 FLOAT32")
    np.testing.assert_allclose(q @ r, x[..., :3], 1e-4, 1e-5)
    assert q.shape == (2, 4, 3) and not np.tril(r, -1).any()
    assert run("Qr", [x[..., :3]], "FLOAT32 FLOAT32", full_matrices=True)[0].shape == (2, 4, 4)
    (determinant,) = run("MatrixDeterminant", [lower], "FLOAT32")
    np.testing.assert_allclose(determinant, np.diagonal(lower, 0, 1, 2).prod(axis=1), 1e-4)
    with pytest.raises(RuntimeError, match="not invertible"):
        run("MatrixInverse", [np.zeros((2, 2), np.float32)], "FLOAT32")
    with pytest.raises(RuntimeError, match="not successful"):
        run("Cholesky", [-np.eye(2, dtype=np.float32)], "FLOAT32")


@pytest.mark.parametrize("align", ["RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT"])
def test_diagonals_are_padded(align):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    (got,) = run("MatrixDiagPartV3", [x, (i4(-1, 2),), (np.array(-1, np.float32),)], "FLOAT32", align=align)
    for row, d in enumerate((2, 1, 0, -1)):
        diagonal, side = np.diagonal(x, d).tolist(), align.split("_")[0 if d >= 0 else 1]
        padding = [-1] * (3 - len(diagonal))
        assert got[row].tolist() == (padding + diagonal if side == "RIGHT" else diagonal + padding)
    (main,) = run("MatrixDiagPartV3", [x, (np.array(0, np.int32),), (np.array(0, np.float32),)], "FLOAT32")
    assert main.tolist() == [0, 5, 10]


def test_sparse_matrices_and_segments():
    indices, values = np.array([[0, 1], [2, 0], [0, 1]], np.int64), np.array([2, 3, 4], np.float32)
    dense, b = np.zeros((3, 4), np.float32), normal(4, 5)
    for at, v in zip(indices, values, strict=True):
        dense[tuple(at)] += v
    (got,) = run("SparseTensorDenseMatMul", [indices, values, (np.array([3, 4], np.int64),), b], "FLOAT32")
    np.testing.assert_allclose(got, dense @ b, 1e-6)
    size = (np.array([4, 3], np.int64),)
    transposed = [indices[:, ::-1].copy(), values, size, b.T.copy()]
    (got,) = run("SparseTensorDenseMatMul", transposed, "FLOAT32", adjoint_a=True, adjoint_b=True)
    np.testing.assert_allclose(got, dense @ b, 1e-6)
    x, rows, segments = normal(4, 3), i4(0, 2, 1, 3), i4(0, 0, 2, 2)
    for op, scale in (("Sum", 1), ("Mean", 2), ("SqrtN", np.sqrt(2))):
        (got,) = run(f"SparseSegment{op}", [x, rows, segments], "FLOAT32")
        np.testing.assert_allclose(got, np.stack([x[0] + x[2], 0 * x[0], x[1] + x[3]]) / scale, 1e-6)


def test_ragged_rows_are_filled_up():
    values, default = np.arange(1, 6, dtype=np.float32), (np.array(-1, np.float32),)
    splits, shape = np.array([0, 2, 2, 5], np.int64), (np.array(-1, np.int64),)
    op = "RaggedTensorToTensor"
    (got,) = run(op, [shape, values, default, splits], "FLOAT32", row_partition_types=["ROW_SPLITS"])
    assert got.tolist() == [[1, 2, -1], [-1, -1, -1], [3, 4, 5]]
    partitions = [np.array(4, np.int64), np.array([0, 0, 2, 3, 3], np.int64)]
    inputs = [(np.array([3, 1], np.int64),), values, default, *partitions]
    (got,) = run(op, inputs, "FLOAT32", row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS"])
    assert got.tolist() == [[1], [-1], [3]]
    with pytest.raises(RuntimeError, match="row splits must begin with 0"):
        run(op, [shape, values, default, splits[::-1].copy()], "FLOAT32", row_partition_types=["ROW_SPLITS"])


def collapsed(path, merged):
    kept = [label for i, label in enumerate(path) if label != 2 and not (merged and i and path[i - 1] == label)]
    return tuple(kept)


def test_greedy_paths_lose_blanks():
    x = np.log(np.array([[0.6, 0.1, 0.3], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]], np.float32))[:, None]
    outputs = f"{INDICES} FLOAT32"
    for merged, want in ((True, [0, 1]), (False, [0, 0, 1])):
        indices, values, shape, score = run("CTCGreedyDecoder", [x, i4(4)], outputs, merge_repeated=merged)
        assert values.tolist() == want and shape.tolist() == [1, len(want)]
        assert indices.tolist() == [[0, i] for i in range(len(want))]
        np.testing.assert_allclose(score, -x.max(axis=2).sum(axis=0)[:, None], 1e-6)
    assert run("CTCGreedyDecoder", [x, i4(2)], outputs)[1].tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="sequence_length is not between"):
        run("CTCGreedyDecoder", [x, i4(5)], outputs)


def test_a_wide_beam_finds_the_likeliest_labelling():
    logits = normal(5, 1, 3)
    p = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(axis=1, keepdims=True)
    totals = {}
    for path in itertools.product(range(3), repeat=5):
        labelling = collapsed(path, True)
        totals[labelling] = totals.get(labelling, 0) + np.prod([p[t, label] for t, label in enumerate(path)])
    best = sorted(totals.items(), key=lambda item: -item[1])[:2]
    attributes = {"beam_width": 100, "top_paths": 2, "merge_repeated": False}
    outputs = " ".join(["INT64"] * 6) + " FLOAT32"
    found = run("CTCBeamSearchDecoder", [logits, i4(5)], outputs, **attributes)
    for path, (labelling, total) in enumerate(best):
        assert tuple(found[2 + path].tolist()) == labelling
        np.testing.assert_allclose(found[6][0, path], np.log(total), 1e-4)


def test_a_beam_without_bound_is_refused():
    m = model("CTCBeamSearchDecoder", [normal(9, 1, 60), i4(9)], "INT64 INT64 INT64 FLOAT32", beam_width=2**40)
    interpreter = tflgpu.Interpreter(model_content=m, limits=Limits(memory_bytes=1 << 22))
    interpreter.allocate_tensors()
    interpreter.set_tensor(1, i4(9))
    with pytest.raises(RuntimeError, match="a beam of 1,099,511,627,776 prefixes, needs"):
        interpreter.invoke()


def test_seeded_numbers_are_tensorflows():
    key, counter = run("StatelessRandomGetKeyCounter", [i4(5, -9)], "UINT64 UINT64")
    # Both, and the numbers, as TensorFlow 2.21 gives them.
    assert key.tolist() == [5573466690509955210] and counter.tolist() == [0, 11328851861840565591]
    inputs = [(i4(7),), key, counter, (np.array(3, np.int32),)]
    (drawn,) = run("StatelessRandomUniformV2", inputs, "FLOAT32")
    np.testing.assert_allclose(drawn[:4], [0.2645849, 0.45409083, 0.04239213, 0.3553748], 1e-6)
    (drawn,) = run("StatelessRandomNormalV2", [(i4(4000),), *inputs[1:]], "FLOAT32")
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05
