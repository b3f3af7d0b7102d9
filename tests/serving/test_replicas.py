"""`tflgpu serve --ray`: replicas on Ray Serve, of which one is killed while clients ask."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serving.served import Server
from serving_models import looked_up, negated_floats

if not all(map(importlib.util.find_spec, ("kserve", "ray", "tritonclient"))):
    pytest.skip("pip install 'tflgpu[serve,ray]' 'tritonclient[http,grpc]'", allow_module_level=True)
import tritonclient.http as by_http

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "models"
    folder.mkdir()
    (folder / "m.tflite").write_bytes(negated_floats([1, 4]))
    (folder / "gather.tflite").write_bytes(looked_up())
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with Server(folder, "--ray", "local", "--replicas", "2:2", "--num-cpus", 0.1, "--batch", 4, seconds=180) as found:
        yield found


def replicas() -> list[int]:
    """Processes of replicas of the model m."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "ServeReplica:m-1" in line]


def body(value: Any, shape: list[int], datatype: str = "FP32") -> bytes:
    return json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": value}]}).encode()


def test_requests_go_to_replicas_and_their_errors_come_back(server):
    assert len(replicas()) == 2
    status, told = server.get("/v2/models/m/infer", body([1, 2, 3, 4], [1, 4]))
    assert status == 200 and json.loads(told)["outputs"][0]["data"] == [-1, -2, -3, -4]
    assert server.get("/v2/models/m/infer", body([1, 2, 3], [1, 3]))[0] == 400
    status, told = server.get("/v2/models/gather/infer", body([9], [1, 1], "INT32"))
    assert status == 500 and "GATHER" in json.loads(told)["error"]


def test_a_replica_that_is_killed_loses_no_request(server):
    x = np.arange(4, dtype=np.float32)[None]
    stopped, wrong, answered = threading.Event(), list[Any](), list[int]()

    def ask() -> None:
        with by_http.InferenceServerClient(server.http) as found:
            one = by_http.InferInput("x", [1, 4], "FP32")
            one.set_data_from_numpy(x)
            while not stopped.is_set():
                try:
                    if (found.infer("m", [one]).as_numpy("y") != -x).any():
                        wrong.append("values")
                    answered.append(1)
                except Exception as error:
                    wrong.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for one in clients:
        one.start()
    time.sleep(1)
    os.kill(replicas()[0], signal.SIGKILL)
    before = len(answered)
    time.sleep(3)
    stopped.set()
    for one in clients:
        one.join()
    assert not wrong and len(answered) > before
