"""However a process ends while models run: its exit status and its output are those of a process without delegates."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest
from opencl_runtimes import require

SETUP = """
import os, signal, sys, threading, time
import numpy as np, tflgpu
from tflgpu.model.builder import ModelBuilder
from tflgpu.interpreter import InterpreterWithCustomOps
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
    interpreter = InterpreterWithCustomOps(last, model_content=m.build(), experimental_delegates=delegates)
    interpreter.allocate_tensors()
    return interpreter

def always(work):
    while True:
        work()

device = sys.argv[1]
delegates = [] if device == "cpu" else [tflgpu.load_delegate("opencl", {"device": device})]
"""

ENDS = {
    "while a daemon thread invokes": (
        """
        threading.Thread(target=always, args=[make().invoke], daemon=True).start()
        time.sleep(0.1)
        """,
        0,
    ),
    "while a daemon thread compiles": (
        """
        if delegates:
            delegates[0] = tflgpu.load_delegate("opencl", {"device": device, "cache_dir": "none"})
        threading.Thread(target=make, daemon=True).start()
        time.sleep(0.1)
        """,
        0,
    ),
    "by sys.exit in a callback": (
        """
        def leave(node, x):
            sys.exit(7)
        make(custom_op("Leave", leave, lambda node: [node.inputs[0].shape], register=False)).invoke()
        """,
        7,
    ),
    "after an interpreter was freed in another thread": (
        """
        made = [make(), make()]
        for interpreter in made:
            interpreter.invoke()
        del interpreter
        thread = threading.Thread(target=made.clear)
        thread.start()
        thread.join()
        """,
        0,
    ),
    "by an interrupt of invoke": (
        """
        invoke = make().invoke
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            always(invoke)
        except KeyboardInterrupt:
            invoke()
            raise SystemExit(5)
        """,
        5,
    ),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("device", ["cpu", "PoCL", "Intel"])
def test_a_process_ends_as_without_delegates(device: str, end: str) -> None:
    device = device if device == "cpu" else require(device)
    body, status = ENDS[end]
    script = f"{SETUP}\n{textwrap.dedent(body)}\nprint('done', flush=True)\n"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, device], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (status, ""), (signal.strsignal(-ran.returncode), ran.stderr)
    assert ran.stdout == ("" if status else "done\n")
