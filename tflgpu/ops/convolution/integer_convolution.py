"""Convolutions of quantized images with 8-bit weights: what they require of scales and zero points, and their step."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.convolution.convolution import (
    Convolution,
    ConvolutionWeights,
    WeightsFactory,
    accumulator_rows,
    execute,
)
from tflgpu.ops.convolution.image_shares import ImageShare, image_shares
from tflgpu.ops.matmul.requantize import Requantizer, exact_in_float64, rescale
from tflgpu.ops.registry import Step, require
from tflgpu.ops.shape_rules import elements
from tflgpu.ops.shares import in_shares

SUMMED: dict[str, tuple[int, np.dtype]] = {
    "INT8": (128, np.dtype(np.float32)),
    "UINT8": (255, np.dtype(np.float32)),
    "INT16": (1 << 15, np.dtype(np.float64)),
}
"""By the type of the input: its largest magnitude, and the type in which sums begin to be exact."""


def quantized_bias_type(node: Node) -> str:
    """The type that the options ask of an integer bias, "FLOAT32" where they ask nothing."""
    wanted: str = "FLOAT32" if node.op == "DEPTHWISE_CONV_2D" else node.options.quantized_bias_type
    return wanted


def has_wide_sums(node: Node, x: TensorSpec) -> bool:
    """Whether sums have 64 bits: with a 16-bit input, unless the bias is to have 32."""
    return x.type == "INT16" and quantized_bias_type(node) != "INT32"


def check_quantization(
    node: Node, x: TensorSpec, weights: TensorSpec, bias: TensorSpec | None, symmetric_filter: bool = True
) -> None:
    """Raises OpError where quantization parameters are not what an integer convolution needs."""
    require(weights.quantization is not None, "filter->quantization.type != kTfLiteAffineQuantization")
    require(x.quantization is not None, "input->quantization.type != kTfLiteAffineQuantization")
    if symmetric_filter and x.type != "UINT8" and weights.quantization is not None:
        require(not weights.quantization.zero_point.any(), "affine_quantization->zero_point->data[i] != 0")
    if bias is not None and bias.quantization is not None:
        require(not bias.quantization.zero_point[:1].any(), "bias->params.zero_point != 0")
    if x.type == "INT16":
        require(x.zero_point == 0, f"input->params.zero_point != 0 ({x.zero_point} != 0)")
        require(node.outputs[0].zero_point == 0, "output->params.zero_point != 0")
        wanted = quantized_bias_type(node)
        if wanted != "FLOAT32":
            require(wanted in ("INT32", "INT64"), f"a quantized_bias_type of {wanted} is not supported. ")
            require(bias is None or bias.type == wanted, f"bias->type != params->quantized_bias_type ({wanted})")


def check_integers(
    node: Node, specs: tuple[TensorSpec, TensorSpec, TensorSpec | None], oc: int, symmetric_filter: bool = True
) -> None:
    """Raises OpError where input, filter and bias are quantized as an integer convolution cannot use."""
    x, weights, bias = specs
    if x.dtype.kind == "f":
        return
    check_quantization(node, x, weights, bias, symmetric_filter)
    if elements(node.outputs[0].shape):
        scale_factors(x, weights, bias, node.outputs[0], oc)


def scale_factors(x: TensorSpec, weights: TensorSpec, bias: TensorSpec | None, output: TensorSpec, oc: int) -> Array:
    """The real factors (1,) or (oc,), in double, from accumulators to the output. Raises OpError for other scales."""
    assert weights.quantization is not None
    scales = weights.quantization.scale
    require(scales.size in (1, oc), f"affine_quantization->scale->size {scales.size} is neither 1 nor {oc}. ")
    channels = weights.shape[weights.quantization.axis] if scales.size > 1 else oc
    require(channels == oc, f"the scales are of axis {weights.quantization.axis}, which is not the output's channels. ")
    require(output.scale > 0, f"{output} has a scale of {output.scale}. ")
    if x.type != "UINT8":
        return np.float64(x.scale) * scales.astype(np.float64) / np.float64(output.scale)
    require(scales.size == 1, "input->type == kTfLiteInt8 || input->type == kTfLiteInt16 was not true.")
    if bias is not None and bias.quantization is not None:
        difference = abs(np.float64(x.scale) * np.float64(scales[0]) - np.float64(bias.scale))
        require(difference / np.float64(output.scale) <= 0.02, "scale_diff / output_scale <= 0.02 was not true.")
    return np.array([np.float64(x.scale * scales[0]) / np.float64(output.scale)])


def _largest_sum(prepared: ConvolutionWeights, offsets: Array | None) -> int:
    """A bound of the magnitude of sums with their offsets; None for offsets that are not constant."""
    most = 1 << 62 if offsets is None else int(np.abs(offsets).max(initial=0))
    return prepared.bound + most + (0 if prepared.constant else 255 * prepared.bound)


def integer_convolution(c: Convolution, make: WeightsFactory) -> Step:
    """A step that convolves 8- or 16-bit images with 8-bit weights."""
    x_spec, weights_spec, bias_spec = c.specs
    zero_point = x_spec.zero_point
    prepared = make(*SUMMED[x_spec.type], weights_spec.zero_point if x_spec.type == "UINT8" else 0)
    output = c.node.outputs[0]
    factors = scale_factors(x_spec, weights_spec, bias_spec, output, prepared.oc)
    activation, wide = c.node.options.fused_activation_function, has_wide_sums(c.node, x_spec)
    scaling = rescale(factors, prepared.oc, output, activation, wide)

    def offsets() -> Array:
        """The bias, and what the input's zero point contributes."""
        offset = -zero_point * prepared.weight_sums
        return offset if c.bias is None else offset + c.bias

    if not prepared.constant:
        prepared.load()
    largest_sum = _largest_sum(prepared, offsets() if c.constant_bias else None)
    exact = exact_in_float64(scaling, largest_sum)
    epilogues: list[Requantizer] = []

    def bind(share: ImageShare) -> Step:
        target, pad = accumulator_rows(prepared), float(zero_point)
        blocks = prepared.row_blocks(share.x, share.window, pad, target, per_image=False, large=False)
        size = max(block.rows.stop - block.rows.start for block in blocks)
        epilogue = Requantizer(scaling, size, offsets(), largest_sum, exact)
        epilogues.append(epilogue)
        return execute([(b.copies, b.compute, epilogue.bind(b.accumulators, share.out[b.rows])) for b in blocks])

    def load_bias() -> None:
        for epilogue in epilogues:
            epilogue.set_bias(offsets())

    before: list[Step] = [] if prepared.constant else [prepared.load]
    if before or not c.constant_bias:
        before.append(load_bias)
    return in_order([*before, in_shares(image_shares(c.x, c.window, c.out, prepared), bind)])
