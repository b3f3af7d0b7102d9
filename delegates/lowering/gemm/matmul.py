"""FULLY_CONNECTED and BATCH_MATMUL: rows times columns, of floats and of codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.convolution.convolution import bias_argument
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm import batched, hybrid_batch, register_tiles, tensor_core, vnni
from tflgpu.delegates.lowering.gemm.hybrid import quantize_rows
from tflgpu.delegates.lowering.registry import c_type, constant, i32, lowers, require, size
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.fused_activation import float_range, quantized_range


@dataclass(frozen=True, eq=False)
class Product:
    """x (m, k) times y (k, n), for every batch. Steps: elements from one to the next row and column of each matrix.

    x_batch, y_batch: C for where matrix `b` begins.
    """

    x: Buffer
    y: Buffer
    out: TensorSpec
    m: int
    n: int
    k: int
    x_steps: tuple[int, int]
    y_steps: tuple[int, int]
    x_batch: str = "0"
    y_batch: str = "0"

    @property
    def sizes(self) -> dict[str, int]:
        (x_row, x_column), (y_row, y_column) = self.x_steps, self.y_steps
        steps = {"x_row": x_row, "x_column": x_column, "y_row": y_row, "y_column": y_column}
        return {"m": self.m, "n": self.n, "k": self.k, **steps}

    def launch(
        self,
        kernel: str,
        inputs: Mapping[str, Buffer],
        scalars: Mapping[str, np.generic],
        defines: dict[str, object],
    ) -> Launch:
        """inputs: besides x and y, unless others stand for these."""
        defines |= {"X_BATCH": f"({self.x_batch})", "Y_BATCH": f"({self.y_batch})"}
        defines |= {"ONE_ROW": 1} if size(self.out) == self.n else {}
        return Launch(
            f"matmul.{kernel}",
            (size(self.out),),
            inputs={"x": self.x, "y": self.y, **inputs},
            outputs={"out": Ref(self.out.index)},
            sizes={"size": size(self.out), **self.sizes},
            scalars=scalars,
            defines=defines,
        )


@lowers("FULLY_CONNECTED")
def fully_connected(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of x times weights (units, depth) transposed, plus bias."""
    x, weights, bias, out = node.input(0), node.input(1), node.optional(2), node.outputs[0]
    require(node.options.weights_format == "DEFAULT", "shuffled weights")
    units, depth = weights.shape
    require(depth > 0, "weights without columns")
    if weights.data is not None:
        data, steps = weights.data, (units, 1)
        y: Buffer = Packed(lambda: data.T)
    else:
        y, steps = Ref(weights.index), (1, depth)
    rows = size(out) // units if units else 0
    product = Product(Ref(x.index), y, out, rows, units, depth, (depth, 1), steps)
    types = (x.type, weights.type, out.type)
    fast = _tiled(node, rows, limits)
    if fast is not None:
        return fast
    if types == ("FLOAT32", "FLOAT32", "FLOAT32"):
        return [_float(product, bias_argument(bias, units, "f4"), node.options.fused_activation_function)]
    if types in _HYBRID:
        return _hybrid(product, node, bias, limits)
    require(types in _SCALED, f"{types[0]} input with {types[1]} weights to {types[2]}")
    return [_scaled(product, node, bias, limits)]


def _tiled(node: Node, rows: int, limits: DeviceLimits) -> Lowered | None:
    """The launches of the fast kernel, or None where there is none for the case."""
    x, weights, bias, out = node.input(0), node.input(1), node.optional(2), node.outputs[0]
    if (
        not (limits.has("register_tiles") or limits.has("warps"))
        or weights.data is None
        or (bias is not None and bias.data is None)
        or not rows
    ):
        return None
    units, depth = weights.shape
    low: Any
    high: Any
    if (x.type, weights.type, out.type) == ("FLOAT32", "FLOAT32", "FLOAT32"):
        low, high = float_range(node.options.fused_activation_function)
        finish, zero = register_tiles.Finish(low, high), 0
    elif (x.type, weights.type, out.type) in TILED and limits.double:
        if any(spec.quantization is None for spec in (x, weights, out)):
            return None
        assert weights.quantization is not None
        scales = float(x.scale) * weights.quantization.scale.astype(np.float64) / float(out.scale)
        low, high = quantized_range(node.options.fused_activation_function, out)
        rescale = (np.ascontiguousarray(np.broadcast_to(scales, (units,))),)
        finish = register_tiles.Finish(low, high, rescale, out.zero_point, x.zero_point)
        zero = 0 if weights.quantization.per_channel else weights.zero_point
    else:
        return None
    matrix = register_tiles.Matrix(weights.data, zero, None if bias is None else bias.data)
    over = Window(1, 1, 1, 1, 1, 1, 1, rows, 0, 0)
    make = tensor_core.conv_gemm if limits.has("warps") else vnni.conv_dot
    return make(register_tiles.Filtering(x, (1, 1, rows, depth), matrix, out, over, finish), limits)


TILED = {("INT8", "INT8", "INT8"), ("INT8", "INT4", "INT8"), ("UINT8", "UINT8", "UINT8")}
_HYBRID = {("FLOAT32", kind, "FLOAT32") for kind in ("INT8", "INT4", "INT2")}
_SCALED = {(kind, weights, kind) for kind in ("INT8", "INT16") for weights in ("INT8", "INT4", "INT2")} | {
    ("UINT8", "UINT8", "UINT8")
}


def _in_panels(p: Product, limits: DeviceLimits) -> Launch:
    """Matrices that are both computed, on a CPU: a work-item makes all rows of a few vectors of columns."""
    vectors, rows = (2, 8) if limits.vector == 16 else (1, 4)
    across = -(-p.n // (limits.vector * vectors))
    blocks = size(p.out) // (p.m * p.n) * across
    scratch = Temp(4 * blocks * p.k * limits.vector * vectors)
    defines: dict[str, object] = {"X_BATCH": f"({p.x_batch})", "Y_BATCH": f"({p.y_batch})", "VW": limits.vector}
    defines |= {"NV": vectors, "MR": rows, "OUT_T": "float", "PLAIN": 1}
    return Launch(
        "panels.product_panels",
        (blocks,),
        (1,),
        inputs={"x": p.x, "y": p.y},
        outputs={"scratch": scratch, "out": Ref(p.out.index)},
        sizes={"blocks": blocks, "across": across, **p.sizes},
        defines=defines,
    )


def _float(p: Product, bias: Buffer, activation: str | None) -> Launch:
    low, high = float_range(activation) if activation else (np.float32(-np.inf), np.float32(np.inf))
    return p.launch("matmul_float", {"bias": bias}, {"low": low, "high": high}, {"FLOAT": 1})


HYBRID_RANGES = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def _hybrid(p: Product, node: Node, bias: TensorSpec | None, limits: DeviceLimits) -> Lowered:
    """FULLY_CONNECTED of floats by codes; the rows are quantized at run time."""
    weights, o = node.input(1), node.options
    codes = constant(weights, "weights")
    require(weights.quantization is not None and not weights.quantization.block_size, "scales by block, or none")
    assert weights.quantization is not None
    require(o.fused_activation_function in HYBRID_RANGES, f"activation {o.fused_activation_function}")
    # The x86 build multiplies -128 as +128 in some places.
    require(p.k < 16 or int(codes.min(initial=0)) > -128, "weights of -128")
    rows = quantize_rows(p.x, p.m, p.k, o.asymmetric_quantize_inputs, limits)
    low, high = HYBRID_RANGES[o.fused_activation_function]
    if limits.has("register_tiles") and p.m and (bias is None or bias.data is not None):
        matrix = register_tiles.Matrix(codes, 0, None if bias is None else bias.data)
        return [rows.launch, vnni.hybrid_dot(rows, matrix, weights.quantization.scale, p.out, low, high, limits)]
    if limits.has("warps") and p.m and p.n and (bias is None or bias.data is not None):
        matrix = register_tiles.Matrix(codes, 0, None if bias is None else bias.data)
        image, over, scale = (1, 1, p.m, p.k), Window(1, 1, 1, 1, 1, 1, 1, p.m, 0, 0), weights.quantization.scale
        return tensor_core.hybrid_gemm(rows, image, matrix, scale, p.out, over, (low, high), 1, limits)
    inputs = {
        "x": rows.codes,
        "bias": bias_argument(bias, p.n, "f4"),
        "y_scales": np.ascontiguousarray(np.broadcast_to(weights.quantization.scale.astype(np.float32), (p.n,))),
        "scales": rows.scales,
        "zero_points": rows.zero_points,
    }
    scalars = {"low": np.float32(low), "high": np.float32(high)}
    return [rows.launch, p.launch("matmul_hybrid", inputs, scalars, {"HYBRID": 1})]


def _scaled(p: Product, node: Node, bias: TensorSpec | None, limits: DeviceLimits) -> Launch:
    """FULLY_CONNECTED of codes, rescaled in double as the reference does."""
    x, weights, out = node.input(0), node.input(1), node.outputs[0]
    require(limits.double, "a device without double precision")
    require(all(s.quantization is not None for s in (x, weights, out)), "a tensor without quantization parameters")
    assert weights.quantization is not None
    wide = x.type == "INT16"
    dtype = "i8" if wide and (bias is None or bias.type == "INT64") else "i4"
    scales = float(x.scale) * weights.quantization.scale.astype(np.float64) / float(out.scale)
    low, high = quantized_range(node.options.fused_activation_function, out)
    bias_of = bias_argument(bias, p.n, dtype)
    inputs: dict[str, Buffer] = {"bias": bias_of, "scales": np.ascontiguousarray(np.broadcast_to(scales, (p.n,)))}
    y_zero = 0 if weights.quantization.per_channel else weights.zero_point
    scalars = _scalars((x.zero_point, y_zero, out.zero_point), (low, high))
    return p.launch("matmul_scaled", inputs, scalars, _types(x, weights, out, limits, wide, dtype) | {"SCALED": 1})


def _scalars(zeros: tuple[int, int, int], ends: tuple[int, int]) -> dict[str, np.int32]:
    names = ("x_zero", "y_zero", "out_zero", "low", "high")
    return {name: i32(value) for name, value in zip(names, (*zeros, *ends), strict=True)}


def _types(
    x: TensorSpec, y: TensorSpec, out: TensorSpec, limits: DeviceLimits, wide: bool, bias: str
) -> dict[str, object]:
    return {
        "X_T": c_type(x, limits),
        "Y_T": c_type(replace(y, type="INT8") if y.type in ("INT4", "INT2") else y, limits),
        "OUT_T": c_type(out, limits),
        "ACC_T": "i64" if wide else "i32",
        "BIAS_T": "i64" if bias == "i8" else "i32",
    }


@lowers("BATCH_MATMUL")
def batch_matmul(node: Node, limits: DeviceLimits) -> Lowered:
    """x (..., m, k) times y (..., k, n), leading dimensions broadcast."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    if not size(out):
        return []
    if x.type == out.type == "FLOAT32" and y.type == "INT8":
        return hybrid_batch.batch_matmul(node, limits)
    m, n = out.shape[-2:]
    k = x.shape[-2] if node.options.adj_x else x.shape[-1]
    batches = out.shape[:-2]
    product = Product(
        Ref(x.index),
        Ref(y.index),
        out,
        m,
        n,
        k,
        (1, m) if node.options.adj_x else (k, 1),
        (1, k) if node.options.adj_y else (n, 1),
        f"{broadcast_index(x.shape[:-2], batches, 'b')} * {m * k}",
        f"{broadcast_index(y.shape[:-2], batches, 'b')} * {k * n}",
    )
    types = (x.type, y.type, out.type)
    if types == ("FLOAT32", "FLOAT32", "FLOAT32"):
        if limits.has("warps") and batched.batches_of(node).fits:
            return [batched.floats(batched.batches_of(node), limits)]
        if limits.cpu and limits.has("register_tiles") and size(out) and k:
            return [_in_panels(product, limits)]
        return [_float(product, np.zeros(n, np.float32), None)]
    wide = x.type == "INT16"
    defines = _types(x, y, out, limits, wide, "i8" if wide else "i4")
    bias = np.zeros(n, np.int64 if wide else np.int32)
    if types == ("INT8", "INT8", "INT32"):
        multipliers, exponents = np.full(n, 1 << 30, np.int32), np.ones(n, np.int32)
        kind, zeros = np.iinfo(np.int32), (0, 0, 0)
        ends = (int(kind.min), int(kind.max))
    else:
        require(types in _FIXED, f"{types[0]} times {types[1]} to {types[2]}")
        multiplier, exponent = quantize_multiplier(float(x.scale * y.scale) / float(out.scale))
        multipliers, exponents = np.full(n, multiplier, np.int32), np.full(n, exponent, np.int32)
        codes = np.iinfo(out.dtype)
        ends, zeros = (int(codes.min), int(codes.max)), (x.zero_point, y.zero_point, out.zero_point)
        if types == ("INT8", "INT8", "INT8") and limits.has("register_tiles") and limits.cpu and size(out) and k:
            finish = register_tiles.Finish(*ends, (multipliers, exponents), out.zero_point)
            fast = _of_codes(product, node, finish, limits)
            if fast is not None:
                return fast
    defines["RESCALE"] = "PLAIN" if out.type == "INT32" else "mbqm64" if wide else "mbqm"
    if limits.has("warps") and not wide and batched.batches_of(node).fits:
        scalars = _scalars(zeros, ends)
        first = {name: scalars.pop(name) for name in ("x_zero", "y_zero")}
        numbers = {**first, "multiplier": multipliers[0], "exponent": exponents[0], **scalars}
        macros = {name: defines[name] for name in ("RESCALE", "OUT_T")}
        return [batched.codes(batched.batches_of(node), numbers, macros, limits)]
    inputs: dict[str, Buffer] = {"bias": bias, "multipliers": multipliers, "exponents": exponents}
    return [product.launch("matmul_fixed", inputs, _scalars(zeros, ends), defines)]


def _of_codes(p: Product, node: Node, finish: register_tiles.Finish, limits: DeviceLimits) -> Lowered | None:
    """The launches of the fast kernels for matrices that are both computed, or None where x lies by columns."""
    x, y = node.input(0), node.input(1)
    if p.x_steps[1] != 1:
        return None
    batches = p.out.shape[:-2]
    x_place, y_place = (str(broadcast_index(spec.shape[:-2], batches, "b")) for spec in (x, y))
    zeros, matrices = (x.zero_point, y.zero_point), size(y) // (p.k * p.n)
    factors = vnni.Factors(x.index, y.index, *zeros, p.m, p.n, p.k, x_place, y_place, matrices, p.y_steps)
    return vnni.computed(factors, p.out, finish, limits)


_FIXED = {("INT8", "INT8", "INT8"), ("INT16", "INT16", "INT16"), ("INT16", "INT8", "INT16")}
