"""Strings and 4-bit integers between our interpreter and native delegates, in the layouts that C has for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from abi.abi_libraries import compiled

import tflgpu
from tflgpu.model.builder import ModelBuilder

RUNTIMES = ["ai_edge_litert.interpreter", "tflgpu"]


def model(op: str, type: str, shape: tuple[int, ...]) -> bytes:
    """x -> op -> op: the second reads what the first one's kernel made."""
    m = ModelBuilder()
    g = m.graph()
    x, y, z = g.input("x", type, shape), g.tensor("y", type, shape), g.tensor("z", type, shape)
    g.custom(op, [x], [y])
    g.custom(op, [y], [z])
    g.outputs(z)
    return m.build()


def run(runtime: Any, data: bytes, *values: Any) -> list[Any]:
    it = runtime.Interpreter(
        model_content=data, experimental_delegates=[runtime.load_delegate(str(compiled("packer")))]
    )
    it.allocate_tensors()
    found = []
    for value in values:
        it.set_tensor(0, value)
        it.invoke()
        found.append(it.get_tensor(it.get_output_details()[0]["index"]))
    return found


@pytest.mark.parametrize("name", RUNTIMES)
def test_strings_cross_in_tensorflow_lite_s_layout(name: str) -> None:
    runtime = tflgpu if name == "tflgpu" else pytest.importorskip(name)
    data = model("Shout", "STRING", (2, 2))
    texts = [np.array([[b"ab", b""], ["grüße".encode(), b"x" * 500]], object), np.full((2, 2), b"o", object)]
    for text, got in zip(texts, run(runtime, data, *texts), strict=True):
        want = [[bytes(s).upper() + b"!!" for s in row] for row in text]
        assert [[bytes(s) for s in row] for row in got] == want


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (1,)])
def test_four_bit_integers_cross_two_to_a_byte(shape: tuple[int, ...]) -> None:
    data = model("Increment", "INT4", shape)
    values = np.resize(np.arange(-8, 8, dtype=np.int8), shape)
    got = run(tflgpu, data, values, values[::-1])
    for given, found in zip((values, values[::-1]), got, strict=True):
        np.testing.assert_array_equal(found, (given.astype(int) + 2 + 8) % 16 - 8)
