"""TFLGPU_DEBUG: what each level prints."""

import pytest

import tflgpu
from tflgpu.model.builder import ModelBuilder


def negated() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [3])
    y = g.tensor("y", "FLOAT32", [3])
    g.node("NEG", [x], [y])
    g.outputs(y)
    return m.build()


@pytest.mark.parametrize("level", ["", "1", "2", "3"])
def test_each_level_prints_more(level, monkeypatch, capsys):
    pytest.importorskip("pyopencl")
    monkeypatch.setenv("TFLGPU_DEBUG", level)
    delegate = tflgpu.load_delegate("opencl", {"require_full": True})
    interpreter = tflgpu.Interpreter(model_content=negated(), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    interpreter.invoke()
    told = capsys.readouterr().err
    assert ("1 nodes delegated out of 1" in told) == (level >= "1")
    assert (" us\n" in told) == (level >= "2")
    assert ("kernel void" in told) == (level >= "3")
