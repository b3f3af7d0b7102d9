"""Runs cases in processes that are replaced when they crash or hang, and keeps what is known on disk."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tflgpu.conformance import log as results_log
from tflgpu.conformance import verdicts
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.verdicts import Result, from_dict

CHUNK = 24
"""Cases that a worker takes at a time: neighbours, which share compiled programs."""
READY_S = 120.0


class DelegateUnavailable(RuntimeError):
    """The delegate could not be opened in a worker; the text says why."""


class Worker:
    """One process that runs cases one after another, in a folder, whose `tflgpu` it uses if there is one."""

    def __init__(self, settings: Settings, folder: Path | None = None):
        self._settings, self._folder = settings, folder
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._errors: Any = None
        self.device = ""

    def run(self, name: str, timeout_s: float) -> Result:
        """The result of a case; a crash or a hang is one too, and ends the process.

        Raises DelegateUnavailable where no process can open the delegate.
        """
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(json.dumps({"case": name}) + "\n")
            process.stdin.flush()
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.stop()
            return _bare(name, verdicts.TIMED_OUT, f"no answer within {timeout_s:g} s", timeout_s * 1e3)
        except OSError:
            line = None
        if line is None:
            return _bare(name, verdicts.CRASHED, self._cause())
        answer = json.loads(line)
        if "raised" in answer:
            return _bare(name, verdicts.ERROR, answer["raised"])
        return from_dict(answer)

    def stop(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (stop closes it)
        environment = dict(os.environ, PYTHONUTF8="1")
        environment.pop("PYTHONFAULTHANDLER", None)
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tflgpu.conformance.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=self._folder,
        )
        self._answers = queue.Queue()
        threading.Thread(target=_read, args=(self._process.stdout, self._answers), daemon=True).start()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(self._settings.as_dict()) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=READY_S)
        except queue.Empty:
            self.stop()
            raise DelegateUnavailable(f"opening {self._settings.delegate} took more than {READY_S:g} s") from None
        except OSError:
            line = None
        answer = {"failed": f"opening it crashed: {self._cause()}"} if line is None else json.loads(line)
        if "failed" in answer:
            self.stop()
            raise DelegateUnavailable(answer["failed"])
        self.device = answer["ready"]

    def _cause(self) -> str:
        """Why the process ended, with the last it said; it is gone after this."""
        process = self._process
        assert process is not None
        status = process.wait()
        self._errors.seek(0)
        last = " / ".join(line.strip() for line in self._errors.read()[-2000:].splitlines()[-3:] if line.strip())
        self.stop()
        how = f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
        return f"the process ended with {how}" + (f": {last}" if last else "")


def _read(stream: Any, answers: queue.Queue[str | None]) -> None:
    try:
        for line in stream:
            answers.put(line)
    except (OSError, ValueError):
        pass
    answers.put(None)


def _bare(name: str, verdict: str, why: str, elapsed_ms: float = 0.0) -> Result:
    op, _, rest = name.partition("[")
    return Result(name, "", op, rest.split(",")[0].rstrip("]"), verdict, why, elapsed_ms=elapsed_ms)


def run_all(
    names: Sequence[str],
    settings: Settings,
    *,
    jobs: int = 2,
    timeout_s: float = 60.0,
    log: Path | None = None,
    resume: bool = False,
    seen: Callable[[Result], None] = lambda result: None,
    devices: set[str] | None = None,
) -> list[Result]:
    """The results of all names, in their order. seen: is told each as it comes, from one thread at a time.

    devices: gets what the delegate says of itself, and so of its device, in the processes that opened it.
    log: a file that gets each result as a line of JSON. resume: what it already has is not run again.
    Raises DelegateUnavailable where the delegate cannot be opened, OtherRun where the log is of another run.
    """
    known = results_log.resumed(log, settings) if log is not None and resume else {}
    results = {name: known[name] for name in names if name in known}
    for result in results.values():
        seen(result)
    left = [name for name in names if name not in results]
    lock = threading.Lock()
    if log is not None and not resume:
        results_log.begin(log, settings)

    def keep(result: Result) -> None:
        with lock:
            results[result.name] = result
            if log is not None:
                results_log.append(log, result)
            seen(result)

    workers = [Worker(settings) for _ in range(max(1, min(jobs, len(left))))]
    _pooled(left, workers, timeout_s, keep)
    if devices is not None:
        devices |= {worker.device for worker in workers if worker.device}
    return [results[name] for name in names]


def _pooled(names: Sequence[str], workers: Sequence[Worker], timeout_s: float, keep: Callable[[Result], None]) -> None:
    """Runs the names on the workers, a thread each; raises what stops one of them, and ends their processes."""
    chunks: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    size = max(1, min(CHUNK, -(-len(names) // (4 * len(workers)))))
    for start in range(0, len(names), size):
        chunks.put(list(names[start : start + size]))
    trouble: list[BaseException] = []

    def work(worker: Worker) -> None:
        try:
            for name in _taken(chunks, trouble):
                keep(worker.run(name, timeout_s))
        except Exception as error:
            trouble.append(error)
        finally:
            worker.stop()

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as interruption:  # of the user, at the keyboard
        trouble.append(interruption)
        for worker in workers:
            worker.stop()
        raise
    if trouble:
        raise trouble[0]


def _taken(chunks: queue.SimpleQueue[list[str]], trouble: list[BaseException]) -> Iterator[str]:
    """Names, chunk by chunk, until there are none or another worker is in trouble."""
    while True:
        try:
            chunk = chunks.get_nowait()
        except queue.Empty:
            return
        for name in chunk:
            if trouble:
                return
            yield name


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many results there are of each verdict that occurs."""
    found = dict.fromkeys(verdicts.VERDICTS, 0)
    for result in results:
        found[result.verdict] += 1
    return {verdict: number for verdict, number in found.items() if number}
