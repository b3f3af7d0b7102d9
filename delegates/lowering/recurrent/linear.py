"""Products of rows with the constant weights of recurrent layers, floats or 8-bit codes with quantized rows.

Those with the inputs of all times are one launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Ref, Temp, Turn, launches_of
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm import register_tiles, vnni
from tflgpu.delegates.lowering.gemm.hybrid import Rows, quantize_rows
from tflgpu.delegates.lowering.recurrent.sequence import Time, one_row
from tflgpu.delegates.lowering.registry import constant, require
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.recurrent.linear import single_scale

COLUMNS = 4
"""Outputs that a work-item of a product makes on a CPU: so many sums run side by side. On a GPU work-items do."""

EXACT = 1 << 24
"""Sums of whole numbers up to this are exact in float32."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Constant weights (n, k), transposed to (k, n). scales and sums (n,) of 8-bit codes; None for floats.

    codes: the weights as they are, or as signed codes. kind: the type in which sums of products with codes are exact.
    """

    n: int
    k: int
    codes: Callable[[], Array]
    weights: Packed
    kind: str = "f32"
    scales: Packed | None = None
    sums: Packed | None = None


def matrix(weights: Sequence[TensorSpec]) -> Matrix:
    """The weights one above the other, all of one type."""
    arrays = [constant(w, "weights") for w in weights]
    n, k = sum(len(a) for a in arrays), arrays[0].shape[1]
    require(len({w.type for w in weights}) == 1, "weights of several types")

    def stacked() -> Array:
        return np.concatenate(arrays)

    if weights[0].type == "FLOAT32":
        return Matrix(n, k, stacked, Packed(lambda: np.ascontiguousarray(stacked().T)))
    require(weights[0].type in ("INT8", "UINT8"), f"weights of {weights[0].type}")
    # The x86 build multiplies -128 as +128 in some places.
    least = min((int(a.view(np.int8).min(initial=0)) for a in arrays), default=0)
    require(k < 16 or least > -128, "weights of -128")
    scales = np.repeat([single_scale(w) for w in weights], [len(a) for a in arrays]).astype(np.float32)
    kind, dtype = ("f32", np.float32) if 128 * 128 * k <= EXACT else ("i32", np.int8)
    return Matrix(
        n,
        k,
        lambda: stacked().view(np.int8),
        Packed(lambda: np.ascontiguousarray(stacked().view(np.int8).T, dtype)),
        kind,
        Packed(lambda: scales),
        Packed(lambda: stacked().view(np.int8).sum(axis=1, dtype=np.int32)),
    )


@dataclass(frozen=True, eq=False)
class Product:
    """out (rows, n) = start + x (rows, k) times the matrix; what is quantized before, if anything.

    columns: outputs of a work-item, where they are so many times as many.
    """

    x: Buffer
    rows: int
    matrix: Matrix
    quantized: Rows | None
    columns: int

    @property
    def products(self) -> int:
        return self.rows * self.matrix.n * self.matrix.k

    def launches(self, start: Buffer, step: int, offset: int | Turn, out: Temp | Ref) -> list[Launch]:
        """Row r of start begins at offset + r * step."""
        m = self.matrix
        columns = self.columns if m.n % self.columns == 0 else 1
        size = self.rows * m.n // columns
        sizes = {"size": size, "n": m.n, "k": m.k, "start_step": step, "start_offset": offset}
        defines: dict[str, object] = {"COLUMNS": columns, "W_T": m.kind} | one_row(self.rows)
        if self.quantized is None:
            inputs: dict[str, Buffer] = {"x": self.x, "w": m.weights, "start": start}
            defines["FLOATS"] = 1
            return [Launch("recurrent.product", (size,), (64,), inputs, {"z": out}, sizes, defines=defines)]
        q = self.quantized
        assert m.scales is not None and m.sums is not None
        inputs = {"x": q.codes, "scales": q.scales, "zero_points": q.zero_points}
        inputs |= {"w": m.weights, "w_scales": m.scales, "w_sums": m.sums, "start": start}
        defines["HYBRID"] = 1
        launch = Launch("recurrent.product_hybrid", (size,), (64,), inputs, {"z": out}, sizes, defines=defines)
        return [q.launch, launch]


def product(x: Buffer, rows: int, weights: Matrix, asymmetric: bool, limits: DeviceLimits) -> Product:
    """Float rows are quantized each with its own scale where the weights are codes."""
    hybrid = weights.scales is not None
    quantized = quantize_rows(x, rows, weights.k, asymmetric, limits) if hybrid else None
    return Product(x, rows, weights, quantized, COLUMNS if limits.cpu else 1)


def inputs_of_all_times(
    sources: Sequence[tuple[TensorSpec, TensorSpec]], bias: Array, over: Time, asymmetric: bool, limits: DeviceLimits
) -> tuple[Temp, Lowered]:
    """bias (n,) + the sum of the inputs times their weights, (over.rows, n)."""
    made = [(x, matrix([w])) for x, w in sources]
    return from_matrices(made, bias, over, asymmetric, limits)


def from_matrices(
    sources: Sequence[tuple[TensorSpec, Matrix]], bias: Array, over: Time, asymmetric: bool, limits: DeviceLimits
) -> tuple[Temp, Lowered]:
    """The same of matrices made already."""
    n = sources[0][1].n
    before = Temp(4 * over.rows * n)
    launches: Lowered = []
    start: tuple[Buffer, int] = (np.ascontiguousarray(bias, np.float32), 0)
    for x, weights in sources:
        require(x.type == "FLOAT32", f"an input of {x.type}")
        made = product(Ref(x.index), over.rows, weights, asymmetric, limits)
        if limits.has("register_tiles") and start[1] == 0 and over.rows > 1 and weights.k:
            launches += in_tiles(made, bias, before, limits)
        else:
            launches += made.launches(*start, 0, before)
        start = (before, n)
    return before, launches


def in_tiles(made: Product, bias: Array, out: Temp, limits: DeviceLimits) -> Lowered:
    """The product plus bias (n,), by the kernels of register_tiles.py."""
    m = made.matrix
    assert isinstance(made.x, Ref)
    weights = register_tiles.Matrix(m.codes(), 0, np.ascontiguousarray(bias, np.float32))
    target = TensorSpec(-1, "", "FLOAT32", (made.rows, m.n))
    if made.quantized is not None:
        assert m.scales is not None
        scales = m.scales.make()
        launch = vnni.hybrid_dot(made.quantized, weights, scales, target, -np.inf, np.inf, limits)
        return [made.quantized.launch, _into(out, launch)]
    x = TensorSpec(made.x.tensor, "", "FLOAT32", (made.rows, m.k))
    over = Window(1, 1, 1, 1, 1, 1, 1, made.rows, 0, 0)
    finish = register_tiles.Finish(np.float32(-np.inf), np.float32(np.inf))
    lowered = register_tiles.conv_tiles(
        register_tiles.Filtering(x, (1, 1, made.rows, m.k), weights, target, over, finish), limits
    )
    return [_into(out, launch) for launch in launches_of(lowered)]


def _into(out: Temp, launch: Launch) -> Launch:
    """The launch, with `out` in the place of tensor -1."""
    return launch.on(lambda buffer: out if isinstance(buffer, Ref) and buffer.tensor == -1 else buffer)
