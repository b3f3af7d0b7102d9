"""Processes that end while models run, in all ways; as a program, many times each.

    python tests/process_ends.py [--count 200] [--device NAME ...] [--end WORDS ...] [--json FILE]

prints a table of how many ended otherwise than the same program without tflgpu: by a signal, with another status, or
with other output. What some of those said follows. The moment of the end differs from one process to the next.
One process imports everything, and forks those that end; each opens its device itself.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEVICES = ("cpu", "cpu with two threads", "pocl", "intel", "emulator")

PROGRAM = """
import json, os, signal, sys, tempfile, threading, time
import numpy as np, tflgpu
import tflgpu.arguments, tflgpu.ops.shares, tflgpu.delegates.cuda.delegate
from tflgpu.model.builder import ModelBuilder
from tflgpu import InterpreterWithCustomOps
from tflgpu.ops.custom.custom import custom_op

def make(*last):
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [64, 64])
    for number in range(8):
        weights, y = g.constant(f"w{number}", np.eye(64, dtype=np.float32)), g.tensor(f"y{number}", "FLOAT32", [64, 64])
        g.node("FULLY_CONNECTED", [x, weights], [y])
        x = y
    for op in last:
        y = g.tensor("last", "FLOAT32", [64, 64])
        g.custom(op.name, [x], [y])
        x = y
    g.outputs(x)
    arguments = {"experimental_delegates": delegates, "num_threads": threads}
    interpreter = InterpreterWithCustomOps(last, model_content=m.build(), **arguments)
    interpreter.allocate_tensors()
    return interpreter

def always(work):
    while True:
        work()

def load(**options):
    if device.startswith("cpu"):
        return []
    name = "cuda" if device == "emulator" else "opencl"
    return [tflgpu.load_delegate(name, {"device": device, **options})]

device, jobs = sys.argv[1], json.loads(sys.argv[2])
threads = 2 if "two threads" in device else 1
tflgpu.ops.shares.LEAST_WORK = 1
tflgpu.arguments.usable_processors = lambda: 2
if device in ("pocl", "intel"):
    import tflgpu.delegates.opencl.device

for body, delay in jobs:
    files = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
    child = os.fork()
    if not child:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number + 1)
        break
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = [os.pread(file.fileno(), 1 << 20, 0).decode() for file in files]
    print(json.dumps([status, *said]), flush=True)
else:
    sys.exit()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
signal.alarm(120)  # a process that hangs ends by a signal
delegates = load()
exec(body)
print("done", flush=True)
"""


@dataclass(frozen=True)
class End:
    """What a process runs, and how it ends. says: the last line of its errors; without it there are none."""

    body: str
    status: int = 0
    says: str = ""


ENDS = {
    "while a daemon thread invokes": End(
        """
        threading.Thread(target=always, args=[make().invoke], daemon=True).start()
        time.sleep(delay)
        """
    ),
    "while a daemon thread compiles": End(
        """
        delegates = load(cache_dir="none")
        threading.Thread(target=make, daemon=True).start()
        time.sleep(delay)
        """
    ),
    "by sys.exit in a callback": End(
        """
        def leave(node, x):
            sys.exit(7)
        make(custom_op("Leave", leave, lambda node: [node.inputs[0].shape], register=False)).invoke()
        """,
        7,
    ),
    "by sys.exit while a daemon thread is in a callback": End(
        """
        def linger(node, x):
            time.sleep(delay)
            return x
        made = make(custom_op("Linger", linger, lambda node: [node.inputs[0].shape], register=False))
        threading.Thread(target=always, args=[made.invoke], daemon=True).start()
        time.sleep(delay)
        sys.exit(7)
        """,
        7,
    ),
    "after an interpreter was freed in another thread": End(
        """
        made = [make(), make()]
        for interpreter in made:
            interpreter.invoke()
        del interpreter
        thread = threading.Thread(target=made.clear)
        thread.start()
        thread.join()
        """
    ),
    "by an interrupt of invoke": End(
        """
        invoke = make().invoke
        threading.Timer(delay, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            always(invoke)
        except KeyboardInterrupt:
            invoke()
            raise SystemExit(5)
        """,
        5,
    ),
    "by an interrupt of invoke that nothing catches": End(
        """
        invoke = make().invoke
        threading.Timer(delay, os.kill, [os.getpid(), signal.SIGINT]).start()
        always(invoke)
        """,
        -signal.SIGINT,
        "KeyboardInterrupt",
    ),
}


def wrong(device: str, ends: Sequence[str], delays: Sequence[float]) -> list[str]:
    """For each process of this device, what is wrong with how it ends after its delay in seconds; "" for nothing."""
    jobs = [(textwrap.dedent(ENDS[end].body), delay) for end, delay in zip(ends, delays, strict=True)]
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, device, json.dumps(jobs)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [judged(ENDS[end], *json.loads(line)) for end, line in zip(ends, ran.stdout.splitlines(), strict=True)]


def judged(wanted: End, status: int, output: str, errors: str) -> str:
    """What is wrong with a process that ended like this."""
    last = ["", *errors.strip().splitlines()][-1]
    silent = bool(wanted.says) or not errors
    if (status, last, silent) == (wanted.status, wanted.says, True) and output == ("" if status else "done\n"):
        return ""
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"{ended}, {output!r}, {errors[-2000:]}"


def table(counts: dict[str, dict[str, str]]) -> str:
    """Markdown: a row for each end, a column for each device."""
    devices = list(next(iter(counts.values())))
    rows = [["the process ends", *devices], ["---"] * (len(devices) + 1)]
    rows += [[end, *row.values()] for end, row in counts.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--device", nargs="+", choices=DEVICES, default=DEVICES)
    parser.add_argument("--end", nargs="+", choices=ENDS, default=list(ENDS))
    parser.add_argument("--json", type=Path, help="where to write the counts and what failed")
    given = parser.parse_args(arguments)
    counts: dict[str, dict[str, str]] = {end: dict.fromkeys(given.device, "") for end in given.end}
    failures: list[str] = []
    for device in given.device:
        for end in given.end:
            start = time.monotonic()
            found = wrong(device, [end] * given.count, [0.02 + 0.005 * (number % 40) for number in range(given.count)])
            failures += [f"{device}, {end}: {text}" for text in found if text]
            counts[end][device] = f"{sum(map(bool, found))} of {given.count}"
            print(f"{device}, {end}: {counts[end][device]} wrong, {time.monotonic() - start:.0f} s", flush=True)
            if given.json:
                given.json.write_text(json.dumps({"wrong": counts, "failures": failures}, indent=1) + "\n")
    print(table(counts), *failures[:20], sep="\n")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
