"""The Predictor: rows of any number through a model's batch, as one by one."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metadata_models import described
from serving_models import (
    carried,
    classifier,
    counted,
    negated_floats,
    rows_that_mix,
    summed,
    wide,
    with_random_rows,
)

import tflgpu
from tflgpu.serving.rows import batch_sizes, next_size


def one_by_one(model: bytes, rows: Any) -> dict[str, Any]:
    """The model's outputs for each row alone, by an interpreter as it is."""
    interpreter = tflgpu.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    details = interpreter.get_output_details()
    found: dict[str, list[Any]] = {d["name"]: [] for d in details}
    for row in rows:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        for d in details:
            found[d["name"]].append(interpreter.get_tensor(d["index"]))
    return {name: np.concatenate(values) for name, values in found.items()}


def invoked_shapes(predictor: tflgpu.Predictor) -> list[int]:
    """The numbers of rows of the invokes from now on."""
    entry, seen = predictor.rows.entry, []
    invoke = entry.invoke
    entry.invoke = lambda arrays: (seen.append(len(next(iter(arrays.values())))), invoke(arrays))[1]  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 9, 33, 100])
@pytest.mark.parametrize("batch", [None, 8, 32])
def test_any_number_of_rows_equals_one_by_one(rows, batch):
    x = with_random_rows(rows, 4)
    predictor = tflgpu.Predictor(classifier(), batch=batch)
    for _ in range(2):  # the first call compares, the second trusts
        np.testing.assert_array_equal(predictor({"x": x})["y"], one_by_one(classifier(), x)["y"])


def test_a_model_that_gives_the_same_is_run_in_large_batches():
    predictor = tflgpu.Predictor(classifier(), batch=32)
    predictor({"x": with_random_rows(32, 4)})
    seen = invoked_shapes(predictor)
    predictor({"x": with_random_rows(77, 4)})
    assert seen == [32, 32, 8, 8] and predictor.rows.batch == 32  # the last five are padded


def test_a_model_whose_rows_mix_is_not_resized():
    x = with_random_rows(9, 4)
    predictor = tflgpu.Predictor(rows_that_mix(), batch=8)
    np.testing.assert_array_equal(predictor({"x": x})["y"], one_by_one(rows_that_mix(), x)["y"])
    assert predictor.rows.batch == 1


def test_equal_rows_prove_nothing():
    predictor = tflgpu.Predictor(rows_that_mix(), batch=8)
    predictor({"x": np.ones((8, 4), np.float32)})
    assert predictor.rows.batch == 8
    x = with_random_rows(8, 4)
    np.testing.assert_array_equal(predictor({"x": x})["y"], one_by_one(rows_that_mix(), x)["y"])


def test_state_is_carried_from_row_to_row():
    x = with_random_rows(5, 4)
    predictor = tflgpu.Predictor(carried(), batch=8)
    np.testing.assert_array_equal(predictor({"x": x})["y"], np.cumsum(x, 0))
    assert predictor.rows.batch == 1


def test_rows_that_depend_on_one_another_do_not_fill_a_batch():
    predictor = tflgpu.Predictor(rows_that_mix(batch=4))
    whole = with_random_rows(8, 4)
    assert predictor({"x": whole})["y"].shape == (8, 4)
    with pytest.raises(ValueError, match="give a multiple of 4"):
        predictor({"x": whole[:6]})
    np.testing.assert_array_equal(tflgpu.Predictor(classifier(batch=4))({"x": whole[:6]})["y"].shape, (6, 3))


def test_whole_inputs_have_a_dimension_more():
    x = with_random_rows(3, 4)
    np.testing.assert_array_equal(tflgpu.Predictor(negated_floats([4]))({"x": x})["y"], -x)
    with pytest.raises(ValueError, match="input 'x' takes the shape"):
        tflgpu.Predictor(negated_floats([4]))({"x": x[:, :3]})
    np.testing.assert_array_equal(
        tflgpu.Predictor(rows_that_mix(batch=4))({"x": x[None, [0, 1, 2, 0]]})["y"].shape, (1, 4, 4)
    )


@pytest.mark.parametrize("batch", [None, 4])
def test_outputs_without_a_batch_are_one_a_row(batch):
    x = with_random_rows(9, 4)
    predictor = tflgpu.Predictor(summed(), batch=batch)
    for _ in range(2):
        np.testing.assert_array_equal(predictor({"x": x})["y"], x.sum(1))


@pytest.mark.parametrize("batch", [None, 4])
def test_rows_of_different_shapes_are_objects(batch):
    rows = tflgpu.Predictor(counted(), batch=batch)({"x": np.array([[2], [5], [3]], np.int32)})["y"]
    assert rows.dtype == object and [row.tolist() for row in rows] == [[0, 1], [0, 1, 2, 3, 4], [0, 1, 2]]


def test_no_rows_are_no_rows():
    assert tflgpu.Predictor(classifier(), batch=4)({"x": np.empty((0, 4), np.float32)})["y"].shape == (0, 3)


def test_pre_and_postprocessing_and_kept_columns():
    predictor = tflgpu.Predictor(
        negated_floats([1, 4]),
        preprocess=lambda given: {"x": given["pixels"].astype(np.float32)},
        postprocess=lambda results: {"least": results["y"].min(axis=1)},
        keep=["path"],
    )
    given = {"pixels": np.arange(8, dtype=np.uint8).reshape(2, 4), "path": np.array(["a", "b"])}
    results = predictor(given)
    assert list(results) == ["path", "least"] and results["path"] is given["path"]
    np.testing.assert_array_equal(results["least"], [-3, -7])


def test_what_is_kept_does_not_hide_a_result():
    x = np.zeros((2, 4), np.float32)
    with pytest.raises(ValueError, match=r"\['y'\] are kept and results"):
        tflgpu.Predictor(classifier(), keep=["y"])({"x": x, "y": x})


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1"):
        next(tflgpu.Predictor(classifier()).map([], workers=0))


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"x": np.zeros((2, 4), np.float64)}, "takes float32, not float64"),
        ({"x": np.zeros((2, 5), np.float32)}, "takes the shape"),
        ({"x": np.zeros(4, np.float32)}, "takes the shape"),
        ({"x": np.zeros((2, 4), np.float32), "z": np.zeros(2)}, "given were"),
        ({}, "given were"),
    ],
)
def test_what_does_not_fit_is_named(arrays, said):
    with pytest.raises(ValueError, match=said):
        tflgpu.Predictor(classifier())(arrays)


def test_it_is_pickled_without_its_interpreter():
    predictor = tflgpu.Predictor(classifier(), batch=4)
    x = with_random_rows(4, 4)
    wanted = predictor({"x": x})["y"]
    again = pickle.loads(pickle.dumps(predictor))
    assert again._opened is None and again.batch == 4
    np.testing.assert_array_equal(again({"x": x})["y"], wanted)


def test_a_delegate_runs_it_and_options_pin_it():
    pytest.importorskip("pyopencl")
    predictor = tflgpu.Predictor(negated_floats([1, 4]), delegate="opencl", batch=8)
    x = with_random_rows(8, 4)
    np.testing.assert_array_equal(predictor({"x": x})["y"], -x)
    assert "opencl" in predictor.rows.entry._wrapper._interpreter.delegation_report().splitlines()[0]
    assert predictor.on(precision="fp16").options == {"precision": "fp16"}
    with pytest.raises(ValueError, match="options are for a delegate by name"):
        tflgpu.Predictor("model.tflite").on(device="1")


@pytest.mark.parametrize(
    "most, own, sizes", [(32, 1, [32, 8, 2, 1]), (1, 1, [1]), (8, 1, [8, 4, 2, 1]), (12, 4, [12, 4])]
)
def test_few_sizes_are_prepared(most, own, sizes):
    assert batch_sizes(most, own) == sizes


def test_batch_sizes_that_are_no_faster_are_forgotten(monkeypatch):
    rows = tflgpu.Predictor(classifier(), batch=32).rows
    took = {1: 1.0, 2: 3.0, 8: 4.0, 32: 40.0}
    invoked: list[int] = []
    monkeypatch.setattr(rows.entry, "invoke", lambda arrays: invoked.append(len(arrays["x"])))
    monkeypatch.setattr("tflgpu.serving.rows._seconds", lambda call: (call(), took[invoked[-1]])[1])
    rows.keep_what_pays({"x": with_random_rows(32, 4)})
    assert rows.sizes == [8, 1]


def test_more_than_half_of_a_batch_is_filled():
    for left in range(1, 200):
        size = next_size(left, [32, 8, 2, 1])
        assert size <= left or left > size / 2


def test_importing_it_imports_nothing_heavy():
    script = (
        "import sys, tflgpu; tflgpu.Predictor; print([m for m in ('ray', 'kserve', 'pyarrow') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def dies_once(given):
    """Kills its process where the flag does not lie yet."""
    flag = Path(str(given["flag"][0]))
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"x": given["x"]}


def test_several_processes_map_batches_in_order_and_one_may_die(tmp_path):
    batches = [
        {"x": with_random_rows(rows, 4), "flag": np.array([str(tmp_path / "died")] * rows)} for rows in (3, 5, 2)
    ]
    seen = []
    predictor = tflgpu.Predictor(classifier(), preprocess=dies_once)
    results = list(predictor.map(batches, workers=2, progress=seen.append))
    assert (tmp_path / "died").exists()
    for batch, result in zip(batches, results, strict=True):
        np.testing.assert_array_equal(result["y"], one_by_one(classifier(), batch["x"])["y"])
    assert [progress.rows for progress in seen] == [3, 8, 10] and seen[-1].rows_per_second > 0


def test_a_large_model_goes_to_processes_by_its_content():
    x = with_random_rows(2, 4)
    (result,) = tflgpu.Predictor(wide()).map([{"x": x}], workers=2)
    np.testing.assert_array_equal(result["y"], one_by_one(wide(), x)["y"])


def test_a_picture_is_normalized_as_the_metadata_say(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.array([[[12, 24, 36]]], np.uint8)).save(tmp_path / "one.png")
    predictor = tflgpu.Predictor(described())
    assert predictor.rows.entry.picture("x", tmp_path / "one.png").ravel().tolist() == [1, 2, 3]
