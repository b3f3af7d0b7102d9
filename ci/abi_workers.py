"""Processes that run cases of abi_corpus.py: a crash or a time-out of one is a verdict."""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
from typing import Any

BAD = ("refused", "differs", "crash", "time-out")


class Worker:
    """A process that runs cases, started anew when one ends it."""

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None

    def ask(self, name: str) -> dict[str, Any]:
        """The row of a case."""
        dead: dict[str, str] = {}
        while True:
            row, at, why = self._try(name, dead)
            if row is not None:
                verdict = next((why for stage, why in dead.items() if stage in ("guest", "host")), None)
                return {**row, "verdict": verdict.split()[0]} if verdict else row
            if at in dead:
                return {"case": name, "ops": [], "verdict": why.split()[0], "text": f"{at}: {why}"}
            dead[at] = why

    def _try(self, name: str, dead: dict[str, str]) -> tuple[dict[str, Any] | None, str, str]:
        if self._process is None:
            command = [sys.executable, *sys.argv, "--worker"]
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                stderr=subprocess.DEVNULL,
            )
        process, at, expired = self._process, "start", threading.Event()
        assert process.stdin is not None and process.stdout is not None

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self._timeout, expire)
        timer.start()
        try:
            process.stdin.write(json.dumps([name, dead]) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if "at" not in answer:
                    return answer, "", ""
                at = answer["at"]
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        status = process.wait()
        self._process = None
        return None, at, f"time-out after {self._timeout:g} s" if expired.is_set() else f"crash with status {status}"

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()


def collect(names: list[str], arguments: argparse.Namespace) -> None:
    """Runs the cases and appends their rows to the file of results."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    lock = threading.Lock()

    def serve() -> None:
        worker = Worker(arguments.timeout)
        while True:
            try:
                row = worker.ask(waiting.get_nowait())
            except queue.Empty:
                worker.close()
                return
            with lock, arguments.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if row["verdict"] in BAD:
                print(f"{row['verdict']:13} {row['case']}: {row.get('text', '')[:200]}", flush=True)

    threads = [threading.Thread(target=serve) for _ in range(arguments.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
