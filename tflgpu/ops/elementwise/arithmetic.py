"""ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE: numbers in place, quantized values as `quantized_arithmetic` has it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.model.graph import Array, Node
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise.elementwise import InPlace, binary_shape, require_same_types
from tflgpu.ops.elementwise.quantized_arithmetic import (
    quantized_difference,
    quantized_div,
    quantized_mul,
    quantized_sum,
    squared_difference,
)
from tflgpu.ops.elementwise.quantized_binary import QuantizedBinary, quantized_binary_step
from tflgpu.ops.fused_activation import clamp, float_range
from tflgpu.ops.registry import OpError, Step, kernel, require
from tflgpu.ops.tensor_quantization import scale_and_zero_point


def plain(f: InPlace, activation: str, dtype: np.dtype) -> InPlace:
    """f, then the activation's clamp. Integers without activation need none, complex numbers have none."""
    if dtype.kind == "c":
        require(activation == "NONE", "Activation is not allowed for COMPLEX64 input.")
        return f
    if dtype.kind in "iu" and activation not in ("RELU", "RELU6", "RELU_N1_TO_1"):
        return f
    lo, hi = (np.array(bound) for bound in float_range(activation, dtype))

    def clamped(a: Array, b: Array, y: Array) -> None:
        f(a, b, y)
        clamp(y, lo, hi, y)

    return clamped


def _whole_quotient(a: Array, b: Array, y: Array) -> None:
    # Exact in double, where INT32_MIN / -1 is beyond int32: TensorFlow Lite's result is the largest int32.
    np.copyto(y, np.minimum(np.divide(a, b, dtype=np.float64), np.iinfo(y.dtype).max), casting="unsafe")


def _division_of(dtype: np.dtype) -> InPlace:
    return np.divide if dtype.kind == "f" else _whole_quotient


def _refusing_zeros(step: Step, b: Array, zero: int) -> Step:
    """The step after a check that b has no element that stands for zero."""

    def check_and_step() -> None:
        if (b == zero).any():
            raise OpError("data[i] != zero_point was not true. ")
        step()

    return check_and_step


def _refuses_zeros(node: Node) -> bool:
    return node.op == "DIV" and node.input(1).dtype.kind != "f"


def _arithmetic(
    name: str, version: int, types: str, f: Callable[[np.dtype], InPlace], quantized: Callable[[Node], QuantizedBinary]
) -> None:
    def quantized_of(node: Node) -> QuantizedBinary | None:
        x, y = node.input(0), node.outputs[0]
        # Without scales ADD and MUL take int16 for plain numbers, ADD by its input's and MUL by its output's.
        decides = {"ADD": x, "MUL": y}.get(name)
        number = x.type == y.type == "INT16" and decides is not None and decides.quantization is None
        return quantized(node) if x.type in ("INT8", "UINT8", "INT16") and not number else None

    def numbers_of(node: Node) -> InPlace:
        dtype = node.input(0).dtype
        if name == "SQUARED_DIFFERENCE":  # which alone has no activation
            return f(dtype)
        return plain(f(dtype), node.options.fused_activation_function, dtype)

    def check(node: Node) -> None:
        require_same_types(node)
        x, y = node.input(0), node.outputs[0]
        narrowing = name == "MUL" and x.type == "INT16" and y.type in ("INT8", "UINT8")
        require(y.type == x.type or narrowing, f"{name}: output {y.type} for inputs {x.type} is not supported. ")
        if quantized_of(node) is None:
            numbers_of(node)
        if _refuses_zeros(node):
            quantization = node.input(1).quantization
            single = quantization is None or not quantization.per_channel
            require(single, "Div only supports per-tensor quantization. ")

    def prepare(node: Node, inputs: tuple[Array, Array], outputs: tuple[Array]) -> Step:
        op = quantized_of(node)
        if op is not None:
            step = quantized_binary_step(op, inputs, outputs[0])
        else:
            step = blocked(numbers_of(node), inputs, outputs[0])
        if not _refuses_zeros(node):
            return step
        return _refusing_zeros(step, inputs[1], scale_and_zero_point(node.input(1))[1])

    # MUL alone leaves the declared type: it may be narrower.
    output_type = None if name == "MUL" else 1
    how = {"output_type": output_type, "shape": binary_shape, "check": check}
    kernel(name, inputs=2, version=version, types=types, **how)(prepare)


_QUANTIZED = "INT8 UINT8 INT16"
_arithmetic("ADD", 6, f"FLOAT32 FLOAT16 INT32 INT64 {_QUANTIZED}", lambda _: np.add, quantized_sum)
_arithmetic("SUB", 5, f"FLOAT32 FLOAT16 INT32 INT64 {_QUANTIZED}", lambda _: np.subtract, quantized_sum)
_arithmetic(
    "MUL", 8, f"FLOAT32 FLOAT16 INT32 UINT32 INT64 COMPLEX64 {_QUANTIZED}", lambda _: np.multiply, quantized_mul
)
_arithmetic("DIV", 2, f"FLOAT32 FLOAT16 INT32 {_QUANTIZED}", _division_of, quantized_div)
_arithmetic("SQUARED_DIFFERENCE", 2, "FLOAT32 FLOAT16 INT32 INT8", lambda _: squared_difference, quantized_difference)
