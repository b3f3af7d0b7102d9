"""Float images by 8-bit filters: each image is quantized at run time and convolved as integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.convolution.convolution import FloatBias, Sums, execute, scratch_rows
from tflgpu.ops.convolution.window import Window
from tflgpu.ops.matmul.hybrid import RowQuantizer
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch


@dataclass(frozen=True, eq=False)
class HybridRule:
    """How an operator does it. scale: of the filter, float32 (1,) or (oc,).

    asymmetric: how each image is quantized. one_by_one: sums are multiplied by the filter's scale and then by the
    image's; else by their float32 product.
    """

    scale: Array
    asymmetric: bool
    one_by_one: bool = False

    @property
    def largest(self) -> int:
        """The largest magnitude of a code less its zero point."""
        return 255 if self.asymmetric else 127


def hybrid_convolution(
    node: Node,
    x: Array,
    rule: HybridRule,
    sums: Sums,
    bias: Array | None,
    out: Array,
    window: Window,
    constant_bias: bool,
    negatives: bool = False,
) -> Step:
    """Of x (b, h, w, c) float32 by `sums`, which has the filter.

    negatives: `sums` has 2 c channels and is given each image's codes and then the negative ones of them, 0 for others.
    """
    quantizer = RowQuantizer(len(x), x[0].size, rule.asymmetric, shared=True)
    rows, image_scale = x.reshape(len(x), -1), np.empty((len(x), rule.scale.size), np.float32)
    codes = quantizer.codes.reshape(x.shape)
    image = scratch("negatives", (*x.shape[:3], 2 * x.shape[3]), np.float32) if negatives else codes

    def quantize() -> None:
        quantizer(rows)
        if rule.asymmetric:
            # What lies outside the image is left out of the sums, as a code less its zero point of 0 is.
            np.subtract(quantizer.codes, quantizer.zero_points, quantizer.codes)
        np.multiply(quantizer.scales, np.float32(1) if rule.one_by_one else rule.scale, image_scale)
        if negatives:
            image[..., : x.shape[3]] = codes
            np.minimum(codes, np.float32(0), out=image[..., x.shape[3] :])

    flat = out.reshape(-1, sums.oc)
    finish = FloatBias(bias, node.options.fused_activation_function)
    before: list[Step] = [] if sums.constant else [sums.load]
    if not constant_bias:
        before.append(finish.load)
    bound = []
    for run in sums.runs(image, window, 0.0, scratch_rows(sums), per_image=True, large=False):
        scaled = flat[run.rows]
        scale = _scaling(run.sums, scaled, image_scale[run.image], rule)
        bound.append((run.copies, run.product, in_order([scale, finish.bind(scaled)])))
    return execute([*before, quantize], bound)


def _scaling(sums: Array, out: Array, image_scale: Array, rule: HybridRule) -> Step:
    """A step that writes sums (m, oc), times the scales, to out. A sum becomes float32 first, as in C."""
    if not rule.one_by_one:
        return lambda: np.multiply(sums, image_scale, out, dtype=np.float32, casting="same_kind")
    scale = rule.scale

    def step() -> None:
        np.multiply(sums, scale, out, dtype=np.float32, casting="same_kind")
        np.multiply(out, image_scale, out)

    return step


def flipped_negatives(weights: Array) -> Array | None:
    """Filters (oc, kh, kw, 2 c) that stand for weights (oc, kh, kw, c) as the x86 build multiplies them, or None.

    Its dot product of rows that are not a multiple of 4 takes a weight of -128 as +128 against a negative code, in the
    columns below k rounded down to 16. The second half of the channels is for the negative codes alone.
    """
    oc, k = weights.shape[0], int(np.prod(weights.shape[1:]))
    if oc % 4 == 0:
        return None
    lowest = (weights.reshape(oc, k) == -128) & (np.arange(k) < k // 16 * 16)
    if not lowest.any():
        return None
    return np.concatenate((weights.astype(np.int16), lowest.reshape(weights.shape) * np.int16(256)), axis=3)
