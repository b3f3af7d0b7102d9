"""`tflgpu serve` and a real client, NVIDIA's: REST and gRPC, batches, versions, hostile requests, reload, its end."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from serving.requests import asked, until
from serving.served import Server
from serving_models import (
    averaged_images,
    classifier,
    counted,
    looked_up,
    negated_floats,
    passed_through,
    rows_that_mix,
    two_signatures,
    unary,
)

import tflgpu

if importlib.util.find_spec("kserve") is None:  # importing it registers protobuf messages that the client has too
    pytest.skip("the server is not installed: pip install 'tflgpu[serve]'", allow_module_level=True)
pytest.importorskip("tritonclient", reason="pip install 'tritonclient[http,grpc]'")
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the client's packages


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "models"
    for name, content in {
        "classify": classifier(),
        "average": averaged_images(),
        "text": passed_through("STRING"),
        "int8": passed_through("INT8"),
        "float16": unary("ABS", "FLOAT16", [1, 4]),
        "mixing": rows_that_mix(),
        "whole": negated_floats([5]),
        "signatures": two_signatures(),
        "gather": looked_up(),
        "log": unary("LOG", "FLOAT32", [1, 4]),
        "counted": counted(),
    }.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.tflite").write_bytes(content)
    (folder / "classify" / "3").mkdir()
    (folder / "classify" / "3" / "model.tflite").write_bytes(negated_floats([1, 4]))
    with Server(folder, "--batch", 8, "--max-delay-ms", 5, "--max-body-mib", 4, "--connections", 200) as found:
        yield found


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    """A client of each protocol, and its module."""
    module = {"http": by_http, "grpc": by_grpc}[request.param]
    url = {"http": server.http, "grpc": server.grpc}[request.param]
    found = module.InferenceServerClient(url, **({"concurrency": 4} if module is by_http else {}))
    yield module, found
    found.close()


def answer(protocol: Any, model: str, x: Any, **options: Any) -> Any:
    module, found = protocol
    return found.infer(model, [asked(module, x)], **options)


def test_health_and_metadata(protocol):
    _, found = protocol
    assert found.is_server_live() and found.is_server_ready() and found.is_model_ready("classify")
    assert not found.is_model_ready("nobody") and not found.is_model_ready("classify", "2")
    told = found.get_model_metadata("classify", "1")
    told = told if isinstance(told, dict) else json.loads(by_grpc_json(told))
    assert told["versions"] == ["1", "3"] and told["platform"] == "tflgpu_tflite"
    assert [(t["name"], t["datatype"], list(map(int, t["shape"]))) for t in told["inputs"]] == [("x", "FP32", [-1, 4])]
    with pytest.raises(InferenceServerException, match="nobody"):
        found.get_model_metadata("nobody")


def by_grpc_json(message: Any) -> str:
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(message)


@pytest.mark.parametrize("rows", [1, 3, 8, 20])
def test_rows_are_answered_as_one_by_one(protocol, rows):
    x = np.random.default_rng(0).random((rows, 4, 4, 3), dtype=np.float32)
    wanted = tflgpu.Predictor(averaged_images())({"x": x})["y"]
    np.testing.assert_allclose(answer(protocol, "average", x).as_numpy("y"), wanted, rtol=1e-6)


def test_versions_and_signatures_are_names(protocol):
    x = np.arange(4, dtype=np.float32)[None]
    first = tflgpu.Predictor(classifier())({"x": x})["y"]
    np.testing.assert_array_equal(answer(protocol, "classify", x, model_version="1").as_numpy("y"), first)
    np.testing.assert_array_equal(answer(protocol, "classify", x).as_numpy("y"), -x)  # the latest
    np.testing.assert_array_equal(answer(protocol, "signatures.negate", x).as_numpy("y"), -x)
    np.testing.assert_array_equal(answer(protocol, "signatures.double", x).as_numpy("y"), 2 * x)
    with pytest.raises(InferenceServerException, match="version 2"):
        answer(protocol, "classify", x, model_version="2")


@pytest.mark.parametrize(
    "model, x, y",
    [
        (
            "text",
            np.array([b"one", "zwölf".encode(), b"\xff\x00"], object),
            np.array([b"one", "zwölf".encode(), b"\xff\x00"], object),
        ),
        ("int8", np.array([-128, 0, 127], np.int8), np.array([-128, 0, 127], np.int8)),
        ("float16", np.array([[1, -2, 0.5, -6e4]], np.float16), np.array([[1, 2, 0.5, 6e4]], np.float16)),
        ("whole", np.arange(5, dtype=np.float32), -np.arange(5, dtype=np.float32)),
    ],
)
def test_every_type_goes_there_and_back(protocol, model, x, y):
    np.testing.assert_array_equal(answer(protocol, model, x).as_numpy("y"), y)


def test_json_and_binary_data_and_chosen_outputs(server):
    x = np.arange(4, dtype=np.float32)[None]
    with by_http.InferenceServerClient(server.http) as found:
        one = by_http.InferInput("x", [1, 4], "FP32")
        one.set_data_from_numpy(x, binary_data=False)
        for binary in (False, True):
            wanted = [by_http.InferRequestedOutput("y", binary_data=binary)]
            told = found.infer("classify", [one], outputs=wanted, request_id="seven")
            np.testing.assert_array_equal(told.as_numpy("y"), -x)
            assert told.get_response()["id"] == "seven" and told.get_response()["model_version"] == "3"


def test_tensors_of_megabytes(protocol):
    x = np.random.default_rng(0).random((15000, 4, 4, 3), dtype=np.float32)
    np.testing.assert_allclose(answer(protocol, "average", x).as_numpy("y"), x.mean((1, 2)), rtol=1e-4)


def test_asynchronous_requests_and_64_clients_at_once(server):
    values = [np.full((1, 4), i, np.float32) for i in range(64)]

    def ask(i: int) -> bool:
        module, url = ((by_http, server.http), (by_grpc, server.grpc))[i % 2]
        with module.InferenceServerClient(url) as found:
            return all(
                (found.infer("classify", [asked(module, values[i])]).as_numpy("y") == -values[i]).all()
                for _ in range(10)
            )

    before = server.metric("tflgpu_batch_rows_count")
    with ThreadPoolExecutor(64) as clients:
        assert all(clients.map(ask, range(64)))
    assert server.metric("tflgpu_batch_rows_count") - before < 500  # of 640 requests: they were batched
    with by_http.InferenceServerClient(server.http, concurrency=8) as found:
        waiting = [found.async_infer("classify", [asked(by_http, x)]) for x in values]
        assert all((one.get_result().as_numpy("y") == -x).all() for one, x in zip(waiting, values, strict=True))


@pytest.mark.parametrize(
    "model, x, said",
    [
        ("nobody", np.zeros((1, 4), np.float32), "nobody"),
        ("classify", np.zeros((1, 5), np.float32), "takes the shape"),
        ("classify", np.zeros((1, 4), np.int32), "takes float32, not int32"),
        ("classify", np.zeros(4, np.float32), "takes the shape"),
        ("gather", np.array([[9]], np.int32), "GATHER"),
    ],
)
def test_bad_requests_are_named(protocol, model, x, said):
    with pytest.raises(InferenceServerException, match=said):
        answer(protocol, model, x)


def test_a_failing_request_takes_no_other_of_its_batch_with_it(server):
    def ask(i: int) -> Any:
        with by_grpc.InferenceServerClient(server.grpc) as found:
            try:
                return int(found.infer("gather", [asked(by_grpc, np.array([[i]], np.int32))]).as_numpy("y")[0, 0])
            except InferenceServerException:
                return None

    given = [0, 1, 9, 2, 1, -7, 0, 2] * 4
    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(ask, given)) == [10 * i if 0 <= i < 3 else None for i in given]


@pytest.mark.parametrize("rows, y", [([3], [0, 1, 2]), ([2, 2], [0, 1, 0, 1])])
def test_rows_of_one_shape_are_a_tensor(protocol, rows, y):
    assert answer(protocol, "counted", np.array(rows, np.int32)[:, None]).as_numpy("y").ravel().tolist() == y


def test_rows_of_different_shapes_are_no_tensor(protocol):
    with pytest.raises(InferenceServerException, match="one row at a time"):
        answer(protocol, "counted", np.array([[1], [3]], np.int32))


def test_errors_of_grpc_are_told_however_long_a_name_is(server):
    refused = pytest.raises(InferenceServerException, match="the inputs are")
    with by_grpc.InferenceServerClient(server.grpc) as found, refused:
        found.infer("classify", [asked(by_grpc, np.zeros((1, 4), np.float32), "x" * 10**5)])


def tensor(**changes: Any) -> bytes:
    one = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}
    return json.dumps({"inputs": [one]}).encode()


HOSTILE = {
    "no JSON": (b"{", {}),
    "no object": (b"[]", {}),
    "no inputs": (b"{}", {}),
    "inputs of numbers": (b'{"inputs": [1]}', {}),
    "a name twice": (json.dumps({"inputs": [json.loads(tensor())["inputs"][0]] * 2}).encode(), {}),
    "an unknown datatype": (tensor(datatype="FP31"), {}),
    "a datatype that is a list": (tensor(datatype=["FP32"]), {}),
    "a shape of words": (tensor(shape=["1", 4]), {}),
    "a negative shape": (tensor(shape=[-1, -4]), {}),
    "a shape beyond memory": (tensor(shape=[2**62, 4]), {}),
    "a shape of very many dimensions": (tensor(shape=[2**62] * 10**5), {}),
    "a name of a megabyte": (tensor(name="x" * 2**20), {}),
    "a number beyond FP32": (tensor(data=[1e39, 0, 0, 0]), {}),
    "too few numbers": (tensor(data=[1, 2]), {}),
    "words for numbers": (tensor(data=["1", "2", "3", "4"]), {}),
    "uneven rows": (tensor(data=[[1, 2], [3]]), {}),
    "numbers beyond the type": (tensor(datatype="INT8", data=[1000, 0, 0, 0]), {}),
    "fractions for integers": (tensor(datatype="INT32", data=[1.5, 0, 0, 0]), {}),
    "nesting without end": (tensor(data=json.loads("[" * 900 + "]" * 900)), {}),
    "binary data that is not there": (tensor(data=None, parameters={"binary_data_size": 16}), {}),
    "binary data of a negative size": (tensor(data=None, parameters={"binary_data_size": -1}), {}),
    "shared memory": (tensor(parameters={"shared_memory_region": "a"}), {}),
    "an unknown output": (tensor()[:-1] + b', "outputs": [{"name": "z"}]}', {}),
    "JSON longer than the body": (tensor(), {"Inference-Header-Content-Length": "99999"}),
    "JSON of a negative length": (tensor(), {"Inference-Header-Content-Length": "-1"}),
    "JSON of no length": (tensor(), {"Inference-Header-Content-Length": "x"}),
    "a compressed body": (tensor(), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_malformed_requests_are_refused_and_change_nothing(server, what):
    body, headers = HOSTILE[what]
    status, told = server.get("/v2/models/classify/infer", body, headers)
    assert status == 400 and set(json.loads(told)) == {"error"} and len(told) < 2000, told
    assert server.get("/v2/models/classify/infer", tensor())[0] == 200


def test_values_that_json_cannot_hold_are_not_made_up(server):
    status, told = server.get("/v2/models/log/infer", tensor(data=[0, -1, 1, 1]))
    assert status == 400 and b"ask for binary data" in told


def test_too_large_and_too_many_are_refused(server):
    assert server.get("/v2/models/classify/infer", bytes(5 * 2**20))[0] == 413
    with (
        by_grpc.InferenceServerClient(server.grpc) as found,
        pytest.raises(InferenceServerException, match="(?i)larger"),
    ):
        found.infer("average", [asked(by_grpc, np.zeros((30000, 4, 4, 3), np.float32))])
    assert server.ready()


@pytest.mark.parametrize("sent", [b"\xff\xff\xff\xff", b"\x0a\x05classify", b"\x2a\x7f", os.urandom(400)])
def test_malformed_protobuf_is_refused(server, sent):
    import grpc

    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")  # bytes as they are
        with pytest.raises(grpc.RpcError):
            call(sent, timeout=10)
    assert server.ready()


def test_slow_and_lost_clients_hold_nobody_up(server):
    head = b"POST /v2/models/classify/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n"
    slow_ones = [socket.create_connection(server.http.split(":")) for _ in range(50)]
    for one in slow_ones:
        one.sendall(head + b"{")
    assert server.get("/v2/models/classify/infer", tensor())[0] == 200
    for one in slow_ones:
        one.close()
    for _ in range(20):  # who asks and does not wait
        with socket.create_connection(server.http.split(":")) as one:
            one.sendall(head.replace(b"4000000", str(len(tensor())).encode()) + tensor())
    until(lambda: server.metric("tflgpu_request_bytes") == 0)
    assert server.get("/v2/models/classify/infer", tensor())[0] == 200


def test_cancelled_calls_leave_the_others_their_answers(server):
    x = np.ones((1, 4), np.float32)
    with by_grpc.InferenceServerClient(server.grpc) as found:
        for _ in range(20):
            found.async_infer("classify", [asked(by_grpc, x)], lambda result, error: None).cancel()
        np.testing.assert_array_equal(found.infer("classify", [asked(by_grpc, x)]).as_numpy("y"), -x)
    until(lambda: server.metric("tflgpu_queued_requests") == 0)


def test_metrics_count_requests_batches_and_their_times(server):
    before = server.metric("tflgpu_requests_total")
    server.get("/v2/models/classify/infer", tensor())
    server.get("/v2/models/classify/infer", tensor(shape=[1, 3], data=[1, 2, 3]))
    assert server.metric("tflgpu_requests_total") == before + 2
    for name in ("request_seconds_count", "queue_seconds_count", "invoke_seconds_count", "batch_rows_count"):
        assert server.metric(f"tflgpu_{name}") > 0
    assert server.metric("tflgpu_queued_requests") == 0


def test_clients_do_not_change_models_unless_they_may(server, protocol):
    _, found = protocol
    with pytest.raises(InferenceServerException, match="(?i)clients' to change|permission"):
        found.unload_model("classify")
    assert found.is_model_ready("classify")


@pytest.mark.parametrize(
    "path", ["/v2/models/../infer", "/v2/models/%2e%2e%2fx/infer", "/v2/models/classify/versions/../infer"]
)
def test_paths_lead_to_models_alone(server, path):
    status, told = server.get(path, tensor())
    assert status == 404 and set(json.loads(told)) == {"error"}
