"""The first fifteen seconds on a GPU: each thing that everything else needs, alone, and what to do where it fails.

python ci/gpu_smoke.py [--device 0|emulator]
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from architectures import Network
from kit import fed
from loop_models import large
from models import tflite

import tflgpu
from tflgpu.conformance.cases.tiles import dense, named

TEXT = """extern "C" __global__ void twice(const float* x, float* y) {
    y[threadIdx.x] = 2 * x[threadIdx.x];
}
"""


class LastOf:
    """Instead of a tuner: takes the last variant, which is cuBLAS where there is one."""

    def choose(self, device: Any, launch: Any, bind: Any) -> Any:
        return launch.variants[-1] if launch.variants else launch


class Smoke:
    """The checks, on one device. Each raises what went wrong."""

    def __init__(self, device: str):
        self._number, self._rng = device, np.random.default_rng(0)
        self.device: Any = self._loaded().device

    def _loaded(self, **options: Any) -> Any:
        return tflgpu.load_delegate(
            "cuda", {"device": self._number, "require_full": True, "cache_dir": "none"} | options
        )

    def _same(self, model: bytes, values: list[Any], delegate: Any) -> None:
        """Three invokes, the first of which is recorded and the others replayed, against the CPU's."""
        outputs = []
        for delegates in ([], [delegate]):
            interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=delegates)
            interpreter.allocate_tensors()
            for _ in range(3 if delegates else 1):
                for detail, value in zip(interpreter.get_input_details(), values, strict=True):
                    interpreter.set_tensor(detail["index"], value)
                interpreter.invoke()
            outputs.append([interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()])
        for got, want in zip(outputs[1], outputs[0], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
        if "plain launches" in interpreter.delegation_report():
            raise RuntimeError(interpreter.delegation_report())

    def file(self) -> None:
        """A kernel compiled by NVRTC, loaded from its file and launched."""
        self._twice(lambda run: run)

    def replayed(self) -> None:
        """The same, recorded as a graph and replayed."""
        self._twice(self.device.recorded)

    def _twice(self, made: Callable[[Any], Any]) -> None:
        device, x, y = self.device, np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
        buffers = [device.allocate(256) for _ in range(2)]
        device.upload(buffers[0], x)
        made(device.sequence([device.bind(device.kernel(TEXT, "twice"), buffers, (1,), (64,))]))()
        device.download(buffers[1], y)
        np.testing.assert_array_equal(y, 2 * x)

    def cooperative(self) -> None:
        """A loop on several blocks, in one cooperative launch."""
        self._same(large(), [np.int32(0), self._rng.normal(size=(1, 300)).astype(np.float32)], self._loaded())

    def tensor_cores(self) -> None:
        """An int8 convolution on tensor cores."""
        net = Network((1, 8, 8, 64))
        net.conv(net.input, 64)
        self._same(tflite(net, "int8"), [self._rng.integers(-60, 60, (1, 8, 8, 64)).astype(np.int8)], self._loaded())

    def cublas(self) -> None:
        """cuBLAS, recorded."""
        delegate = self._loaded(autotune=True)
        if not delegate.device.limits.has("cublas"):
            raise RuntimeError("; ".join(delegate.device.notes))
        delegate.device.tuner = LastOf()
        model, values = fed(named("gemm", "by cuBLAS", dense("FLOAT32", 33, 64, 128)))
        self._same(model, values, delegate)


CHECKS = {
    "file": "give RawModule the text instead of a path: if only that works, the file is not what the "
    "driver wants (cuda/compiler.py, whole); if neither does, the driver is older than NVRTC's CUDA",
    "replayed": "models run as plain launches meanwhile (option graphs=False shows them alone); look for what is not "
    "allowed while a stream is captured (cuda/device.py, recorded)",
    "cooperative": "only loops need it: look at enable_cooperative_groups and the occupancy in cuda/device.py, bind",
    "tensor_cores": "look at the delegate's notes above: without mma.h int8 takes dp4a; with it, compare gemm_mma.cu "
    "with gemm.cu on this shape",
    "cublas": "only tuned runs need it: look for a cuBLAS of CUDA 12 or 13, and at cuda/cublas.py",
}
"""The checks in order, and what to do where one fails."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="0")
    smoke = Smoke(parser.parse_args().device)
    print(smoke.device.name, *smoke.device.notes, sep="\n", flush=True)
    failed = 0
    for name, advice in CHECKS.items():
        start = time.perf_counter()
        try:
            getattr(smoke, name)()
            print(f"ok      {name} ({time.perf_counter() - start:.2f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {name}: {advice}\n{traceback.format_exc()[-3000:]}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
