"""`tflgpu serve` as a process, for tests and benchmarks."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A running server. http and grpc: where, as host:port."""

    def __init__(self, source: Path, *options: Any, seconds: float = 60):
        ports = free_port(), free_port()
        self.http, self.grpc = (f"127.0.0.1:{port}" for port in ports)
        command = [sys.executable, "-m", "tflgpu", "serve", source, "--http-port", ports[0], "--grpc-port", ports[1]]
        self.log = Path(f"{source}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*map(str, [*command, *options])], stderr=log, stdout=log)
        end = time.monotonic() + seconds
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise RuntimeError(self.log.read_text())
            time.sleep(0.05)

    def ready(self) -> bool:
        try:
            return self.get("/v2/health/ready")[0] == 200
        except OSError:
            return False

    def get(self, path: str, body: bytes | None = None, headers: Any = None) -> tuple[int, bytes]:
        """Status and body of a GET, or of a POST of the body."""
        request = urllib.request.Request(f"http://{self.http}{path}", body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.status, error.read()

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def stop(self) -> int:
        """Ends it by SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.stop()
