"""Float activations on 8-bit weights: activations are quantized at run time, row by row, and multiplied as integers.

The arithmetic is that of TensorFlow Lite's x86 build, whose tensor_utils run their NEON code through a translation to
SSE whatever the resolver (kernels/internal/optimized/neon_tensor_utils.cc and sse_tensor_utils.cc).
"""

from __future__ import annotations

import numpy as np

from tflgpu.graph import Array, TensorSpec
from tflgpu.ops.integer_matmul import IntegerMatrix

_VECTOR = 8
"""Elements the vector body quantizes at a time; it rounds the float just below 0.5 up, the rest as std::round does."""

_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))


class RowQuantizer:
    """Quantizes rows of float32 to 8-bit codes, each row with its own scale: real = scale * (code - zero_point).

    codes (rows, depth) float32, of integer value; scales (rows, 1) float32; zero_points (rows, 1) float32, of integer
    value, all 0 where symmetric. All are storage of this object, overwritten by each call.
    """

    def __init__(self, rows: int, depth: int, asymmetric: bool):
        self.rows, self.depth, self.asymmetric = rows, depth, asymmetric
        self.codes = np.zeros((rows, depth), np.float32)
        self.scales = np.ones((rows, 1), np.float32)
        self.zero_points = np.zeros((rows, 1), np.float32)
        self._half = np.full(depth, 0.5, np.float32)
        self._half[depth - depth % _VECTOR :] = _BELOW_HALF
        self._signed_half = np.empty((rows, depth), np.float32)

    def __call__(self, x: Array) -> RowQuantizer:
        """Quantizes x (rows, depth) float32; returns itself."""
        if x.size:
            (self._quantize_asymmetric if self.asymmetric else self._quantize_symmetric)(x)
        return self

    def _quantize_symmetric(self, x: Array) -> None:
        largest = np.maximum(x.max(axis=1, keepdims=True), -x.min(axis=1, keepdims=True))
        if largest.all():
            np.divide(largest, np.float32(127), out=self.scales)
            np.multiply(x, np.float32(127) / largest, out=self.codes)
        else:
            empty = largest == 0
            np.divide(largest, np.float32(127), out=self.scales)
            self.scales[empty] = 1
            largest[empty] = 1
            np.multiply(x, np.float32(127) / largest, out=self.codes)
        self._round()
        np.clip(self.codes, -127, 127, out=self.codes)

    def _quantize_asymmetric(self, x: Array) -> None:
        low = np.minimum(x.min(axis=1, keepdims=True), np.float32(0))
        high = np.maximum(x.max(axis=1, keepdims=True), np.float32(0))
        # The width is taken in float32, everything after it in double.
        scale = (high - low).astype(np.float64) / 255.0
        empty = scale == 0
        scale[empty] = 1
        steps_low, steps_high = low / scale, high / scale
        from_low = 128 + np.abs(steps_low) < 127 + np.abs(steps_high)
        zero_point = np.where(from_low, -128 - steps_low, 127 - steps_high)
        np.clip(np.trunc(zero_point + np.copysign(0.5, zero_point)), -128, 127, out=zero_point)
        zero_point[empty] = 0
        self.zero_points[...] = zero_point
        self.scales[...] = scale
        np.multiply(x, np.float32(1) / self.scales, out=self.codes)
        self._round()
        # Rounded first, moved after: the portable code does it the other way round.
        np.add(self.codes, self.zero_points, out=self.codes)
        np.clip(self.codes, -128, 127, out=self.codes)

    def _round(self) -> None:
        np.copysign(self._half, self.codes, out=self._signed_half)
        np.add(self.codes, self._signed_half, out=self.codes)
        np.trunc(self.codes, out=self.codes)


class HybridMatrix:
    """Weights (n, k) of 8-bit codes, onto which quantized rows are accumulated: MatrixBatchVectorMultiplyAccumulate.

    weights: int8, or uint8 whose bits are read as int8, as TensorFlow Lite does. scale: float32 (1,) or (n,).
    keep: as IntegerMatrix's.
    exact: False follows the x86 dot product, which takes a weight of -128 in the columns below depth rounded down to 16
    as +128 against a negative code; True does not (kernels that go through another multiplication).
    """

    def __init__(
        self, weights: Array, scale: Array, rows: int, asymmetric: bool, exact: bool = False, keep: bool = False
    ):
        weights = weights.view(np.int8)
        n = len(weights)
        self._matrix = IntegerMatrix(weights, rows, keep=keep)
        self._scale = np.asarray(scale, np.float32).reshape(1, -1)
        self._row_scale = np.empty((rows, self._scale.size), np.float32)
        self._sum = np.empty((rows, n), np.float32)
        self._asymmetric = asymmetric
        self._weight_sums = weights.sum(axis=1, dtype=np.int64).astype(np.float64) if asymmetric else None
        self._flipped, self._flips = _flipped_weights(weights[:, :0] if exact else weights)

    def accumulate(self, quantized: RowQuantizer, out: Array) -> None:
        """out (rows, n) float32 += scales of rows and weights * (codes - zero points) times weights transposed."""
        product = self._matrix.multiply(quantized.codes)
        if self._flips is not None:
            negative = np.minimum(quantized.codes[:, self._flipped], 0).astype(np.float64)
            product = product + negative @ self._flips
        if self._weight_sums is not None:
            product = product - quantized.zero_points * self._weight_sums
        np.multiply(quantized.scales, self._scale, out=self._row_scale)
        np.multiply(product, self._row_scale, out=self._sum, dtype=np.float32, casting="same_kind")
        np.add(out, self._sum, out=out)


def _flipped_weights(weights: Array) -> tuple[Array, Array | None]:
    """The columns in which the x86 dot product meets -128, and what a negative code is to be multiplied by there."""
    body = weights[:, : weights.shape[1] // 16 * 16]
    if not body.size or int(body.min()) > -128:
        return np.empty(0, np.intp), None
    columns = np.flatnonzero((body == -128).any(axis=0))
    return columns, (body[:, columns] == -128).T * np.float64(256)


def weight_scale(weights: TensorSpec) -> Array:
    """The scales (1,) or (n,) of quantized weights, float32; 0 where they have none, as TensorFlow Lite takes it."""
    return np.zeros(1, np.float32) if weights.quantization is None else weights.quantization.scale
