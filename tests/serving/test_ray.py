"""Predictors on a cluster of Ray, from dataset to dataset and as `tflgpu batch --ray`; actors and nodes are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import TESTS
from serving_models import averaged_images, classifier, with_random_rows

import tflgpu

ray = pytest.importorskip("ray", reason="pip install 'tflgpu[ray]'")
pytest.importorskip("ray.data")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Ray and what it imports


@pytest.fixture(scope="module")
def cluster() -> Any:
    """Ray on this machine, of one node; the tests that lose a node add it."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    on_workers = {"env_vars": {"PYTHONPATH": str(TESTS)}}  # where the functions of this file are found
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 1, "object_store_memory": 2**27})
    ray.init(found.address, log_to_driver=False, runtime_env=on_workers)
    yield found
    ray.shutdown()
    found.shutdown()


def slow_rows(given: Any) -> dict[str, Any]:
    """The rows as they are, after a while; `log` names a folder with a file for each process and its batches."""
    time.sleep(0.05)
    if "log" in given:
        (Path(str(given["log"][0])) / str(os.getpid())).touch()
    return {"x": np.asarray(given["x"])}


def test_images_of_a_folder_become_rows_in_parquet(cluster, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    (tmp_path / "model.tflite").write_bytes(averaged_images())
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{number:03}.png")
    given = {"model": tmp_path / "model.tflite", "batch": 4, "preprocess": scaled, "keep": ["path"]}
    found = ray.data.read_images(str(tmp_path / "images"), include_paths=True, override_num_blocks=4)
    found = found.map_batches(tflgpu.Predictor, fn_constructor_kwargs=given, batch_size=8, compute=actors(2))
    found.write_parquet(str(tmp_path / "out"))
    rows = sorted(pq.read_table(tmp_path / "out").to_pylist(), key=lambda row: row["path"])
    wanted = tflgpu.Predictor(averaged_images())({"x": pixels.astype(np.float32) / 255})["y"]
    assert len(rows) == 20
    np.testing.assert_array_equal([row["y"] for row in rows], wanted.tolist())


def scaled(given: Any) -> dict[str, Any]:
    return {"x": given["image"].astype(np.float32) / 255}


def actors(size: int) -> Any:
    return ray.data.ActorPoolStrategy(size=size)


@pytest.mark.parametrize("delegate", [None, "opencl"])
def test_rows_of_parquet_on_the_cpu_and_on_opencl(cluster, tmp_path, delegate):
    if delegate:
        pytest.importorskip("pyopencl")
    x = with_random_rows(64, 4)
    pq.write_table(pa.table({"id": range(64), "x": x.tolist()}), tmp_path / "in.parquet", row_group_size=16)
    given = {"model": classifier(), "delegate": delegate, "batch": 8, "keep": ["id"], "preprocess": as_float32}
    found = ray.data.read_parquet(str(tmp_path / "in.parquet")).map_batches(
        tflgpu.Predictor, fn_constructor_kwargs=given, batch_size=16, compute=actors(1)
    )
    rows = sorted(found.take_all(), key=lambda row: row["id"])
    wanted = tflgpu.Predictor(classifier())({"x": x})["y"]
    np.testing.assert_array_equal(np.stack([row["y"] for row in rows]), wanted)


def as_float32(given: Any) -> dict[str, Any]:
    return {"x": np.stack(given["x"]).astype(np.float32)}


def test_each_actor_has_a_gpu_of_its_own(cluster):
    given = {"model": classifier(), "postprocess": visible_devices}
    found = (
        ray.data.range(2)
        .map_batches(x_of_zeros, batch_size=1)
        .map_batches(tflgpu.Predictor, fn_constructor_kwargs=given, batch_size=1, num_gpus=1, compute=actors(1))
    )
    assert {row["device"] for row in found.take_all()} == {"0"}


def x_of_zeros(given: Any) -> dict[str, Any]:
    return {"x": np.zeros((len(given["id"]), 4), np.float32)}


def visible_devices(results: Any) -> dict[str, Any]:
    return {"device": np.array([os.environ["CUDA_VISIBLE_DEVICES"]] * len(results["y"]))}


@pytest.mark.parametrize("lost", ["actor", "node"])
def test_what_is_lost_runs_again_and_every_row_is_there_once(cluster, tmp_path, lost):
    """`tflgpu batch --ray`, of which a process or a whole node is killed while it runs."""
    from tflgpu.serving.job import begin, shards
    from tflgpu.serving.ray_job import run_on_ray

    (tmp_path / "log").mkdir()
    x = with_random_rows(60, 4)
    columns = {"id": range(60), "x": x.tolist(), "log": [str(tmp_path / "log")] * 60}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=2)
    node = cluster.add_node(num_cpus=2) if lost == "node" else None
    predictor = tflgpu.Predictor(classifier(), batch=2, preprocess=columns_slowly, keep=["id"])
    made = shards(tmp_path / "in.parquet", tmp_path / "out", 1)
    killer = threading.Thread(target=kill_one, args=(tmp_path, cluster, node))
    killer.start()
    rows = list(run_on_ray(predictor, begin(predictor, made, tmp_path / "out"), cluster.address, 3 if node else 2))
    killer.join()
    assert (tmp_path / "killed").exists() and sum(rows) == 60
    found = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["id"] for row in found] == list(range(60))
    np.testing.assert_array_equal([row["y"] for row in found], tflgpu.Predictor(classifier())({"x": x})["y"])


def test_the_command_runs_on_a_cluster(cluster, tmp_path):
    x = with_random_rows(40, 4)
    (tmp_path / "model.tflite").write_bytes(classifier())
    pq.write_table(pa.table({"id": range(40), "x": x.tolist()}), tmp_path / "in.parquet", row_group_size=8)
    command = [sys.executable, "-m", "tflgpu", "batch", tmp_path / "model.tflite", tmp_path / "in.parquet"]
    command += ["--output", tmp_path / "out", "--ray", cluster.address, "--workers", 2, "--keep", "id"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "40 rows" in done.stdout, done.stdout + done.stderr
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["id"] for row in rows] == list(range(40))
    np.testing.assert_array_equal([row["y"] for row in rows], tflgpu.Predictor(classifier())({"x": x})["y"])


def columns_slowly(given: Any) -> dict[str, Any]:
    arrays = {name: np.array(column.to_pylist()) for name, column in given.items()}
    return slow_rows({**arrays, "x": arrays["x"].astype(np.float32)})


def kill_one(folder: Path, cluster: Any, node: Any) -> None:
    """A process that has worked, or the node, as soon as several results are there."""
    while len(list((folder / "out").glob("*.parquet"))) < 4:
        time.sleep(0.02)
    if node is None:
        os.kill(int(next((folder / "log").iterdir()).name), signal.SIGKILL)
    else:
        cluster.remove_node(node, allow_graceful=False)
    (folder / "killed").touch()
