"""The one GEMM problem of all operators and all kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tflgpu.delegates.launch import Buffer, Op, Packed, Ref
from tflgpu.delegates.lowering.convolution.window import Window, steps_of
from tflgpu.delegates.lowering.gemm.hybrid import QuantizedRows
from tflgpu.delegates.lowering.registry import i32, size
from tflgpu.model.graph import Array, TensorSpec

Kind = Literal["convolution", "depthwise", "transposed", "dense", "batched", "recurrent"]
"""The source of the problem: a convolution, a depthwise or transposed one, FULLY_CONNECTED, BATCH_MATMUL, or the inputs
of all time steps of a recurrent layer."""

Arithmetic = Literal["float", "quantized", "hybrid"]
"""float32; quantized values, requantized at the end; float32 rows quantized at run time times quantized weights."""

Types = tuple[str, str, str]
"""The element types of x, y and out."""

EXACT = 1 << 24
"""Sums of integers up to this are exact in float32."""


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor of matrices or images: its buffer and zero point.

    transposed: columns are stored as rows. constant: its value, which kernels may pack.
    """

    spec: TensorSpec
    buffer: Buffer
    zero_point: int = 0
    transposed: bool = False
    constant: Packed | None = None

    @classmethod
    def of(cls, spec: TensorSpec, zero_point: int = 0, transposed: bool = False, pack: bool = False) -> Operand:
        """A tensor of the graph. pack: whether kernels may pack it where it is constant."""
        data = spec.data
        constant = Packed(lambda: data) if pack and data is not None else None
        return cls(spec, Ref(spec.index), zero_point, transposed, constant)

    @property
    def value(self) -> Array:
        """The value of a constant."""
        assert self.constant is not None
        return self.constant.make()

    @property
    def rows(self) -> Array:
        """The value of constant weights (n, ...) as (n, k)."""
        value = self.value
        return value.reshape(len(value), -1)


@dataclass(frozen=True, eq=False)
class Gather:
    """Row r of x is the window over output pixel r of images (n, h, w, c): implicit GEMM."""

    image: tuple[int, int, int, int]
    window: Window
    groups: int = 1

    @classmethod
    def plain_rows(cls, rows: int, depth: int) -> Gather:
        """The rows of a matrix, as the pixels of an image one pixel high."""
        return cls((1, 1, rows, depth), Window(1, 1, 1, 1, 1, 1, 1, rows, 0, 0))

    @property
    def channels(self) -> int:
        return self.image[3]

    @property
    def depth(self) -> int:
        """Values under a window."""
        return self.window.kh * self.window.kw * self.channels

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel reads just the input pixel at its own location."""
        return self.window.pointwise(*self.image[1:3])

    def sizes(self, oc: int) -> dict[str, int]:
        """The sizes of image and window, by the names of kernel parameters."""
        (_, h, w, c), over = self.image, self.window
        sizes = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "oc": oc}
        return sizes | {"kh": over.kh, "kw": over.kw} | steps_of(over)


@dataclass(frozen=True, eq=False)
class RowScales:
    """The scales of a hybrid GEMM: those of x, which is quantized at run time, and of the constant y.

    columns: scales of y, (1,) or (n,). blocks: scales (n, blocks) of equal blocks of y's columns; `columns` are then
    the columns' sums, each value times its scale. rows_per_scale: rows of x that share a scale. weight_scale_first:
    whether sums are multiplied by y's scale before x's, as in one of the reference's two kernels.
    scale_of, columns_of: for a batched GEMM, the index of x's scales and of y's column sums for each group of
    rows_per_scale rows.
    """

    rows: QuantizedRows
    columns: Packed
    rows_per_scale: int = 1
    weight_scale_first: bool = False
    asymmetric: bool = False
    scale_of: Array | None = None
    columns_of: Array | None = None
    blocks: Array | None = None

    @property
    def blocks_of_row(self) -> int:
        """Blocks of a column of y that have a scale each."""
        return 1 if self.blocks is None else self.blocks.shape[1]

    def of_columns(self, n: int) -> Array:
        """y's scales, one for each column."""
        return np.ascontiguousarray(np.broadcast_to(self.columns.make().astype(np.float32), (n,)))


@dataclass(frozen=True, eq=False)
class GemmEpilogue:
    """The conversion of sums to outputs: requantized by `rescale`, or scaled by `row_scales`; clamped.

    rescale: arrays of one value a column: multipliers and exponents, or scales in float64. zero_point: the output's.
    wide: sums have 64 bits. in_order: products are rounded before they are added, one after another.
    """

    low: Any
    high: Any
    rescale: tuple[Array, ...] = ()
    zero_point: int = 0
    wide: bool = False
    in_order: bool = False
    row_scales: RowScales | None = None

    @property
    def in_float64(self) -> bool:
        return len(self.rescale) == 1

    @property
    def scales(self) -> dict[str, Array]:
        """The requantization arrays, by the names of kernel parameters."""
        names = ("scales",) if self.in_float64 else ("multipliers", "exponents")
        return dict(zip(names, self.rescale, strict=True)) if self.rescale else {}

    @property
    def bounds(self) -> dict[str, Any]:
        """The last scalars of kernels: the output's zero point, where it has one, and the clamp bounds."""
        if not self.rescale:
            return {"low": np.float32(self.low), "high": np.float32(self.high)}
        return {"out_zero": i32(self.zero_point), "low": i32(self.low), "high": i32(self.high)}


@dataclass(frozen=True, eq=False)
class Gemm:
    """out (..., m, n) = epilogue(x (..., m, k) times y (..., k, n) plus bias (n,)).

    gather: how rows of x are read. before: launches that make the operands.
    """

    kind: Kind
    x: Operand
    y: Operand
    out: Operand
    m: int
    n: int
    k: int
    gather: Gather
    epilogue: GemmEpilogue
    bias: TensorSpec | None = None
    before: tuple[Op, ...] = ()

    @property
    def arithmetic(self) -> Arithmetic:
        if self.epilogue.row_scales is not None:
            return "hybrid"
        return "quantized" if self.epilogue.rescale else "float"

    @property
    def int8(self) -> bool:
        """Whether 8-bit values are multiplied."""
        return self.arithmetic != "float"

    @property
    def types(self) -> Types:
        return self.x.spec.type, self.y.spec.type, self.out.spec.type

    @property
    def packed_int4(self) -> bool:
        """Whether 8-bit values are multiplied by constant weights whose 4-bit values stay packed (int4.py)."""
        # 16 times the sums of at most 2 ** 16 products fit 32 bits.
        whole = self.kind == "dense" and self.constant_weights and self.k % 8 == 0 and self.k <= 1 << 16
        return whole and self.x.spec.type == "INT8" and self.y.spec.type == "INT4"

    @property
    def size(self) -> int:
        """Elements of the output."""
        return size(self.out.spec)

    @property
    def batches(self) -> int:
        return self.size // (self.m * self.n)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations."""
        return math.prod((self.m, self.n, self.k))

    @property
    def row_scales(self) -> RowScales:
        """Those of a hybrid GEMM."""
        assert self.epilogue.row_scales is not None
        return self.epilogue.row_scales

    @property
    def constant_weights(self) -> bool:
        """Whether y and the bias are constant and there is something to compute, as packed kernels need."""
        return self.y.constant is not None and (self.bias is None or self.bias.data is not None) and self.size > 0
