"""QUANTIZE, DEQUANTIZE, FAKE_QUANT and NumericVerify: between real numbers and quantized values."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic import fixed_point as fp
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops import custom_options
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise.lookup_table import QuantizedUnary, quantized_unary_step
from tflgpu.ops.registry import OpError, Step, kernel, require
from tflgpu.ops.shape_rules import same_as_input
from tflgpu.ops.tensor_quantization import require_symmetric

_F = np.float32

_RANGES = {
    "INT8": (-128, 127),
    "UINT8": (0, 255),
    "INT16": (-32768, 32767),
    "INT4": (-8, 7),
    "UINT4": (0, 15),
    "INT32": (-(2**31), 2**31 - 1),
}

_OUTPUTS = {
    "FLOAT32": ("INT8", "UINT8", "INT16", "INT4", "UINT4"),
    "INT8": ("INT8", "UINT8", "INT16"),
    "UINT8": ("INT8", "UINT8", "INT16"),
    "INT16": ("INT8", "INT16", "INT32"),
    "INT32": ("INT8", "INT16"),
}

# The number below one half: adding one half itself would take the number below it up to 1.
_HALF = np.array(np.nextafter(_F(0.5), _F(0)))
_SIGN = np.array(1 << 31, np.uint32)
# Below this no sum with a zero point exceeds int32.
_SUMS_FIT = _F(1 << 30)


def _along_axis(values: Array, spec: TensorSpec) -> Array:
    """One value a tensor, or one for each index of the quantized dimension, as an array that broadcasts to spec."""
    quantization = spec.quantization
    assert quantization is not None
    count = quantization.scale.size
    values = np.broadcast_to(values, count) if values.size == 1 else values
    if count == 1:
        return values.reshape(())
    axis = quantization.axis
    require(
        0 <= axis < len(spec.shape) and spec.shape[axis] == values.size == count,
        f"{spec}: {count} scales do not fit dimension {axis}. ",
    )
    return values.reshape(-1, *[1] * (len(spec.shape) - axis - 1))


def _scale_and_zero_point(spec: TensorSpec) -> tuple[Array, Array]:
    require(spec.quantization is not None, f"{spec} has no quantization parameters. ")
    assert spec.quantization is not None
    require(spec.quantization.block_size == 0, f"{spec}: blockwise quantization is not supported here. ")
    scale = np.asarray(spec.quantization.scale, _F)
    return _along_axis(scale, spec), _along_axis(np.asarray(spec.quantization.zero_point, np.int64), spec)


def quantize_step(x: Array, y: Array, spec: TensorSpec) -> Step:
    """A step that fills y with x / scale, rounded half away from zero, plus the zero point, clamped.

    What does not fit into int32, NaN too, is INT32_MIN before the zero point is added in 32 bits, as on x86.
    """
    scale, zero_point = _scale_and_zero_point(spec)
    per_channel = scale.ndim > 0
    lo_hi = _RANGES[spec.type]
    lo, hi = (np.asarray(bound - zero_point, _F) for bound in lo_hi)
    offset = np.asarray(zero_point, _F)

    def quantize(*arrays: Array) -> None:
        a, *channel, out, real, half = arrays
        s, low, high, z = channel or (scale, lo, hi, offset)
        np.divide(a, s, out=real)
        # np.copysign in operations that NumPy vectorizes.
        bits = half.view(np.uint32)
        np.bitwise_and(real.view(np.uint32), _SIGN, out=bits)
        np.bitwise_or(bits, _HALF.view(np.uint32), out=bits)
        np.add(real, half, out=real)
        if not (real.min() > -_SUMS_FIT and real.max() < _SUMS_FIT):
            np.copyto(out, fp.wrap(fp.to_int32(real) + z.astype(np.int64)).clip(lo_hi[0], lo_hi[1]), casting="unsafe")
            return
        real.clip(low, high, out=real)
        np.trunc(real, out=real)
        np.add(real, z, out=real)
        np.copyto(out, real, casting="unsafe")

    return blocked(quantize, [x, scale, lo, hi, offset] if per_channel else [x], y, scratch=[_F, _F])


def _requantized(node: Node) -> QuantizedUnary:
    """From the input's scale and zero point to the output's."""
    x, y = node.input(0), node.outputs[0]
    if x.type == y.type == "INT16":
        require_symmetric(x, y)
    m, e = fp.quantize_multiplier(float(x.scale) / float(y.scale))
    lo, hi = _RANGES[y.type]

    def requantize(quantized: Array) -> Array:
        value = fp.mbqm(fp.wrap(quantized.astype(np.int64) - x.zero_point), m, e).astype(np.int64)
        return np.clip(value + y.zero_point, lo, hi).astype(y.dtype)

    return QuantizedUnary(requantize)


def _check_quantize(node: Node) -> None:
    x, y = node.input(0), node.outputs[0]
    require(y.type in _OUTPUTS[x.type], f"Input type {x.type} with Output type {y.type} is not currently supported. ")
    require(y.quantization is not None, "output->quantization.type != kTfLiteAffineQuantization. ")
    if x.type != "FLOAT32":
        _requantized(node)
        return
    per_channel = _scale_and_zero_point(y)[0].ndim > 0
    require(not per_channel or y.type in ("INT8", "UINT8", "INT16"), f"{y} has one scale a channel. ")


@kernel("QUANTIZE", inputs=1, version=6, types=" ".join(_OUTPUTS), shape=same_as_input, check=_check_quantize)
def quantize(node: Node, inputs: tuple[Array], outputs: tuple[Array]) -> Step:
    """x, real or quantized, as quantized values of the output's scale and zero point, per tensor or per channel."""
    x, y = node.input(0), node.outputs[0]
    if x.type == "FLOAT32":
        return quantize_step(inputs[0], outputs[0], y)
    return quantized_unary_step(_requantized(node), inputs[0], outputs[0])


def _check_quantized(spec: TensorSpec) -> None:
    if spec.type == "FLOAT16":
        return
    require(spec.type != "INT16" or spec.zero_point == 0, "op_context.input->params.zero_point != 0. ")
    scale, _ = _scale_and_zero_point(spec)
    require(scale.ndim == 0 or spec.type != "INT16", f"Type {spec.type} not supported for per-channel. ")


def dequantize_step(x: Array, y: Array, spec: TensorSpec) -> Step:
    """A step that fills y with scale * (x - zero_point), rounded once; float16 x is widened."""
    if spec.type == "FLOAT16":
        return blocked(lambda a, out: np.copyto(out, a), [x], y)
    scale, zero_point = _scale_and_zero_point(spec)
    offset = np.asarray(zero_point, _F)

    def dequantize(*arrays: Array) -> None:
        # The difference is exact in float32, so that the product equals the reference's, rounded from double.
        a, *channel, out = arrays
        s, z = channel or (scale, offset)
        np.subtract(a, z, out=out, dtype=_F)
        np.multiply(out, s, out=out)

    return blocked(dequantize, [x, scale, offset] if scale.ndim else [x], y)


def _check_dequantize(node: Node) -> None:
    require(node.outputs[0].type == "FLOAT32", f"DEQUANTIZE: output {node.outputs[0].type} is not supported. ")
    _check_quantized(node.input(0))


@kernel(
    "DEQUANTIZE",
    inputs=1,
    version=9,
    types="FLOAT16 INT8 UINT8 INT16 INT4 INT2 UINT4",
    shape=same_as_input,
    check=_check_dequantize,
    output_type="FLOAT32",
)
def dequantize(node: Node, inputs: tuple[Array], outputs: tuple[Array]) -> Step:
    """The reals that quantized values stand for, per tensor or per channel."""
    return dequantize_step(inputs[0], outputs[0], node.input(0))


def nudged_range(node: Node) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """FAKE_QUANT's lowest and highest value, moved so that 0 is one of them, the step between values, and 1 / step."""
    options = node.options
    require(0 < options.num_bits < 32, f"FAKE_QUANT: num_bits is {options.num_bits}; it must be from 1 to 31. ")
    highest = _F((1 << options.num_bits) - 1)
    low, high = _F(options.min), _F(options.max)
    scale = (high - low) / highest
    zero = _F(0) - low / scale
    nudged = _F(min(max(float(fp.round_half_away(np.asarray(zero))), 0.0), float(highest)))
    return (_F(0) - nudged) * scale, (highest - nudged) * scale, scale, _F(1) / scale


def _check_fake_quant(node: Node) -> None:
    require(
        not node.options.narrow_range,
        "narrow_range FakeQuant is not currently supported at runtime. narrow_range is only meant to be applied to "
        "weights, not activations",
    )
    nudged_range(node)


@kernel("FAKE_QUANT", inputs=1, version=2, types="FLOAT32", shape=same_as_input, check=_check_fake_quant, output_type=0)
def fake_quant(node: Node, inputs: tuple[Array], outputs: tuple[Array]) -> Step:
    """x clamped to the nudged range, which has 0 among its 2^num_bits values, and rounded to one of them."""
    lo, hi, scale, inverse = nudged_range(node)

    def fake(x: Array, y: Array) -> None:
        x.clip(lo, hi, out=y)
        np.subtract(y, lo, out=y)
        np.multiply(y, inverse, out=y)
        # Not negative, so that ties go up.
        np.add(y, _HALF, out=y)
        np.trunc(y, out=y)
        np.multiply(y, scale, out=y)
        np.add(y, lo, out=y)

    return blocked(fake, inputs, outputs[0])


def _check_verify(node: Node) -> None:
    spec, reference, out = node.input(0), node.input(1), node.outputs[0]
    require(reference.type == "FLOAT32", f"op_context.ref->type == kTfLiteFloat32 was not true ({reference.type}). ")
    require(out.type == "FLOAT32", f"{out} must be FLOAT32. ")
    require(reference.shape == spec.shape, f"NumericVerify: shapes {spec.shape} and {reference.shape} differ. ")
    _check_quantized(spec)
    custom_options.real(custom_options.read(node), "tolerance")


@kernel(
    "NumericVerify",
    inputs=2,
    types="FLOAT16 INT8 UINT8 INT16",
    shape=same_as_input,
    check=_check_verify,
    output_type="FLOAT32",
)
def numeric_verify(node: Node, inputs: tuple[Array, Array], outputs: tuple[Array]) -> Step:
    """The dequantized first input less the second, its float reference.

    Raises OpError where log_if_failed is set and a difference exceeds tolerance (at least 0.1) times the scale.
    """
    spec = node.input(0)
    options = custom_options.read(node)
    tolerance = _F(custom_options.real(options, "tolerance"))
    real = np.empty(spec.shape, _F)
    dequantize_real = dequantize_step(inputs[0], real, spec)
    check = bool(options.get("log_if_failed")) and tolerance >= 0.1
    limit = tolerance * (spec.scale if check and spec.quantization is not None else _F(0))

    def step() -> None:
        dequantize_real()
        np.subtract(real, inputs[1], out=outputs[0])
        if check and (np.abs(outputs[0]) > limit).any():
            worst = float(np.abs(outputs[0]).max())
            raise OpError(f"Mismatch: {worst} > {float(limit)} (tolerance) range percentage {float(tolerance)}.\n")

    return step
