"""Messages say what to do about the mistakes that people make most."""

from __future__ import annotations

import numpy as np
import pytest
from checkout import EXAMPLES

import tflgpu
from tflgpu.model.builder import ModelBuilder

DIGITS = EXAMPLES / "digits" / "digits_float32.tflite"


@pytest.fixture
def digits() -> tflgpu.Interpreter:
    interpreter = tflgpu.Interpreter(DIGITS)
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 1, 8, 8), r"in NCHW, the model reads NHWC: array.transpose\(0, 2, 3, 1\) is \[1, 8, 8, 1\]"),
        ((8, 8, 1), r"lacks the batch dimension: array\[np.newaxis\] is \[1, 8, 8, 1\]"),
    ],
)
def test_an_array_in_another_layout_is_told_how_to_become_the_models(digits, shape, text):
    with pytest.raises(ValueError, match=text):
        digits.set_tensor(0, np.zeros(shape, np.float32))


def test_a_model_that_cannot_take_resized_inputs_names_them(digits):
    digits.resize_tensor_input(0, [1, 1, 8, 8])
    with pytest.raises(
        RuntimeError, match=r"resized: 'image' from \[1, 8, 8, 1\] to \[1, 1, 8, 8\]\) The array is in NCHW"
    ):
        digits.allocate_tensors()
    with pytest.raises(RuntimeError, match=r"BytesRequired .*\n.*sizes are 0 or more; for a -1 of"):
        digits.resize_tensor_input(0, [-1, 8, 8, 1])


def test_a_flex_operator_says_what_can_be_done(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    m = ModelBuilder()
    g = m.graph()
    y = g.tensor("y", "FLOAT32", [2])
    g.custom("FlexDecodeJpeg", [g.input("x", "STRING", [2])], [y])
    g.outputs(y)
    with pytest.raises(
        RuntimeError,
        match=r"Flex delegate before inference.[\s\S]*'tflgpu\[flex\]'[\s\S]*tflgpu.custom_op\('FlexDecodeJpeg'",
    ):
        tflgpu.Interpreter(model_content=m.build()).allocate_tensors()


def test_a_misspelt_name_is_answered_with_the_one_that_was_meant():
    pytest.importorskip("pyopencl")
    for options, text in (
        ({"precison": "fp32"}, r"unknown option 'precison' \(did you mean 'precision'\?\)"),
        ({"precision": "fp23"}, r"expected one of fp32, fp16 \(did you mean 'fp32'\?\)"),
    ):
        with pytest.raises(ValueError, match=text):
            tflgpu.load_delegate("opencl", options)
    with pytest.raises(OSError, match=r"\(did you mean 'opencl'\?\)"):
        tflgpu.load_delegate("openc")
