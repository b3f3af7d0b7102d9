"""The CUDA delegate on the emulator, or on a GPU, and small models for it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from devices import cuda_device

import tflgpu
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

DEVICE = cuda_device()
"""On a GPU the same tests run without the emulator's checks."""

on_emulator = pytest.mark.skipif(DEVICE != "emulator", reason="the arrays of this test are on the emulator's GPU")


@functools.cache
def emulated(**options: Any) -> Any:
    checks = {"check": DEVICE == "emulator"} if options.get("check") else {}
    return load_delegate("cuda", {"device": DEVICE, "require_full": True} | options | checks)


class Always:
    """A tuner that takes the variant of that number, the launch itself being 0, where there are so many."""

    def __init__(self, number: int):
        self.number, self.most = number, 0

    def choose(self, device: Any, launch: Any, bind: Any) -> Any:
        ways = (launch, *launch.variants)
        self.most = max(self.most, len(ways))
        return ways[min(self.number, len(ways) - 1)]


def chain(ops: tuple[str, ...] = ("ABS", "EXP", "NEG")) -> bytes:
    """-exp(|x|) of x (2, 6), or other operators one after another."""
    m = ModelBuilder()
    g = m.graph()
    last = g.input("x", "FLOAT32", [2, 6])
    for op in ops:
        last, before = g.tensor(op, "FLOAT32", [2, 6]), last
        g.node(op, [before], [last])
    g.outputs(last)
    return m.build()


def interpreter_of(model: bytes, delegate: Any) -> Any:
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    return interpreter


def ends(interpreter: Any) -> tuple[int, int]:
    return interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
