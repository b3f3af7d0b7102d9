"""What `tflgpu serve` adds to a model: latencies and throughput at 1, 8 and 32 clients, beside the bare interpreter.

    python benchmarks/serve.py [MODEL...] [--seconds 4] [--json FILE]

Clients are threads of another process, each with one connection that is kept: REST with binary data by a plain socket,
gRPC by NVIDIA's client. Without a model it is eight dense layers. "empty" asks the same server for its liveness and no
model: what the protocol's stack takes itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from litert import machine

import tflgpu
from tflgpu.model.builder import ModelBuilder

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from serving.served import Server

Ask = Callable[[], None]
ROUNDS = 3
"""Of which the best counts: others may use the machine too."""

PAUSE_S = 0.0003
"""What a server at its fastest takes for a request besides the model."""


def rest(server: str, model: str, name: str, x: Any) -> Ask:
    """One request a call, on one connection."""
    tensor = {"name": name, "shape": x.shape, "datatype": DATATYPES[x.dtype.name]}
    asked = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": x.nbytes}}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(asked).encode()
    lines = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {server}\r\nInference-Header-Content-Length: {len(head)}\r\n"
    )
    return exchange(server, lines + f"Content-Length: {len(head) + x.nbytes}\r\n\r\n", head + x.tobytes())


def exchange(server: str, lines: str, body: bytes) -> Ask:
    connection = socket.create_connection(server.split(":"))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = lines.encode() + body

    def ask() -> None:
        connection.sendall(request)
        answer = connection.recv(1 << 20)
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1 << 20)
        head, _, content = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head[:20], answer
        (size,) = (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(content) < size:
            content += connection.recv(1 << 20)

    return ask


def rpc(server: str, model: str, name: str, x: Any) -> Ask:
    import tritonclient.grpc as client

    found = client.InferenceServerClient(server)
    tensor = client.InferInput(name, list(x.shape), DATATYPES[x.dtype.name])
    tensor.set_data_from_numpy(x)
    return lambda: found.infer(model, [tensor]) and None


def empty_rest(server: str, model: str, name: str, x: Any) -> Ask:
    return exchange(server, f"GET /v2/health/live HTTP/1.1\r\nHost: {server}\r\n\r\n", b"")


def empty_rpc(server: str, model: str, name: str, x: Any) -> Ask:
    import tritonclient.grpc as client

    found = client.InferenceServerClient(server)
    return lambda: found.is_server_live() and None


WAYS = {"rest": rest, "grpc": rpc, "empty rest": empty_rest, "empty grpc": empty_rpc}
DATATYPES = {"float32": "FP32", "uint8": "UINT8", "int8": "INT8", "int32": "INT32", "float16": "FP16", "int16": "INT16"}


def load(pid: int, way: str, clients: int, seconds: float, *where: Any) -> dict[str, float]:
    """Requests a second and latencies in milliseconds, of so many clients in a process of their own.

    server_cpu_ms: the processor time of the server, of number pid, for a request.
    """
    before = cpu_seconds(pid)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as process:
        found = [process.apply(_load, (way, clients, seconds, *where)) for _ in range(ROUNDS)]
    requests = sum(one["a_second"] * seconds + 20 * clients for one in found)
    best = max(found, key=lambda one: one["a_second"])
    return {**best, "server_cpu_ms": round((cpu_seconds(pid) - before) * 1e3 / requests, 3)}


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has had (Linux)."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _load(way: str, clients: int, seconds: float, *where: Any) -> dict[str, float]:
    times: list[float] = []
    start = threading.Barrier(clients)

    def client() -> None:
        ask = WAYS[way](*where)
        for _ in range(20):
            ask()
        start.wait()
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            ask()
            times.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return told(times, seconds)


def told(times: list[float], seconds: float) -> dict[str, float]:
    p50, p99 = (float(np.percentile(times, q)) * 1e3 for q in (50, 99))
    return {"a_second": round(len(times) / seconds, 1), "p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}


def bare(model: Path, x: Any, seconds: float, pause: float = 0) -> dict[str, float]:
    """The interpreter alone: set, invoke, get. pause: seconds between, in which caches cool, as in a server."""
    interpreter = tflgpu.Interpreter(model)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        interpreter.set_tensor(given, x)
        interpreter.invoke()
        interpreter.get_tensor(result)
        times.append(time.perf_counter() - begin)
        if pause:
            time.sleep(pause)
    return told(times, seconds)


def measured(model: Path, seconds: float, batch: int) -> list[dict[str, Any]]:
    """A row a measurement: the interpreter with one row and a batch, then each way, batching off and on (for 10 ms)."""
    (port,) = tflgpu.Predictor(model).rows.entry.inputs.values()
    x = np.random.default_rng(0).random(port.own).astype(port.dtype)
    rows: list[dict[str, Any]] = []
    for size in (1, batch):
        found = [bare(model, np.repeat(x, size, 0), seconds) for _ in range(ROUNDS)]
        rows.append({"what": "bare", "rows": size, **max(found, key=lambda one: one["a_second"])})
    rows.append({"what": "bare, with pauses", "rows": 1, **bare(model, x, seconds, PAUSE_S)})
    for size in (1, batch):
        with Server(model.absolute(), "--batch", size, "--max-delay-ms", 10 if size > 1 else 0) as server:
            for clients in (1, 8, 32):
                for way in WAYS if size == 1 and clients == 1 else ("rest", "grpc"):
                    where = server.grpc if "grpc" in way else server.http
                    found = load(server.process.pid, way, clients, seconds, where, model.stem, port.name, x)
                    rows.append({"what": way, "batch": size, "clients": clients, **found})
    return [{"model": model.stem, **row} for row in rows]


def dense() -> bytes:
    """Eight layers of 1024 x 1024, which a batch reads once for all of its rows."""
    generator, m = np.random.default_rng(0), ModelBuilder()
    g = m.graph()
    last = g.input("x", "FLOAT32", [1, 1024])
    for number in range(8):
        weights = g.constant(f"w{number}", generator.normal(0, 0.03, (1024, 1024)).astype(np.float32))
        y = g.tensor(f"y{number}", "FLOAT32", [1, 1024])
        g.node("FULLY_CONNECTED", [last, weights], [y], fused_activation_function="RELU")
        last = y
    g.outputs(last)
    return m.build()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    (folder := Path(tempfile.mkdtemp())).joinpath("dense.tflite").write_bytes(dense())
    for model in options.models or [folder / "dense.tflite"]:
        for row in measured(model, options.seconds, options.batch):
            rows.append(row)
            print(json.dumps(row), flush=True)
    if options.json:
        about = {"command": " ".join(["python", *sys.argv]), "machine": machine(), "date": f"{date.today()}"}
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
