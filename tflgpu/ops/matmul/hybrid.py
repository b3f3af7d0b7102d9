"""Float activations times 8-bit weights: activations are quantized at run time, row by row, and multiplied as integers.

The arithmetic is that of TensorFlow Lite's x86 build, whose tensor_utils run their NEON code through a translation to
SSE whatever the resolver (kernels/internal/optimized/neon_tensor_utils.cc and sse_tensor_utils.cc).
"""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.matmul.integer_matmul import IntegerMatrix, exact_throughout
from tflgpu.ops.registry import require
from tflgpu.ops.scratch import scratch

_VECTOR = 8
"""Elements the vector body quantizes at a time; it rounds the float just below 0.5 up, the rest as std::round does."""

_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))


_CHUNK = 1 << 14
"""Elements that all the passes of quantization take together, while they are in the cache."""


class RowQuantizer:
    """Quantizes rows of float32 to 8 bits, each row with its own scale: real = scale * (value - zero_point).

    values (rows, depth) float32, of integer value; scales (rows, 1) float32; zero_points (rows, 1) float32, of integer
    value, all 0 where symmetric. They are overwritten by each call.
    shared: `values` is scratch that other steps use too, so that it must be read before the step ends.
    centred: `values` are less their zero points.
    """

    def __init__(self, rows: int, depth: int, asymmetric: bool, shared: bool = False, centred: bool = False):
        self._centred = centred
        self.rows, self.depth, self.asymmetric = rows, depth, asymmetric
        shape = (rows, depth)
        self.values = scratch("quantized", shape, np.float32) if shared else np.zeros(shape, np.float32)
        self.scales = np.ones((rows, 1), np.float32)
        self.zero_points = np.zeros((rows, 1), np.float32)
        self._half = np.full(depth, 0.5, np.float32)
        self._half[depth - depth % _VECTOR :] = _BELOW_HALF
        width = min(max(depth, 1), _CHUNK)
        height = max(1, min(rows, _CHUNK // width))
        self._blocks = [
            (slice(i, i + height), slice(j, j + width)) for i in range(0, rows, height) for j in range(0, depth, width)
        ]
        self._signed_half = np.empty((height, width), np.float32)

    def __call__(self, x: Array) -> RowQuantizer:
        """Quantizes x (rows, depth) float32; returns itself."""
        if x.size:
            (self._quantize_asymmetric if self.asymmetric else self._quantize_symmetric)(x)
        return self

    def _quantize_symmetric(self, x: Array) -> None:
        largest = np.maximum.reduce(np.abs(x, out=self.values), axis=1, keepdims=True)
        np.divide(largest, np.float32(127), out=self.scales)
        if not largest.all():
            self.scales[largest == 0] = 1
            largest[largest == 0] = 1
        self._encode(x, np.float32(127) / largest)

    def _quantize_asymmetric(self, x: Array) -> None:
        low = np.minimum.reduce(x, axis=1, keepdims=True, initial=np.float32(0))
        high = np.maximum.reduce(x, axis=1, keepdims=True, initial=np.float32(0))
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
        self._encode(x, np.float32(1) / self.scales)

    def _encode(self, x: Array, inverse: Array) -> None:
        for block in self._blocks:
            values = self.values[block]
            np.multiply(x[block], inverse[block[0]], out=values)
            signed_half = self._signed_half[: values.shape[0], : values.shape[1]]
            np.copysign(self._half[block[1]], values, out=signed_half)
            np.add(values, signed_half, out=values)
            np.trunc(values, out=values)
            if self._centred:
                zero_points = self.zero_points[block[0]]
                np.maximum(values, np.float32(-128) - zero_points, out=values)
                np.minimum(values, np.float32(127) - zero_points, out=values)
                continue
            if self.asymmetric:
                # Rounded first, then moved: the portable kernel does it the other way round.
                np.add(values, self.zero_points[block[0]], out=values)
                np.maximum(values, np.float32(-128), out=values)
            else:
                np.maximum(values, np.float32(-127), out=values)
            np.minimum(values, np.float32(127), out=values)


class HybridMatrix:
    """8-bit weights (n, k) that multiply quantized rows and add up: MatrixBatchVectorMultiplyAccumulate.

    weights: int8, or uint8 whose bits are read as int8, as in TensorFlow Lite. scale: float32 (1,) or (n,).
    keep: as IntegerMatrix's.
    centre: whether quantized rows may come less their zero points; `centred` says whether they must, which is where
    the GEMM stays exact in float32.
    exact: False follows the x86 dot product, which takes a weight of -128 in the columns below depth rounded down to 16
    as +128 against a negative value; True does not (kernels that use another GEMM).
    """

    def __init__(
        self,
        weights: Array,
        scale: Array,
        rows: int,
        asymmetric: bool,
        exact: bool = False,
        keep: bool = False,
        centre: bool = False,
    ):
        weights = weights.view(np.int8)
        self._flipped = _FlippedWeights(weights[:, :0] if exact else weights)
        self.centred = asymmetric and centre and not self._flipped and exact_throughout(weights, 255)
        asymmetric = asymmetric and not self.centred
        self._matrix = IntegerMatrix(weights, rows, largest=255 if self.centred else 128, keep=keep)
        self._scale = np.asarray(scale, np.float32).reshape(1, -1)
        self._weight_sums = weights.sum(axis=1, dtype=np.int64).astype(np.float64) if asymmetric else None
        size = self._matrix.tile_size
        self._in_place = not asymmetric and self._matrix.accumulator == np.float32
        self._scaled = scratch("scaled", 0 if self._in_place else size, np.float32)
        self._moved = scratch("moved", size if asymmetric else 0, np.float64)

    def accumulate(self, quantized: RowQuantizer, out: Array) -> None:
        """out (rows, n) float32 += scales of rows and weights * (values - zero points) times weights transposed."""
        for rows, columns, tile in self._matrix.tiles(quantized.values):
            if self._flipped:
                self._flipped.apply(quantized.values[rows], columns, tile)
            scaled = tile if self._in_place else self._scaled[: tile.size].reshape(tile.shape)
            if self._weight_sums is not None:
                offset = self._moved[: tile.size].reshape(tile.shape)
                np.multiply(quantized.zero_points[rows], self._weight_sums[columns], out=offset)
                # An exact integer, rounded to float32 once.
                np.subtract(tile, offset, out=scaled, dtype=np.float64, casting="same_kind")
            elif not self._in_place:
                np.copyto(scaled, tile, casting="same_kind")
            scale = self._scale if self._scale.size == 1 else self._scale[:, columns]
            np.multiply(scaled, quantized.scales[rows] * scale, out=scaled)
            target = out[rows, columns]
            np.add(target, scaled, out=target)


class _FlippedWeights:
    """Where the x86 dot product meets weights of -128, which it takes as +128 against a negative value."""

    def __init__(self, weights: Array):
        body = weights[:, : weights.shape[1] // 16 * 16]
        found = body.size and int(body.min()) == -128
        rows, self._columns = np.nonzero(body == -128) if found else (np.empty(0, np.intp), np.empty(0, np.intp))
        self._rows, self._first = np.unique(rows, return_index=True)

    def __len__(self) -> int:
        return len(self._columns)

    def apply(self, values: Array, columns: slice, tile: Array) -> None:
        """Corrects the tile (rows, n of `columns`) made of values (rows, k) in place; it stays exact."""
        start, stop = np.searchsorted(self._rows, (columns.start, columns.stop))
        if start == stop:
            return
        end = self._first[stop] if stop < len(self._first) else len(self)
        first = self._first[start]
        negative = np.minimum(values[:, self._columns[first:end]], np.float32(0))
        sums = np.add.reduceat(negative, self._first[start:stop] - first, axis=1, dtype=np.float64)
        tile[:, self._rows[start:stop] - columns.start] += 256 * sums


def weight_scale(weights: TensorSpec) -> Array:
    """The scales (1,) or (n,) of quantized weights, float32; 0 where they have none, as TensorFlow Lite takes it."""
    return np.zeros(1, np.float32) if weights.quantization is None else weights.quantization.scale


def block_weight_sums(weights: Array, scale: Array) -> Array:
    """The sums (n,) of weights (n, k), each block of a row times its scale of (n, blocks), as float32."""
    sums = np.zeros(len(weights), np.float32)
    for block, scales in zip(np.split(weights, scale.shape[1], axis=1), scale.T, strict=True):
        sums += scales * block.sum(axis=1, dtype=np.int32).astype(np.float32)
    return sums


def channel_scale(weights: TensorSpec, channels: int) -> Array:
    """`weight_scale` of a filter. Raises OpError unless there is one scale, or one for each output channel."""
    scale = weight_scale(weights)
    require(scale.size in (1, channels), f"affine_quantization->scale->size {scale.size} is neither 1 nor {channels}. ")
    return scale
