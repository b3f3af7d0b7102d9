"""How long models take on a busy machine: beside processes that compute without end, here and in LiteRT with XNNPACK.

    python benchmarks/busy.py MODEL.tflite ... [--busy N] [--threads N] [--device intel] [--seconds S] [--json FILE]

All sides run in one process, alternating for a tenth of a second each, and what counts is the mean time of an invoke,
to which every wait of one thread for another adds. A ratio is to LiteRT's time beside the same load; --busy 0 is the
machine without that load. --threads is given to all. A model that a side cannot run is left out and named.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litert import machine, prepared

import tflgpu

SLICE_S = 0.1
SIDES = ("cpu", "opencl", "litert")


@contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that compute until it ends."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def mean_ms(interpreters: Sequence[Any], seconds: float) -> list[float]:
    """The mean time of an invoke of each over `seconds`, alternating."""
    elapsed, invokes = [0.0] * len(interpreters), [0] * len(interpreters)
    while min(elapsed) < seconds:
        for i, interpreter in enumerate(interpreters):
            start = time.perf_counter()
            while time.perf_counter() - start < SLICE_S:
                interpreter.invoke()
                invokes[i] += 1
            elapsed[i] += time.perf_counter() - start
    return [1e3 * total / count for total, count in zip(elapsed, invokes, strict=True)]


def sides(path: str, delegate: Any, threads: int) -> list[Any]:
    """The model as each of SIDES runs it, fed."""
    from ai_edge_litert import interpreter as litert

    return [
        prepared(tflgpu.Interpreter(model_path=path, num_threads=threads)),
        prepared(tflgpu.Interpreter(model_path=path, num_threads=threads, experimental_delegates=[delegate])),
        prepared(litert.Interpreter(model_path=path, num_threads=threads)),
    ]


def measured(paths: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    delegate = tflgpu.load_delegate("opencl", {"device": arguments.device})
    rows, left_out = [], {}
    for path in paths:
        name = Path(path).stem
        try:
            interpreters = sides(path, delegate, arguments.threads)
        except (ValueError, RuntimeError) as error:
            left_out[name] = str(error).splitlines()[0]
            continue
        row: dict[str, Any] = {"model": name}
        for busy in sorted({0, arguments.busy}):
            with load(busy):
                times = dict(zip(SIDES, mean_ms(interpreters, arguments.seconds), strict=True))
            row[f"busy_{busy}"] = times
            ratios = "  ".join(f"{side} {times[side]:9.3f} ms {times[side] / times['litert']:6.2f}" for side in SIDES)
            print(f"{name[:44]:44} beside {busy}: {ratios}", flush=True)
        rows.append(row)
    for name, reason in left_out.items():
        print(f"{name}: left out: {reason}")
    return {"models": rows, "left_out": left_out}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The geometric mean and the greatest of the ratios to LiteRT, by load and side."""
    found: dict[str, Any] = {}
    for busy in [key for key in rows[0] if key.startswith("busy_")] if rows else []:
        for side in SIDES[:-1]:
            ratios = [row[busy][side] / row[busy]["litert"] for row in rows]
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            found[f"{side}, {busy}"] = {"geometric_mean": mean, "greatest": max(ratios)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="intel")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", type=Path, help="a file to which what was measured is appended")
    arguments = parser.parse_args()
    others = os.getloadavg()[0]
    found = measured(arguments.models, arguments)
    found["summary"] = summary(found["models"])
    for what, ratios in found["summary"].items():
        print(f"{what}: geometric mean {ratios['geometric_mean']:.2f}, greatest {ratios['greatest']:.2f}")
    if arguments.json:
        about = {"machine": machine(), "date": datetime.date.today().isoformat(), "device": arguments.device}
        about |= {"threads": arguments.threads, "busy": arguments.busy, "clock": "wall, mean", "load_before": others}
        before = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
        arguments.json.write_text(json.dumps([*before, {**about, **found}], indent=1) + "\n")


if __name__ == "__main__":
    main()
