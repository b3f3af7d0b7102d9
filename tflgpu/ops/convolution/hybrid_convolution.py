"""Float images by 8-bit filters: each image is quantized at run time and convolved as integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.convolution.convolution import Convolution, ConvolutionWeights, accumulator_rows, execute, loads
from tflgpu.ops.convolution.float_epilogue import FloatEpilogue
from tflgpu.ops.convolution.image_shares import ImageShare, image_shares
from tflgpu.ops.matmul.hybrid import RowQuantizer
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch
from tflgpu.ops.shares import in_shares


@dataclass(frozen=True, eq=False)
class HybridRule:
    """How an operator rescales. scale: of the filter, float32 (1,) or (oc,).

    asymmetric: how each image is quantized. filter_scale_first: accumulators are multiplied by the filter's scale and
    then by the image's; else by the float32 product of the two.
    """

    scale: Array
    asymmetric: bool
    filter_scale_first: bool = False

    @property
    def largest(self) -> int:
        """The largest magnitude of a quantized value less its zero point."""
        return 255 if self.asymmetric else 127


def hybrid_convolution(c: Convolution, rule: HybridRule, prepared: ConvolutionWeights, negatives: bool = False) -> Step:
    """A step that convolves float32 images, quantized one by one, with 8-bit weights.

    negatives: the weights have 2 c channels: each image's values, then the negative ones of them and 0 for others.
    """
    x = c.x
    quantizer = RowQuantizer(len(x), x[0].size, rule.asymmetric, shared=True)
    rows, image_scale = x.reshape(len(x), -1), np.empty((len(x), rule.scale.size), np.float32)
    quantized = quantizer.values.reshape(x.shape)
    image = scratch("negatives", (*x.shape[:3], 2 * x.shape[3]), np.float32) if negatives else quantized

    def quantize() -> None:
        quantizer(rows)
        if rule.asymmetric:
            # Padding adds 0, as a quantized value less its zero point does.
            np.subtract(quantizer.values, quantizer.zero_points, quantizer.values)
        np.multiply(quantizer.scales, np.float32(1) if rule.filter_scale_first else rule.scale, image_scale)
        if negatives:
            image[..., : x.shape[3]] = quantized
            np.minimum(quantized, np.float32(0), out=image[..., x.shape[3] :])

    epilogue = FloatEpilogue(c.bias, c.node.options.fused_activation_function)

    def bind(share: ImageShare) -> Step:
        bound, scales, target = [], image_scale[share.images], accumulator_rows(prepared)
        for block in prepared.row_blocks(share.x, share.window, 0.0, target, per_image=True, large=False):
            scaled = share.out[block.rows]
            scale = _scaling(block.accumulators, scaled, scales[block.image], rule)
            bound.append((block.copies, block.compute, in_order([scale, epilogue.bind(scaled)])))
        return execute(bound)

    shares = image_shares(image, c.window, c.out, prepared)
    return in_order([*loads(c, prepared, epilogue), quantize, in_shares(shares, bind)])


def _scaling(accumulators: Array, out: Array, image_scale: Array, rule: HybridRule) -> Step:
    """A step that writes accumulators (m, oc), times the scales, to out. They become float32 first, as in C."""
    if not rule.filter_scale_first:
        return lambda: np.multiply(accumulators, image_scale, out, dtype=np.float32, casting="same_kind")
    scale = rule.scale

    def step() -> None:
        np.multiply(accumulators, scale, out, dtype=np.float32, casting="same_kind")
        np.multiply(out, image_scale, out)

    return step


def flipped_negatives(weights: Array) -> Array | None:
    """Filters (oc, kh, kw, 2 c) that stand for weights (oc, kh, kw, c) as the x86 build multiplies them, or None.

    Its dot product of rows that are not a multiple of 4 takes a weight of -128 as +128 against a negative value, in the
    columns below k rounded down to 16. The second half of the channels is for the negative values alone.
    """
    oc, k = weights.shape[0], int(np.prod(weights.shape[1:]))
    if oc % 4 == 0:
        return None
    lowest = (weights.reshape(oc, k) == -128) & (np.arange(k) < k // 16 * 16)
    if not lowest.any():
        return None
    return np.concatenate((weights.astype(np.int16), lowest.reshape(weights.shape) * np.int16(256)), axis=3)
