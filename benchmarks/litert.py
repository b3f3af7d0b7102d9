"""How long models take here beside LiteRT, in one process, alternating: the ratio counts, not the milliseconds.

    python benchmarks/litert.py MODEL.tflite ... [--peer builtin|xnnpack|reference] [--delegate NAME] [--threads N]
                                                 [--clock wall|cpu]
    python benchmarks/litert.py --overhead       one node, and the peak memory of the models given

A ratio below 1 says that tflgpu is faster. Both sides run alternately, for `--seconds` each, and the least time of
each counts. --clock cpu takes the processor time of the process, for machines that others use too: with one thread it
is what the wall clock would show on an idle one. --threads is given to both. A model that LiteRT cannot run is left out
and named. --json appends what was measured, with the machine's name, to a file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tflgpu
from tflgpu.model.builder import ModelBuilder

RESOLVERS = {"builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "xnnpack": "BUILTIN", "reference": "BUILTIN_REF"}


def machine() -> str:
    """The processor's name and how many are used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} processors"


def prepared(interpreter: Any, seed: int = 0) -> Any:
    """The interpreter, allocated and fed with seeded random inputs."""
    interpreter.allocate_tensors()
    generator = np.random.default_rng(seed)
    for d in interpreter.get_input_details():
        dtype = np.dtype(d["dtype"])
        if dtype.kind == "f":
            value = generator.uniform(-1, 1, d["shape"]).astype(dtype)
        elif dtype.kind in "iu" and dtype.itemsize <= 2:
            limits = np.iinfo(dtype)
            value = generator.integers(limits.min, limits.max, d["shape"], endpoint=True).astype(dtype)
        else:
            value = np.zeros(d["shape"], dtype if dtype.kind != "S" else object)
        interpreter.set_tensor(d["index"], value)
    interpreter.invoke()
    return interpreter


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def least_ms(interpreters: list[Any], seconds: float, clock: str = "wall") -> list[float]:
    """The least time of an invoke of each, alternating."""
    now = CLOCKS[clock]
    least = [math.inf] * len(interpreters)
    end = time.perf_counter() + seconds * len(interpreters)
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for i, interpreter in enumerate(interpreters):
            start = now()
            interpreter.invoke()
            least[i] = min(least[i], (now() - start) * 1e3)
        rounds += 1
    return least


def measure(path: str, arguments: argparse.Namespace) -> dict[str, Any]:
    from ai_edge_litert import interpreter as litert

    options = dict(pair.split("=", 1) for pair in arguments.option)
    delegates = [tflgpu.load_delegate(arguments.delegate, options)] if arguments.delegate else None
    ours = tflgpu.Interpreter(model_path=path, experimental_delegates=delegates, num_threads=arguments.threads)
    theirs = litert.Interpreter(
        model_path=path,
        num_threads=arguments.threads,
        experimental_op_resolver_type=getattr(litert.OpResolverType, RESOLVERS[arguments.peer]),
    )
    mine, other = least_ms([prepared(ours), prepared(theirs)], arguments.seconds, arguments.clock)
    return {"model": Path(path).stem, "ms": mine, "peer_ms": other, "ratio": mine / other}


def one_node_us() -> float:
    """Microseconds of an invoke of a model of one node."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [1, 16])
    y = g.tensor("y", "FLOAT32", [1, 16])
    g.node("NEG", [x], [y])
    g.outputs(y)
    return least_ms([prepared(tflgpu.Interpreter(model_content=m.build()))], 1.0)[0] * 1e3


def peak_memory(path: str) -> dict[str, Any]:
    """Bytes that opening, preparing and invoking a model adds to a process, in one of its own."""
    told = subprocess.run([sys.executable, __file__, "--rss", path], capture_output=True, text=True, check=True)
    facts: dict[str, Any] = json.loads(told.stdout)
    return facts


def report_rss(path: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    interpreter = prepared(tflgpu.Interpreter(model_path=path))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    arena = sum(graph.executor.first.arena_nbytes for graph in interpreter._graphs if graph.executor is not None)
    file = os.path.getsize(path)
    print(json.dumps({"model": Path(path).stem, "added": after - before, "file": file, "arena": arena}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--peer", choices=RESOLVERS, default="builtin")
    parser.add_argument("--delegate", default="")
    parser.add_argument("--option", action="append", default=[], help="key=value for the delegate")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--rss", help=argparse.SUPPRESS)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    if arguments.rss:
        report_rss(arguments.rss)
        return
    found: dict[str, Any] = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "clock": arguments.clock,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "threads": arguments.threads,
        "peer": f"LiteRT {RESOLVERS[arguments.peer]}, {arguments.threads} threads",
        "delegate": arguments.delegate or "none (CPU executor)",
    }
    if arguments.overhead:
        found["one_node_us"] = one_node_us()
        found["memory"] = [peak_memory(path) for path in arguments.models]
    else:
        found["models"], found["left_out"] = [], {}
        for path in arguments.models:
            try:
                row = measure(path, arguments)
            except (ValueError, RuntimeError) as error:
                found["left_out"][Path(path).stem] = str(error).splitlines()[0]
                continue
            found["models"].append(row)
            print(f"{row['model']:50} {row['ms']:9.3f} ms  LiteRT {row['peer_ms']:9.3f} ms  ratio {row['ratio']:.3f}")
        for name, reason in found["left_out"].items():
            print(f"{name:50} left out: {reason}")
        ratios = [row["ratio"] for row in found["models"]]
        if ratios:
            found["geometric_mean"] = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"geometric mean {found['geometric_mean']:.3f} over {len(ratios)} models")
    if arguments.overhead:
        print(json.dumps(found, indent=1))
    if arguments.json:
        file = Path(arguments.json)
        before = json.loads(file.read_text()) if file.exists() else []
        file.write_text(json.dumps([*before, found], indent=1) + "\n")


if __name__ == "__main__":
    main()
