"""ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE: numbers in place, quantized values in fixed point or by lookup tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tflgpu.arithmetic import fixed_point as fp
from tflgpu.arithmetic.fixed_point_functions import get_reciprocal
from tflgpu.arithmetic.lookup_tables import all_quantized_values
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise.elementwise import InPlace, binary_shape, require_same_types
from tflgpu.ops.elementwise.quantized_binary import QuantizedBinary, by_tables, quantized_binary_step
from tflgpu.ops.fused_activation import clamp, float_range, quantized_range
from tflgpu.ops.registry import OpError, Step, kernel, require
from tflgpu.ops.tensor_quantization import require_symmetric, scale_and_zero_point

_I32, _I64 = np.int32, np.int64

ToCommonScale = Callable[[Array, Array, Array], None]


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


def _store(zero_point: int, lo: int, hi: int) -> Callable[[Array, Array, Array], None]:
    """f(v, y, narrow): v + zero_point, clamped, as y; overwrites v. narrow: an int32 array, faster to clamp than v."""
    zero, low, high = np.array(zero_point, _I64), np.array(lo, _I32), np.array(hi, _I32)

    def store(v: Array, y: Array, narrow: Array) -> None:
        np.add(v, zero, out=v)
        np.copyto(narrow, v, casting="unsafe")
        clamp(narrow, low, high, narrow)
        np.copyto(y, narrow, casting="unsafe")

    return store


def _at_common_scale(specs: Sequence[TensorSpec], bits: int) -> tuple[float, list[ToCommonScale]]:
    """Twice the larger scale, and what takes each input to 2^-bits of that: f(quantized, out, scratch)."""
    scales = [spec.scale for spec in specs]
    require(all(s > 0 for s in scales), f"scales {scales} must be positive. ")
    twice = float(np.float32(2) * max(scales))

    def scaled(spec: TensorSpec) -> ToCommonScale:
        rescale = fp.rescaler(*fp.quantize_multiplier(float(spec.scale) / twice))
        zero_point, shift = np.array(spec.zero_point, _I64), np.array(bits, _I64)

        def to_common(quantized: Array, out: Array, scratch: Array) -> None:
            np.subtract(quantized, zero_point, out=out, dtype=np.int64)
            np.left_shift(out, shift, out=out)
            rescale(out, scratch)

        return to_common

    return twice, [scaled(spec) for spec in specs]


def _sum_at_common_scale(node: Node, f: np.ufunc) -> QuantizedBinary:
    """ADD and SUB: both inputs at a common scale with 20 (8-bit) or 15 (16-bit) more bits, f, and to the output's."""
    y = node.outputs[0]
    bits = 15 if y.type == "INT16" else 20
    specs = [node.input(0), node.input(1)]
    twice, (scale_a, scale_b) = _at_common_scale(specs, bits)
    real = twice / float(np.float32(1 << bits) * y.scale)
    require(node.op != "ADD" or real < 1, "ADD: the output's scale is too small for the inputs' scales. ")
    m, e = fp.quantize_multiplier(real)
    lo, hi = quantized_range(node.options.fused_activation_function, y)
    if y.dtype.itemsize == 1 and e <= 0:

        def tabulated() -> InPlace:
            first, second = (_table(scale, y.dtype) for scale in (scale_a, scale_b))
            return by_tables(f, first, second, (m, e), y.zero_point, lo, hi)

        return QuantizedBinary(tabulated, (_I64, _I64))
    rescale, store = fp.rescaler(m, e), _store(y.zero_point, lo, hi)

    def compute(a: Array, b: Array, out: Array, u: Array, v: Array, scratch: Array, narrow: Array) -> None:
        scale_a(a, u, scratch)
        scale_b(b, v, scratch)
        f(u, v, out=u)
        rescale(u, scratch)
        store(u, out, narrow)

    return QuantizedBinary(lambda: compute, (_I64, _I64, _I64, _I32))


def _table(to_common: ToCommonScale, dtype: np.dtype) -> Array:
    """What every 8-bit value becomes, in the order of their bits."""
    table = np.empty(256, _I64)
    to_common(all_quantized_values(dtype), table, np.empty_like(table))
    return table


def _sum_at_powers_of_two(node: Node, f: np.ufunc) -> QuantizedBinary | None:
    """The int16 sum where all scales are powers of two and the option allows it, else None."""
    x1, x2, y = node.input(0), node.input(1), node.outputs[0]
    exponents = [fp.log2_if_power_of_two(spec.scale) for spec in (x1, x2, y)]
    if not node.options.pot_scale_int16 or None in exponents:
        return None
    shift1, shift2 = (e - exponents[2] for e in exponents[:2])  # type: ignore[operator]
    require(shift1 == 0 or shift2 == 0, "data->input1_shift == 0 || data->input2_shift == 0 was not true. ")
    require(shift1 <= 0 and shift2 <= 0, "data->input1_shift <= 0 was not true. ")
    lo, hi = quantized_range(node.options.fused_activation_function, y)

    def compute(a: Array, b: Array, out: Array, u: Array) -> None:
        total = fp.saturate(f(fp.rdbp(a, -shift1), fp.rdbp(b, -shift2), dtype=_I64), 16)
        np.copyto(out, np.clip(total, lo, hi, out=u), casting="unsafe")

    return QuantizedBinary(lambda: compute, (_I64,))


def _quantized_sum(node: Node) -> QuantizedBinary:
    f = np.add if node.op == "ADD" else np.subtract
    specs = (node.input(0), node.input(1), node.outputs[0])
    require_symmetric(*specs)
    by_shifts = _sum_at_powers_of_two(node, f) if specs[2].type == "INT16" else None
    return by_shifts or _sum_at_common_scale(node, f)


def _quantized_mul(node: Node) -> QuantizedBinary:
    x1, x2, y = node.input(0), node.input(1), node.outputs[0]
    lo, hi = quantized_range(node.options.fused_activation_function, y)
    if x1.type == "INT16" and y.type != "INT16":
        return _product_of_fractions(scale_and_zero_point(y)[1], lo, hi)
    require_symmetric(x1, x2, y)
    (s1, z1), (s2, z2), (s, z) = map(scale_and_zero_point, (x1, x2, y))
    m, e = fp.quantize_multiplier(float(s1 * s2 / s))
    if y.dtype.itemsize == x1.dtype.itemsize == 1 and e <= 0:

        def tabulated() -> InPlace:
            first, second = (all_quantized_values(y.dtype).astype(_I64) - zero for zero in (z1, z2))
            return by_tables(np.multiply, first, second, (m, e), z, lo, hi)

        return QuantizedBinary(tabulated, (_I64, _I64))
    rescale = fp.rescaler(m, e)
    zero1, zero2 = np.array(z1, _I64), np.array(z2, _I64)
    store = _store(z, lo, hi)

    def compute(a: Array, b: Array, out: Array, u: Array, v: Array, narrow: Array) -> None:
        np.subtract(a, zero1, out=u, dtype=_I64)
        np.subtract(b, zero2, out=v, dtype=_I64)
        np.multiply(u, v, out=u)
        rescale(u, v)
        store(u, out, narrow)

    return QuantizedBinary(lambda: compute, (_I64, _I64, _I32))


def _product_of_fractions(zero_point: int, lo: int, hi: int) -> QuantizedBinary:
    """int16 inputs as fractions of 1, the 8-bit output as its upper half: no scale is looked at."""

    def compute(a: Array, b: Array, out: Array) -> None:
        value = fp.rdbp(fp.srdhm(a, b, 16), 8).astype(_I64) + zero_point
        np.copyto(out, np.clip(value, lo, hi), casting="unsafe")

    return QuantizedBinary(lambda: compute)


def _leading_sign_bits(x: Array) -> Array:
    """Bits after the sign bit that equal it, of int32 values."""
    return fp.clz32(np.where(x < 0, ~x, x)).astype(_I64) - 1


def _shifted_as_x86(x: Array, n: Array) -> Array:
    """x / 2^n rounded. By more than 31 bits, which small quotients come to, it is what x86 makes of an int32 shift.

    C leaves that undefined: quotients near 0 come out as 1 or as large numbers. It is the shipped reference's result,
    to the bit, on all pairs of 8-bit values.
    """
    return np.where(n < 32, fp.rdbp(x, np.clip(n, 0, 31)), (x >> (n & 31)) + (x >= 0))


def _quantized_div(node: Node) -> QuantizedBinary:
    x1, x2, y = node.input(0), node.input(1), node.outputs[0]
    (s1, z1), (s2, z2), (s, z) = map(scale_and_zero_point, (x1, x2, y))
    m, e = fp.quantize_multiplier(float(s1 / (s2 * s)))
    lo, hi = quantized_range(node.options.fused_activation_function, y)

    def compute(a: Array, b: Array, out: Array) -> None:
        v1, v2 = a.astype(_I64) - z1, b.astype(_I64) - z2
        v1, v2 = np.where(v2 < 0, -v1, v1), np.abs(v2)
        inverse, bits = get_reciprocal(np.maximum(v2, 1), 31)
        headroom = _leading_sign_bits(v1)
        product = fp.srdhm(fp.mbqm(v1, inverse, headroom), m).astype(_I64)
        value = fp.wrap(_shifted_as_x86(product, bits + headroom - e) + z)
        np.copyto(out, np.clip(value, lo, hi), casting="unsafe")

    return QuantizedBinary(lambda: compute)


def _quantized_difference(node: Node) -> QuantizedBinary:
    specs = [node.input(0), node.input(1)]
    y = node.outputs[0]
    twice, (scale_a, scale_b) = _at_common_scale(specs, 7)
    rescale = fp.rescaler(*fp.quantize_multiplier(twice * twice / float(np.float32(1 << 14) * y.scale)))
    limits = np.iinfo(y.dtype)
    store = _store(y.zero_point, int(limits.min), int(limits.max))

    def compute(a: Array, b: Array, out: Array, u: Array, v: Array, scratch: Array, narrow: Array) -> None:
        scale_a(a, u, scratch)
        scale_b(b, v, scratch)
        np.subtract(u, v, out=u)
        np.multiply(u, u, out=u)
        rescale(u, scratch)
        store(u, out, narrow)

    return QuantizedBinary(lambda: compute, (_I64, _I64, _I64, _I32))


def _whole_quotient(a: Array, b: Array, y: Array) -> None:
    # Exact in double; through int64, so that INT32_MIN / -1 wraps.
    np.copyto(y, np.divide(a, b, dtype=np.float64).astype(_I64), casting="unsafe")


def _division_of(dtype: np.dtype) -> InPlace:
    return np.divide if dtype.kind == "f" else _whole_quotient


def _squared_difference(a: Array, b: Array, y: Array) -> None:
    np.subtract(a, b, out=y)
    np.multiply(y, y, out=y)


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
        activation, dtype = getattr(node.options, "fused_activation_function", None), node.input(0).dtype
        return f(dtype) if activation is None else plain(f(dtype), activation, dtype)

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
    register = kernel(
        name, inputs=2, output_type=output_type, version=version, types=types, shape=binary_shape, check=check
    )
    register(prepare)


_QUANTIZED = "INT8 UINT8 INT16"
_arithmetic("ADD", 6, f"FLOAT32 FLOAT16 INT32 INT64 {_QUANTIZED}", lambda _: np.add, _quantized_sum)
_arithmetic("SUB", 5, f"FLOAT32 FLOAT16 INT32 INT64 {_QUANTIZED}", lambda _: np.subtract, _quantized_sum)
_arithmetic(
    "MUL", 8, f"FLOAT32 FLOAT16 INT32 UINT32 INT64 COMPLEX64 {_QUANTIZED}", lambda _: np.multiply, _quantized_mul
)
_arithmetic("DIV", 2, f"FLOAT32 FLOAT16 INT32 {_QUANTIZED}", _division_of, _quantized_div)
_arithmetic("SQUARED_DIFFERENCE", 2, "FLOAT32 FLOAT16 INT32 INT8", lambda _: _squared_difference, _quantized_difference)
