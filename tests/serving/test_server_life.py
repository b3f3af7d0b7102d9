"""How `tflgpu serve` starts, changes its models, refuses what is too much, and ends: each test starts a server."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.requests import asked, until
from serving.served import Server
from serving_models import averaged_images, classifier, looked_up, negated_floats, slow, two_signatures, unary

import tflgpu

if importlib.util.find_spec("kserve") is None:
    pytest.skip("the server is not installed: pip install 'tflgpu[serve]'", allow_module_level=True)
pytest.importorskip("tritonclient", reason="pip install 'tritonclient[http,grpc]'")
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the client's packages


def test_models_are_changed_while_requests_go_on(tmp_path):
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "m.tflite"
    model.write_bytes(negated_floats([1, 4]))
    x = np.arange(4, dtype=np.float32)[None]
    seen: list[Any] = []
    with Server(tmp_path / "models", "--control", "--instances", 2) as server:
        stopped = threading.Event()

        def ask() -> None:
            with by_http.InferenceServerClient(server.http) as found:
                while not stopped.is_set():
                    seen.append(found.infer("m", [asked(by_http, x)]).as_numpy("y"))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for one in clients:
            one.start()
        for content in (unary("ABS", "FLOAT32", [1, 4]), b"no model", negated_floats([1, 4])) * 3:
            (tmp_path / "new").write_bytes(content)
            os.replace(tmp_path / "new", model)
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.15)
        until(lambda: bool((seen[-1] == -x).all()))
        stopped.set()
        for one in clients:
            one.join()
        assert {tuple(y[0]) for y in seen} == {tuple(-x[0]), tuple(x[0])}
        assert "what was served before is served still" in server.log.read_text()
        with by_http.InferenceServerClient(server.http) as found:
            found.unload_model("m")
            assert not found.is_model_ready("m")
            found.load_model("m")
            assert found.is_model_ready("m")
            with pytest.raises(InferenceServerException, match="no model 'n'"):
                found.load_model("n")


def test_a_request_that_was_begun_before_a_change_is_answered_by_the_new_model(tmp_path):
    (tmp_path / "m.tflite").write_bytes(negated_floats([1, 4]))
    sent = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [-1, 2, 3, 4]}]}).encode()
    with Server(tmp_path / "m.tflite") as server:
        host, _, port = server.http.partition(":")
        with socket.create_connection((host, int(port)), 10) as client:
            head = "POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            client.sendall((head % len(sent)).encode())
            time.sleep(0.3)
            change(tmp_path / "m.tflite", unary("ABS", "FLOAT32", [1, 4]), server)
            client.sendall(sent)
            assert b'"data":[1.0,2.0,3.0,4.0]' in client.makefile("rb").read()


def test_models_that_change_together_are_answered_throughout(tmp_path):
    """While the second one loads, the first one's former version has ended."""
    (tmp_path / "models").mkdir()
    for name, content in (("a", negated_floats([1, 4])), ("b", slow())):
        (tmp_path / "models" / f"{name}.tflite").write_bytes(content)
    sent = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
    with Server(tmp_path / "models") as server:
        (tmp_path / "models" / "b.tflite").touch()
        change(tmp_path / "models" / "a.tflite", negated_floats([1, 4]), server)
        assert server.get("/v2/models/a/infer", sent)[0] == 200


def change(model: Path, content: bytes, server: Server) -> None:
    """Replaces a model, and waits until the server says so."""
    served = server.log.read_text().count(f"of {model}")
    model.with_suffix(".new").write_bytes(content)
    os.replace(model.with_suffix(".new"), model)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.log.read_text().count(f"of {model}") > served)


def test_what_is_wrong_with_one_model_is_none_of_the_others_business(tmp_path):
    folder = tmp_path / "models"
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "1" / "a.tflite").write_bytes(negated_floats([1, 4]))
    (folder / "two.tflite").write_bytes(two_signatures())
    with Server(folder, "--control") as server, by_http.InferenceServerClient(server.http) as found:
        (folder / "m" / "config.json").write_text("{")
        (folder / "n.tflite").write_bytes(negated_floats([1, 4]))
        found.load_model("n")
        with pytest.raises(InferenceServerException, match=r"config\.json"):
            found.load_model("m")
        assert all(map(found.is_model_ready, ("m", "n", "two.double")))
        (folder / "two.double.tflite").write_bytes(negated_floats([1, 4]))
        with pytest.raises(InferenceServerException, match=r"another model is served as two\.double"):
            found.load_model("two.double")


def test_what_was_accepted_is_answered_before_the_end(tmp_path):
    (tmp_path / "m.tflite").write_bytes(slow())
    x = np.random.default_rng(0).random((1, 2048), dtype=np.float32)
    with Server(tmp_path / "m.tflite") as server:

        def ask(i: int) -> Any:
            module, url = ((by_http, server.http), (by_grpc, server.grpc))[i % 2]
            with module.InferenceServerClient(url) as found:
                return found.infer("m", [asked(module, x)]).as_numpy("y").shape

        with ThreadPoolExecutor(8) as clients:
            waiting = [clients.submit(ask, i) for i in range(8)]
            until(lambda: server.metric("tflgpu_queued_requests") + server.metric("tflgpu_requests_total") >= 7)
            assert server.stop() == 0
            assert [one.result() for one in waiting] == [(1, 2048)] * 8


def test_a_full_queue_says_busy(tmp_path):
    (tmp_path / "m.tflite").write_bytes(slow())
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 2048], "datatype": "FP32", "data": [0] * 2048}]}).encode()
    with Server(tmp_path / "m.tflite", "--max-queue", 2) as server, ThreadPoolExecutor(12) as clients:
        told = list(clients.map(lambda _: server.get("/v2/models/m/infer", body)[0], range(12)))
        assert set(told) == {200, 503}, told


@pytest.mark.parametrize("content, said", [(b"no model", "m version 1"), (None, "no models to serve")])
def test_a_server_without_its_models_does_not_start(tmp_path, content, said):
    (tmp_path / "models").mkdir()
    if content:
        (tmp_path / "models" / "m.tflite").write_bytes(content)
    with pytest.raises(RuntimeError, match=said):
        Server(tmp_path / "models")


def test_settings_of_a_model_are_read_and_checked(tmp_path):
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1" / "a.tflite").write_bytes(negated_floats([1, 4]))
    config = Path(tmp_path / "models" / "m" / "config.json")
    config.write_text('{"batch": 4, "instances": 2, "colour": 1}')
    with pytest.raises(RuntimeError, match="no setting colour"):
        Server(tmp_path / "models")
    config.write_text('{"batch": 4, "instances": 2, "max_delay_ms": 1}')
    with Server(tmp_path / "models") as server:
        assert server.get("/v2/models/m/ready")[0] == 200


def test_the_metrics_say_what_a_delegate_holds_on_its_device(tmp_path):
    pytest.importorskip("pyopencl", reason="pip install 'tflgpu[opencl]'")
    (tmp_path / "m.tflite").write_bytes(classifier())
    with Server(tmp_path / "m.tflite", "--delegate", "opencl") as server:
        assert server.metric("tflgpu_device_memory_bytes") >= 12 * 4  # the weights


def test_memory_is_flat(tmp_path):
    """TFLGPU_SOAK: how many requests, of both protocols, of which some are refused and some fail."""
    requests = int(os.environ.get("TFLGPU_SOAK", "4000"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.tflite").write_bytes(averaged_images())
    (tmp_path / "models" / "gather.tflite").write_bytes(looked_up())
    x = np.random.default_rng(0).random((2, 4, 4, 3), dtype=np.float32)
    wanted = tflgpu.Predictor(averaged_images())({"x": x})["y"]
    seen = []
    with Server(tmp_path / "models", "--batch", 8) as server:

        def ask(client: int, count: int) -> int:
            module, url = ((by_http, server.http), (by_grpc, server.grpc))[client % 2]
            right = 0
            with module.InferenceServerClient(url) as found:
                for number in range(count):
                    try:
                        if number % 50 == 0:
                            found.infer("gather", [asked(module, np.array([[7]], np.int32))])
                        elif number % 50 == 1:
                            found.infer("m", [asked(module, x[:, :3])])
                        else:
                            np.testing.assert_allclose(
                                found.infer("m", [asked(module, x)]).as_numpy("y"), wanted, rtol=1e-6
                            )
                            right += 1
                    except InferenceServerException:
                        pass
            return right

        with ThreadPoolExecutor(4) as clients:
            for _ in range(5):
                right = list(clients.map(ask, range(4), [requests // 20] * 4))
                assert right == [sum(n % 50 > 1 for n in range(requests // 20))] * 4
                resident = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
                seen.append(int(resident) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    print(f"resident MiB after each fifth of {requests} requests: {[round(one, 1) for one in seen]}")
    assert seen[-1] - seen[0] < 10


def test_who_is_too_slow_or_idle_is_left(tmp_path):
    (tmp_path / "m.tflite").write_bytes(negated_floats([1, 4]))
    line = b"POST /v2/models/m/infer HTTP/1.1\r\n"
    with Server(tmp_path / "m.tflite", "--client-seconds", 1, "--connections", 8) as server:
        host, _, port = server.http.partition(":")
        body = b"Host: x\r\nContent-Length: 9\r\n\r\n{"
        unread = line.replace(b"models/m/infer", b"repository/index") + body
        for sent in (b"", line, line + body, unread, line + b"a: " + b"b" * 2**17):
            for _ in range(7):  # all but one of the connections that there may be
                with_nothing_more = socket.create_connection((host, int(port)))
                with_nothing_more.sendall(sent)
                slow_ones.append(with_nothing_more)
            until(lambda: answers(server), 10)
            until(lambda: all(closed(one) for one in slow_ones), 10)
            slow_ones.clear()


def test_calls_whose_requests_do_not_come_are_ended(tmp_path):
    import grpc

    (tmp_path / "m.tflite").write_bytes(negated_floats([1, 4]))
    x, never = np.ones((1, 4), np.float32), threading.Event()
    with (
        Server(tmp_path / "m.tflite", "--client-seconds", 1, "--connections", 4) as server,
        grpc.insecure_channel(server.grpc) as channel,
        by_grpc.InferenceServerClient(server.grpc) as found,
    ):
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        waiting = [call.future(iter(never.wait, True)) for _ in range(8)]
        until(lambda: all(one.done() for one in waiting))
        never.set()
        said = {one.code() for one in waiting}
        assert said == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        np.testing.assert_array_equal(found.infer("m", [asked(by_grpc, x)]).as_numpy("y"), -x)


slow_ones: list[socket.socket] = []


def answers(server: Server) -> bool:
    try:
        return server.get("/v2/health/live")[0] == 200
    except OSError:
        return False


def closed(one: socket.socket) -> bool:
    """Whether the other end has closed it, after what it may have answered."""
    one.setblocking(False)
    try:
        while one.recv(2**16):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
