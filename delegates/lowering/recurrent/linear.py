"""GEMMs of recurrent layers: one for the inputs of all time steps, then one a step, added to its result.

Weights are constant float32, or 8-bit values with rows quantized at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, PerIteration, Ref, Temp
from tflgpu.delegates.lowering.gemm.hybrid import quantize_rows
from tflgpu.delegates.lowering.gemm.problem import EXACT, Gather, Gemm, GemmEpilogue, Operand, RowScales
from tflgpu.delegates.lowering.gemm.selection import family_of
from tflgpu.delegates.lowering.recurrent.sequence import Time, one_row
from tflgpu.delegates.lowering.registry import constant, require
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.recurrent.linear import single_scale

COLUMNS = 4
"""Outputs of a work-item on a CPU, whose sums run in parallel. On a GPU a work-item has one."""


@dataclass(frozen=True, eq=False)
class RecurrentWeights:
    """Constant weights (n, k), also transposed to (k, n); of 8-bit weights, which are signed, scales and sums (n,)."""

    operand: Operand
    transposed: Packed
    scales: Packed | None = None
    sums: Packed | None = None

    @property
    def n(self) -> int:
        return self.operand.spec.shape[0]

    @property
    def k(self) -> int:
        return self.operand.spec.shape[1]


def weights_of(specs: Sequence[TensorSpec]) -> RecurrentWeights:
    """The weights stacked, all of one type."""
    arrays = [constant(w, "weights") for w in specs]
    n, k = sum(len(a) for a in arrays), arrays[0].shape[1]
    require(len({w.type for w in specs}) == 1, "weights of several types")
    floats = specs[0].type == "FLOAT32"

    def stacked() -> Array:
        whole = np.concatenate(arrays)
        return whole if floats else whole.view(np.int8)

    spec = TensorSpec(-1, "", "FLOAT32" if floats else "INT8", (n, k))
    operand = Operand(spec, Ref(-1), transposed=True, constant=Packed(stacked))
    if floats:
        return RecurrentWeights(operand, Packed(lambda: np.ascontiguousarray(stacked().T)))
    require(specs[0].type in ("INT8", "UINT8"), f"weights of {specs[0].type}")
    # The x86 build multiplies -128 as +128 in some cases.
    least = min((int(a.view(np.int8).min(initial=0)) for a in arrays), default=0)
    require(k < 16 or least > -128, "weights of -128")
    scales = np.repeat([single_scale(w) for w in specs], [len(a) for a in arrays]).astype(np.float32)
    dtype = np.float32 if exact_in_float32(k) else np.int8
    return RecurrentWeights(
        operand,
        Packed(lambda: np.ascontiguousarray(stacked().T, dtype)),
        Packed(lambda: scales),
        Packed(lambda: stacked().sum(axis=1, dtype=np.int32)),
    )


def exact_in_float32(k: int) -> bool:
    """Whether float32 holds every sum of k products of int8 values."""
    return 128 * 128 * k <= EXACT


def gemm(x: Buffer, rows: int, weights: RecurrentWeights, asymmetric: bool, limits: DeviceLimits) -> Gemm:
    """x (rows, k) of float32 times the weights; rows are quantized each with its own scale where the weights are."""
    n, k = weights.n, weights.k
    epilogue, kind = GemmEpilogue(-np.inf, np.inf), "FLOAT32"
    before: tuple[Launch, ...] = ()
    if weights.scales is not None:
        quantized = quantize_rows(x, rows, k, asymmetric, limits)
        epilogue = replace(epilogue, row_scales=RowScales(quantized, weights.scales))
        x, before, kind = quantized.values, (quantized.launch,), "INT8"
    operand = Operand(TensorSpec(-1, "", kind, (rows, k)), x)
    out = Operand(TensorSpec(-1, "", "FLOAT32", (rows, n)), Ref(-1))
    gather = Gather.plain_rows(rows, k)
    return Gemm("recurrent", operand, weights.operand, out, rows, n, k, gather, epilogue, before=before)


@dataclass(frozen=True, eq=False)
class Accumulation:
    """out (rows, n) = start + a GEMM, by the kernel for few rows. columns: outputs of a work-item."""

    gemm: Gemm
    weights: RecurrentWeights
    columns: int

    @classmethod
    def of(
        cls, x: Buffer, rows: int, weights: RecurrentWeights, asymmetric: bool, limits: DeviceLimits
    ) -> Accumulation:
        return cls(gemm(x, rows, weights, asymmetric, limits), weights, COLUMNS if limits.cpu else 1)

    def launches(self, start: Buffer, step: int, offset: int | PerIteration, out: Temp | Ref) -> list[Launch]:
        """Row r of start begins at offset + r * step."""
        g, w = self.gemm, self.weights
        columns = self.columns if g.n % self.columns == 0 else 1
        size = g.m * g.n // columns
        sizes = {"size": size, "n": g.n, "k": g.k, "start_step": step, "start_offset": offset}
        in_floats = g.arithmetic == "float" or exact_in_float32(g.k)
        defines: dict[str, object] = {"COLUMNS": columns, "W_T": "f32" if in_floats else "i32"} | one_row(g.m)
        if g.arithmetic == "float":
            inputs: dict[str, Buffer] = {"x": g.x.buffer, "w": w.transposed, "start": start}
            return [Launch("recurrent_gemm.accumulate", (size,), (64,), inputs, {"z": out}, sizes, defines=defines)]
        rows = g.row_scales.rows
        assert w.scales is not None and w.sums is not None
        inputs = {"x": rows.values, "scales": rows.scales, "zero_points": rows.zero_points}
        inputs |= {"w": w.transposed, "w_scales": w.scales, "w_sums": w.sums, "start": start}
        defines["HYBRID"] = 1
        launch = Launch("recurrent_gemm.accumulate_hybrid", (size,), (64,), inputs, {"z": out}, sizes, defines=defines)
        return [rows.launch, launch]


def inputs_of_all_times(
    sources: Sequence[tuple[TensorSpec, RecurrentWeights]],
    bias: Array,
    over: Time,
    asymmetric: bool,
    limits: DeviceLimits,
) -> tuple[Temp, Lowered]:
    """bias (n,) + the sum of the inputs times their weights, (over.rows, n), and the launches that make it."""
    n = sources[0][1].n
    made = Temp(4 * over.rows * n)
    launches: Lowered = []
    start: tuple[Buffer, int] = (np.ascontiguousarray(bias, np.float32), 0)
    for x, weights in sources:
        require(x.type == "FLOAT32", f"an input of {x.type}")
        one = Accumulation.of(Ref(x.index), over.rows, weights, asymmetric, limits)
        g = with_bias(one.gemm, bias, made)
        family = family_of(g, limits) if start[1] == 0 and over.rows > 1 and weights.k else None
        if family is None:
            launches += one.launches(*start, 0, made)
        else:
            launches += [*g.before, *family.launches(_stacked(g), limits)]
        start = (made, n)
    return made, launches


def _stacked(g: Gemm) -> Gemm:
    """The problem with the weights of several gates stacked once."""
    value = g.y.value
    return replace(g, y=replace(g.y, constant=Packed(lambda: value)))


def with_bias(g: Gemm, bias: Array, out: Temp) -> Gemm:
    """The problem with a bias (n,), into `out`."""
    data = np.ascontiguousarray(bias, np.float32)
    spec = TensorSpec(-1, "", "FLOAT32", data.shape, data=data)
    return replace(g, bias=spec, out=replace(g.out, buffer=out))
