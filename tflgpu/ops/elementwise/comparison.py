"""EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL: of numbers, strings and quantized values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.arithmetic import bfloat16
from tflgpu.arithmetic import fixed_point as fp
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise.elementwise import InPlace, binary_shape, require_same_types
from tflgpu.ops.elementwise.quantized_binary import QuantizedBinary, quantized_binary_step
from tflgpu.ops.registry import Step, kernel, require


def _scaled(spec: TensorSpec) -> Callable[[Array, Array, Array], None]:
    """Quantized values to multiples of 1/256, as the reference compares them: f(quantized, out, scratch)."""
    rescale = fp.rescaler(*fp.quantize_multiplier(float(spec.scale)))
    zero_point = np.array(spec.zero_point, np.int64)

    def to_real(quantized: Array, out: Array, scratch: Array) -> None:
        np.subtract(quantized, zero_point, out=out, dtype=np.int64)
        np.left_shift(out, np.int64(8), out=out)
        rescale(out, scratch)

    return to_real


def _quantized_comparison(node: Node, f: np.ufunc) -> QuantizedBinary:
    scale_a, scale_b = _scaled(node.input(0)), _scaled(node.input(1))

    def compare(a: Array, b: Array, out: Array, u: Array, v: Array, scratch: Array) -> None:
        scale_a(a, u, scratch)
        scale_b(b, v, scratch)
        f(u, v, out)

    return QuantizedBinary(lambda: compare, (np.int64,) * 3)


def _has_scales(node: Node) -> bool:
    return node.input(0).quantization is not None and node.input(1).quantization is not None


def _comparison(name: str, f: np.ufunc, version: int, types: str) -> None:
    def through_bfloat16(a: Array, b: Array, out: Array) -> None:
        f(bfloat16.to_float32(a), bfloat16.to_float32(b), out)

    def of_strings(a: Array, b: Array, out: Array) -> None:
        np.copyto(out, f(a, b).astype(np.bool_))

    special: dict[str, InPlace] = {"BFLOAT16": through_bfloat16, "STRING": of_strings}
    # int16 values are ordered without their scales; only equality looks at those.
    scaled = ("INT8", "UINT8", "INT16") if name in ("EQUAL", "NOT_EQUAL") else ("INT8", "UINT8")

    def check(node: Node) -> None:
        require_same_types(node)
        require(node.outputs[0].type == "BOOL", f"{name}: the output is {node.outputs[0].type}; it must be BOOL. ")

    def prepare(node: Node, inputs: tuple[Array, Array], outputs: tuple[Array]) -> Step:
        kind = node.input(0).type
        if kind in scaled and _has_scales(node):
            return quantized_binary_step(_quantized_comparison(node, f), inputs, outputs[0])
        return blocked(special.get(kind, f), inputs, outputs[0])

    register = kernel(name, inputs=2, output_type="BOOL", version=version, types=types, shape=binary_shape, check=check)
    register(prepare)


_NUMBERS = "FLOAT32 FLOAT16 INT8 UINT8 INT16 INT32 INT64"
_comparison("EQUAL", np.equal, 5, f"{_NUMBERS} BOOL STRING")
_comparison("NOT_EQUAL", np.not_equal, 4, f"{_NUMBERS} BOOL STRING")
_comparison("LESS", np.less, 3, f"{_NUMBERS} BFLOAT16")
_comparison("LESS_EQUAL", np.less_equal, 2, _NUMBERS)
_comparison("GREATER", np.greater, 2, f"{_NUMBERS} BFLOAT16")
_comparison("GREATER_EQUAL", np.greater_equal, 3, _NUMBERS)
