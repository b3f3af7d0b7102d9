"""Invokes and resizes a model many times, and fails where memory on the host or the GPU keeps growing.

python ci/gpu_leak.py [--device 0|emulator] [--invokes 10000] [--resizes 200]
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from architectures import Network
from models import tflite

import tflgpu

SLACK = 8 << 20
"""Bytes that allocators may keep without being a leak."""


def host_bytes() -> int:
    """Resident bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("no VmRSS in /proc/self/status")


def device_bytes(device: str) -> int:
    """Bytes in use on the GPU, by all; 0 on the emulator."""
    if device == "emulator":
        return 0
    import cupy

    with cupy.cuda.Device(int(device)):
        free, total = cupy.cuda.runtime.memGetInfo()
    return int(total - free)


def model() -> bytes:
    net = Network((1, 16, 16, 8))
    x = net.conv(net.input, 32, 3, 2, "RELU6")
    x = net.add(x, net.conv(net.depthwise(x), 32))
    net.unary("LOGISTIC", net.mean(x))
    return tflite(net)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="0")
    parser.add_argument("--invokes", type=int, default=10_000)
    parser.add_argument("--resizes", type=int, default=200)
    given = parser.parse_args()
    delegate = tflgpu.load_delegate("cuda", {"device": given.device, "require_full": True})
    interpreter = tflgpu.Interpreter(model_content=model(), experimental_delegates=[delegate])
    index = interpreter.get_input_details()[0]["index"]

    def invoke() -> None:
        interpreter.set_tensor(index, np.ones(interpreter.get_input_details()[0]["shape"], np.float32))
        interpreter.invoke()

    def resize(side: int) -> None:
        interpreter.resize_tensor_input(index, [1, side, side, 8])
        interpreter.allocate_tensors()
        invoke()

    failures = 0
    interpreter.allocate_tensors()
    for what, count, work in (
        ("invokes", given.invokes, lambda i: invoke()),
        ("resizes", given.resizes, lambda i: resize(12 + i % 7)),
    ):
        for i in range(count // 10 + 20):
            work(i)
        gc.collect()
        before = host_bytes(), device_bytes(given.device)
        for i in range(count):
            work(i)
        gc.collect()
        grown = host_bytes() - before[0], device_bytes(given.device) - before[1]
        failures += max(grown) > SLACK
        print(f"{count} {what}: host {grown[0]:+,} bytes, device {grown[1]:+,} bytes")
    return failures


if __name__ == "__main__":
    sys.exit(main())
