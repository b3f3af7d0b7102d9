"""The LSTM cell in integers with 16-bit gates, as in tflgpu/ops/recurrent/lstm_integer.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier, quantize_multipliers
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, PerIteration, Ref, Temp
from tflgpu.delegates.lowering.recurrent.sequence import Time, Walk, emit, gates_at, one_row, state
from tflgpu.delegates.lowering.registry import constant, i32, require
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.recurrent.linear import Tensor, single_scale
from tflgpu.ops.recurrent.lstm_fixed_point import INT8, INT16, Range, clip_range, effective_scale, power_of_two, table
from tflgpu.ops.recurrent.lstm_integer import LayerNorm, Peephole
from tflgpu.ops.recurrent.lstm_tensors import Cell, Gated


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """start + x (rows, k) int8 times weights (n, k) plus biases, rescaled by column and clamped, to int32."""

    n: int
    k: int
    weights: Packed
    biases: Array
    multipliers: Array
    exponents: Array
    low: int
    high: int

    def launch(self, x: Buffer, rows: int, start: Buffer, step: int, offset: int | PerIteration, out: Temp) -> Launch:
        """Row r of start, which is added after rescaling, begins at offset + r * step."""
        scaling = {"w_sums": self.biases, "multipliers": self.multipliers, "exponents": self.exponents}
        return Launch(
            "recurrent_gemm.accumulate_quantized",
            (rows * self.n,),
            inputs={"x": x, "w": self.weights, **scaling, "start": start},
            outputs={"z": out},
            sizes={"size": rows * self.n, "n": self.n, "k": self.k, "start_step": step, "start_offset": offset},
            scalars={"low": i32(self.low), "high": i32(self.high)},
            defines={"QUANTIZED": 1} | one_row(rows),
        )


def quantized_linear(
    weights: Sequence[Tensor], scales: Sequence[np.float32], offset: int, bias: Array | None, bounds: Range = INT16
) -> QuantizedLinear:
    """scales: the factor of the sums of each of the weights. offset: is added to each value of x."""
    arrays = [constant(w.spec, "weights") for w in weights]
    sums = offset * np.concatenate([a.sum(axis=1, dtype=np.int64) for a in arrays])
    biases = sums if bias is None else sums + bias
    m, e = quantize_multipliers(scales)
    heights = [len(a) for a in arrays]
    return QuantizedLinear(
        sum(heights),
        arrays[0].shape[1],
        Packed(lambda: np.ascontiguousarray(np.concatenate(arrays).T)),
        biases.astype(np.int32),
        np.repeat(m, heights).astype(np.int32),
        np.repeat(e, heights).astype(np.int32),
        int(bounds[0]),
        int(bounds[1]),
    )


def integer_cell(node: Node, cell: Cell, walk: Walk, limits: DeviceLimits) -> Lowered:
    """The launches of one cell over the whole sequence."""
    require(len(node.intermediates) == 5, f"an INT8 LSTM with {len(node.intermediates)} intermediate tensors")
    require(node.options.cell_clip >= 0 and node.options.proj_clip >= 0, "a clip below zero")
    over, order = walk.over, cell.order
    n, rows, width = cell.n_cell, over.n_batch, cell.n_cell * len(order)
    k = power_of_two(cell.cell_state.spec)
    require(-15 <= k <= -9, f"a cell state of scale 2^{k}")
    hidden = state(cell.output_state.spec, rows * cell.n_output)
    normal = bool(cell.layer_norm)
    scales = {g: node.intermediates["ifco".index(g)].scale if normal else np.float32(2**-12) for g in order}
    bias = None if normal else np.concatenate([_data(cell.bias, g) for g in order])
    from_x = _gates(cell.input_weights, scales, node.input(0), bias)
    from_h = _gates(cell.recurrent_weights, scales, cell.output_state.spec, None)
    before, sums = Temp(4 * over.rows * width), Temp(4 * rows * width)
    first = from_x.launch(Ref(walk.x.index), over.rows, np.zeros(width, np.int32), 0, 0, before)
    projection = _projection(node, cell)
    middle, projected = Temp(rows * n), Temp(4 * rows * cell.n_output)
    views = _views(cell, scales, k, sums, state(cell.cell_state.spec, rows * n), over)
    steps = [from_h.launch(hidden, rows, before, *over.row_step_and_offset(width), sums)]
    if projection is None:
        steps += _cell_steps(node, cell, walk, sums, hidden, views)
    else:
        steps += _cell_steps(node, cell, walk, sums, middle, views)
        start = np.full(cell.n_output, cell.output_state.spec.zero_point, np.int32)
        steps.append(projection.launch(middle, rows, start, 0, 0, projected))
        size, output_at = rows * cell.n_output, over.row_step_and_offset(walk.out.shape[-1])
        steps.append(emit(projected, hidden, walk.out, size, cell.n_output, output_at, "i32", "i8", "(x)"))
    macs = rows * cell.n_output * (width + (n if projection is not None else 0))
    return [first, *over.walk(steps, macs, limits)]


def _cell_steps(
    node: Node, cell: Cell, walk: Walk, sums: Temp, hidden: Buffer, views: Mapping[str, list[Launch]]
) -> list[Launch]:
    """The rest of a step after the gates' sums: writes the cell's state and `hidden`; without a projection, the output.

    views: by gate, what is done to its sums before they are looked at.
    """
    n, rows, order, inner = cell.n_cell, walk.over.n_batch, cell.order, node.intermediates[4]
    k, cell_state = power_of_two(cell.cell_state.spec), state(cell.cell_state.spec, rows * n)
    low, high = clip_range(node.options.cell_clip, single_scale(cell.cell_state.spec), INT16)
    m, e = quantize_multiplier(float(np.float32(2.0**-15 / float(inner.scale) * 2.0**-15)))
    # Subtracted, and added back times the weights' sums in the projection's bias (upstream's b/246629213).
    zero = inner.zero_point if cell.projection is None else -inner.zero_point
    tables = {"logistic": _table("logistic", 3), "tangent": _table("tanh", 3)}
    tables["tangent_of_state"] = _table("tanh", 15 + k)
    step, offset = walk.over.row_step_and_offset(walk.out.shape[-1])
    scalars = {"shift": 30 + k, "low": low, "high": high, "multiplier": m, "exponent": e, "zero_point": zero}
    defines = gates_at(order) | one_row(rows)
    more = {"WRITES_Y": 1} if cell.projection is None else {}
    stages = [
        Launch(
            "lstm_cell.lstm_cell_quantized",
            (rows * n,),
            inputs={"z": sums, **tables},
            outputs={"state": cell_state, "hidden": hidden, "y": Ref(walk.out.index)},
            sizes={"size": rows * n, "n": n, "y_step": step, "y_offset": offset},
            scalars={name: i32(value) for name, value in scalars.items()},
            defines=defines | more | {"QUANTIZED": 1, "STAGE": stage},
        )
        for stage in range(3)
    ]
    if not any(views.values()):
        return [stages[0]]
    return [*(launch for g in order if g != "o" for launch in views[g]), stages[1], *views["o"], stages[2]]


def _data(tensors: Gated, g: str) -> Array:
    return constant(tensors[g].spec, "a bias").astype(np.int64)


def _gates(weights: Gated, gate_scales: dict[str, np.float32], x: TensorSpec, bias: Array | None) -> QuantizedLinear:
    scales = [effective_scale(weights[g], single_scale(x), scale) for g, scale in gate_scales.items()]
    return quantized_linear([weights[g] for g in gate_scales], scales, -x.zero_point, bias)


def _views(
    cell: Cell, scales: dict[str, np.float32], k: int, sums: Temp, held: Ref, over: Time
) -> dict[str, list[Launch]]:
    """By gate, the launches that add its peephole to its sums and normalize them."""
    n, rows, out = cell.n_cell, over.n_batch, {}
    for at, (g, scale) in enumerate(scales.items()):
        launches: list[Launch] = []
        gate = {"gates": len(scales), "gate": at}
        if g in cell.peephole:
            constant(cell.peephole[g].spec, "peephole weights")
            p = Peephole(cell, g, k, scale, rows if over.major else 1)
            launches.append(
                Launch(
                    "lstm_norm.add_peephole_quantized",
                    (rows * n,),
                    inputs={"weights": p.weights.astype(np.int32), "up": p.blocks.astype(np.uint8), "state": held},
                    outputs={"z": sums},
                    sizes={"size": rows * n, "n": n, **gate, "together": len(p.weights)},
                    scalars={"m": i32(p.m), "e": i32(p.e)},
                    defines={"PEEPHOLE": 1} | one_row(rows),
                )
            )
        if g in cell.layer_norm:
            weights, bias = constant(cell.layer_norm[g].spec, "coefficients"), constant(cell.bias[g].spec, "a bias")
            q = LayerNorm(cell, g)
            launches.append(
                Launch(
                    "lstm_norm.normalize_gate_quantized",
                    (rows,),
                    inputs={"weights": weights, "bias": bias},
                    outputs={"z": sums},
                    sizes={"rows": rows, "n": n, **gate},
                    scalars={"m": i32(q.m), "e": i32(q.e + 12), "guard": i32(q.guard)},
                    defines={"QUANTIZED": 1},
                )
            )
        out[g] = launches
    return out


def _projection(node: Node, cell: Cell) -> QuantizedLinear | None:
    if cell.projection is None:
        return None
    inner = node.intermediates[4]
    bias = None if cell.projection_bias is None else constant(cell.projection_bias.spec, "a bias").astype(np.int64)
    scale = effective_scale(cell.projection, inner.scale, single_scale(cell.output_state.spec))
    bounds = clip_range(node.options.proj_clip, node.outputs[0].scale, INT8)
    return quantized_linear([cell.projection], [scale], inner.zero_point, bias, bounds)


def _table(function: str, integer_bits: int) -> Packed:
    return Packed(lambda: table(function, integer_bits).astype(np.int16))
