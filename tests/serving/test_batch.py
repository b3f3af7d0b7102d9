"""`tflgpu batch`: images and Parquet rows to predictions in Parquet, shard by shard, stopped and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_models import averaged_images, classifier, counted, negated_floats, passed_through, with_random_rows

import tflgpu

pa = pytest.importorskip("pyarrow", reason="pip install 'tflgpu[batch]'")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("typer", reason="pip install 'tflgpu[cli]'")
from typer.testing import CliRunner  # noqa: E402

from tflgpu.cli.app import app  # noqa: E402
from tflgpu.serving.columns import array, table  # noqa: E402


def batch(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)], terminal_width=200)


def images(folder: Path, count: int) -> np.ndarray[Any, Any]:
    """So many images of 4 x 4; their pixels, in the order of their names."""
    from PIL import Image

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return pixels


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(averaged_images())
    return path


def rows_of(output: Path) -> list[dict[str, Any]]:
    return pq.read_table(output).to_pylist()


def test_a_folder_of_images_becomes_a_row_each(model, tmp_path):
    pixels = images(tmp_path / "images", 10)
    told = batch(model, tmp_path / "images", "--output", tmp_path / "out", "--shard", 4, "--batch", 3)
    assert told.exit_code == 0, told.output
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == [
        f"rows-0000{i}.parquet" for i in range(3)
    ]
    rows = rows_of(tmp_path / "out")
    assert [Path(row["path"]).name for row in rows] == [f"{i:03}.png" for i in range(10)]
    wanted = tflgpu.Predictor(model)({"x": pixels.astype(np.float32) / 255})["y"]
    np.testing.assert_array_equal([row["y"] for row in rows], wanted.tolist())


def test_a_stopped_job_goes_on_and_makes_nothing_twice(model, tmp_path):
    images(tmp_path / "images", 10)
    arguments = (model, tmp_path / "images", "--output", tmp_path / "out", "--shard", 4)
    batch(*arguments)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.parquet")}
    lost = tmp_path / "out" / "rows-00001.parquet"
    lost.unlink()
    assert "2 of 3 shards are there" in batch(*arguments).output
    assert {path: path.stat().st_mtime_ns for path in made if path != lost} == {
        p: t for p, t in made.items() if p != lost
    }
    assert len({row["path"] for row in rows_of(tmp_path / "out")}) == 10


@pytest.mark.parametrize("change, named", [("model", "model"), ("image", "inputs"), ("shard", "inputs")])
def test_a_folder_holds_the_results_of_one_job(model, tmp_path, change, named):
    images(tmp_path / "images", 4)
    arguments = [model, tmp_path / "images", "--output", tmp_path / "out", "--shard", 2]
    batch(*arguments)
    if change == "model":
        model.write_bytes(negated_floats([1, 4, 4, 3]))
    elif change == "image":
        (tmp_path / "images" / "003.png").rename(tmp_path / "images" / "other.png")
    else:
        arguments[-1] = 3
    told = batch(*arguments)
    assert told.exit_code == 1 and f"a job with other {named}" in told.output


def test_an_unreadable_image_is_named_or_listed(model, tmp_path):
    images(tmp_path / "images", 4)
    (tmp_path / "images" / "002.png").write_bytes(b"no image")
    arguments = (model, tmp_path / "images", "--output", tmp_path / "out")
    told = batch(*arguments)
    assert told.exit_code == 1 and "002.png" in told.output
    assert not list((tmp_path / "out").glob("*rows*"))
    assert batch(*arguments, "--skip-unreadable").exit_code == 0
    assert len(rows_of(tmp_path / "out")) == 3
    assert (tmp_path / "out" / "_unreadable-00000.txt").read_text() == f"{tmp_path}/images/002.png\n"


def test_a_shard_without_rows_hides_no_columns_of_the_others(model, tmp_path):
    images(tmp_path / "images", 4)
    for name in ("000.png", "001.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    arguments = (model, tmp_path / "images", "--output", tmp_path / "out", "--shard", 2, "--skip-unreadable")
    assert "2 rows" in batch(*arguments).output
    assert [Path(row["path"]).name for row in rows_of(tmp_path / "out")] == ["002.png", "003.png"]
    assert "2 of 2 shards are there" in batch(*arguments).output


def test_an_image_that_pillow_refuses_in_its_own_way_is_unreadable_too(model, tmp_path):
    images(tmp_path / "images", 2)
    bomb = tmp_path / "images" / "000.bmp"
    from PIL import Image

    Image.new("RGB", (4, 4)).save(bomb)
    content = bytearray(bomb.read_bytes())
    content[18:26] = (10**5).to_bytes(4, "little") * 2
    bomb.write_bytes(content)
    arguments = (model, tmp_path / "images", "--output", tmp_path / "out")
    told = batch(*arguments)
    assert told.exit_code == 1 and "000.bmp: cannot read the image" in told.output
    assert batch(*arguments, "--skip-unreadable").exit_code == 0
    assert len(rows_of(tmp_path / "out")) == 2


def test_the_output_may_be_in_the_folder_of_the_inputs(model, tmp_path):
    images(tmp_path / "images", 4)
    arguments = (model, tmp_path / "images", "--output", tmp_path / "images" / "out", "--shard", 2)
    assert batch(*arguments).exit_code == 0
    assert "2 of 2 shards are there" in batch(*arguments).output


def test_images_fill_a_batch_that_the_model_has(tmp_path):
    pixels = images(tmp_path / "images", 3)
    (tmp_path / "model.tflite").write_bytes(averaged_images(batch=2))
    told = batch(tmp_path / "model.tflite", tmp_path / "images", "--output", tmp_path / "out")
    assert told.exit_code == 0, told.output
    wanted = tflgpu.Predictor(averaged_images())({"x": pixels.astype(np.float32) / 255})["y"]
    np.testing.assert_array_equal([row["y"] for row in rows_of(tmp_path / "out")], wanted.tolist())


def test_a_shard_is_one_row_group(tmp_path):
    (tmp_path / "model.tflite").write_bytes(classifier())
    pq.write_table(pa.table({"x": with_random_rows(100, 4).tolist()}), tmp_path / "in.parquet")
    assert batch(tmp_path / "model.tflite", tmp_path / "in.parquet", "--output", tmp_path / "out").exit_code == 0
    assert pq.read_metadata(tmp_path / "out" / "rows-00000.parquet").num_row_groups == 1


def test_rows_of_different_shapes_have_the_type_of_others(tmp_path):
    (tmp_path / "model.tflite").write_bytes(counted())
    pq.write_table(pa.table({"x": [[1], [1], [2], [3]]}), tmp_path / "in.parquet")
    told = batch(tmp_path / "model.tflite", tmp_path / "in.parquet", "--output", tmp_path / "out", "--batch", 2)
    assert told.exit_code == 0, told.output
    assert [row["y"] for row in rows_of(tmp_path / "out")] == [[0], [0], [0, 1], [0, 1, 2]]
    assert pq.read_schema(tmp_path / "out" / "rows-00000.parquet").field("y").type.value_type == pa.int32()


def test_a_file_without_row_groups_has_no_rows_and_a_broken_one_is_named(tmp_path):
    (tmp_path / "model.tflite").write_bytes(classifier())
    pq.ParquetWriter(tmp_path / "in.parquet", pa.schema([("x", pa.list_(pa.float32()))])).close()
    arguments = (tmp_path / "model.tflite", tmp_path / "in.parquet", "--output", tmp_path / "out")
    told = batch(*arguments)
    assert told.exit_code == 0 and "0 rows" in told.output
    (tmp_path / "in.parquet").write_bytes(b"PAR1 no Parquet")
    assert f"{tmp_path}/in.parquet: " in batch(*arguments).output


def test_parquet_rows_become_rows_with_what_is_kept(tmp_path):
    (tmp_path / "model.tflite").write_bytes(classifier())
    x = with_random_rows(10, 4)
    given = pa.table({"id": [f"row {i}" for i in range(10)], "x": x.astype(np.float64).tolist()})
    pq.write_table(given, tmp_path / "in.parquet", row_group_size=4)
    arguments = [tmp_path / "model.tflite", tmp_path / "in.parquet", "--output", tmp_path / "out", "--keep", "id"]
    assert batch(*arguments, "--batch", 3, "--workers", 2).exit_code == 0
    rows = rows_of(tmp_path / "out")
    assert [row["id"] for row in rows] == given["id"].to_pylist()
    np.testing.assert_array_equal([row["y"] for row in rows], tflgpu.Predictor(classifier())({"x": x})["y"])


@pytest.mark.parametrize(
    "column, said",
    [
        (pa.array([[1.0, 2, 3, 4], [1, 2, 3]]), "different lengths"),
        (pa.array([[1.0, 2, 3, 4], None]), "1 nulls"),
        (pa.array([["a", "b", "c", "d"]]), "column 'x'"),
        (pa.array([[1.0, 2, 3]]), "takes the shape"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path, column, said):
    (tmp_path / "model.tflite").write_bytes(classifier())
    pq.write_table(pa.table({"x": column}), tmp_path / "in.parquet")
    told = batch(tmp_path / "model.tflite", tmp_path / "in.parquet", "--output", tmp_path / "out", "--batch", 2)
    assert told.exit_code == 1 and said in told.output


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4)])
def test_arrays_are_the_same_after_they_were_columns(dtype, shape):
    x = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
    port = tflgpu.Predictor(negated_floats([1, *shape[1:]])).rows.entry.inputs["x"]
    port = replace(port, dtype=np.dtype(dtype))
    column = table({"x": x})["x"].chunk(0)
    np.testing.assert_array_equal(array(column, port), x)
    assert array(column, port).dtype == x.dtype


def test_strings_are_rows_too(tmp_path):
    (tmp_path / "model.tflite").write_bytes(passed_through("STRING"))
    pq.write_table(pa.table({"x": ["one", "zwölf"]}), tmp_path / "in.parquet")
    told = batch(tmp_path / "model.tflite", tmp_path / "in.parquet", "--output", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert [row["y"] for row in rows_of(tmp_path / "out")] == [b"one", "zwölf".encode()]


def test_functions_of_the_user_make_inputs_and_results(model, tmp_path, monkeypatch):
    images(tmp_path / "images", 3)
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def ones(given): return {'x': np.ones((len(given['path']), 4, 4, 3), np.float32)}\n"
        "def first(results): return {'first': results['y'][:, 0]}\n"
    )
    monkeypatch.chdir(tmp_path)
    told = batch(model, "images", "--output", "out", "--preprocess", "own:ones", "--postprocess", "own:first")
    assert told.exit_code == 0, told.output
    assert [row["first"] for row in rows_of(tmp_path / "out")] == [1, 1, 1]


def test_a_job_killed_at_any_time_is_completed_by_the_same_command(model, tmp_path):
    images(tmp_path / "images", 40)
    command = [sys.executable, "-m", "tflgpu", "batch", model, tmp_path / "images", "--output", tmp_path / "out"]
    command += ["--shard", "2"]
    job = subprocess.Popen(list(map(str, command)), start_new_session=True, stdout=subprocess.DEVNULL)
    while not list((tmp_path / "out").glob("*.parquet")):
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    names = [Path(row["path"]).name for row in rows_of(tmp_path / "out")]
    assert names == [f"{i:03}.png" for i in range(40)]
