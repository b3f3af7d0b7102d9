"""Reductions: one kernel, given how elements combine and how the result is converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import Expr, IndexMap, call, cast, equal, expr, literal, parameter, unequal, where
from tflgpu.delegates.ir import MEAN_OF_FLOATS, Reduce, Reducer, sum_of
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.reduction.combine import FIRST_OF_ALL, A, V
from tflgpu.delegates.lowering.registry import c_type, constant, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Node, TensorSpec

QUANTIZED_TYPES = ("INT8", "UINT8", "INT16")
"""The element types of quantized tensors."""

WORTH_A_BLOCK, BLOCK = 32, 128
"""From so many elements of one output on, a block of so many work-items shares them on a GPU."""

SECTOR = 32
"""Bytes that a GPU reads from memory at once."""


@lowers("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")
def reduce(node: Node, limits: DeviceLimits) -> Lowered:
    """x reduced over axes."""
    x = node.input(0)
    require(size(x) > 0, "a tensor without elements")
    rank = len(x.shape)
    given = constant(node.input(1), "axes").reshape(-1).tolist() if rank else []
    axes = tuple(sorted({axis % rank for axis in given}))
    if x.type in QUANTIZED_TYPES and node.op in ("MEAN", "SUM"):
        return [_quantized(node, axes, limits)]
    if x.type in QUANTIZED_TYPES and x.quantization is not None and node.op == "REDUCE_PROD":
        return [_quantized_product(node, axes, limits)]
    return [_reduce(node, axes, _plain(node, axes, limits), limits)]


def _plain(node: Node, axes: tuple[int, ...], limits: DeviceLimits) -> Reducer:
    x = node.input(0)
    name = c_type(x, limits)
    if node.op in ("REDUCE_ANY", "REDUCE_ALL") or (x.type == "BOOL" and node.op in ("REDUCE_MAX", "REDUCE_MIN")):
        some = node.op in ("REDUCE_ANY", "REDUCE_MAX")
        return Reducer("u8", expr(0), A | unequal(V, 0)) if some else ALL
    if x.type == "BOOL" and node.op == "REDUCE_PROD":
        return ALL
    require(x.type != "BOOL", f"{node.op} of BOOL")
    if node.op in ("REDUCE_MAX", "REDUCE_MIN"):
        return _extreme(node, axes, name)
    if x.type in QUANTIZED_TYPES and node.op == "REDUCE_PROD":
        return _product_of(f"u{x.dtype.itemsize * 8}")
    require(x.type in ("FLOAT32", "INT32", "INT64"), f"{node.op} of {x.type}")
    if node.op == "MEAN":
        return MEAN_OF_FLOATS if name == "f32" else sum_of("i64", A / parameter("count"))
    unsigned = {"f32": "f32", "i32": "u32", "i64": "u64"}[name]
    return sum_of(unsigned) if node.op == "SUM" else _product_of(unsigned)


ALL = Reducer("u8", expr(1), A & unequal(V, 0))


def _product_of(acc_kind: str) -> Reducer:
    return Reducer(acc_kind, expr(1), A * cast(acc_kind, V))


def _extreme(node: Node, axes: tuple[int, ...], name: str) -> Reducer:
    """A NaN loses against any number, except as the first of all elements reduced to one."""
    x, largest = node.input(0), node.op == "REDUCE_MAX"
    combine = where(V > A if largest else V < A, V, A)
    if name == "f32":
        first = where(unequal(FIRST_OF_ALL, FIRST_OF_ALL), FIRST_OF_ALL, A)
        return Reducer(
            "f32", literal("-FLT_MAX" if largest else "FLT_MAX"), combine, first if len(axes) == len(x.shape) else A
        )
    kind = np.iinfo(x.dtype)
    smallest = f"(-{kind.max}l - 1)" if kind.min else "0"
    return Reducer(name, literal(smallest if largest else f"{kind.max}{'l' if kind.min else 'ul'}"), combine)


def _quantized(node: Node, axes: tuple[int, ...], limits: DeviceLimits) -> Reduce:
    """MEAN of quantized values in fixed point, and SUM in float32."""
    x, out = node.input(0), node.outputs[0]
    kind = np.iinfo(out.dtype)
    count = int(np.prod([x.shape[a] for a in axes]))
    if node.op == "MEAN":
        m, e = quantize_multiplier(float(x.scale) / float(out.scale))
        shift = min(count.bit_length() - 1, 32, 31 + e)
        m, e = (m << shift) // count, e - shift
        finish = call("mbqm", cast("i32", A - parameter("offset")), *SCALING)
        reducer = sum_of("i32", _stored(finish, kind))
        scalars = {"offset": x.zero_point * count, "multiplier": m, "exponent": e, "zero_point": out.zero_point}
        return _reduce(node, axes, reducer, limits, scalars)
    scale = x.scale / out.scale
    bias = np.float32(-x.zero_point) * scale * np.float32(count)
    finish = call("to_i32", call("round_away", cast("f32", A) * parameter("scale") + parameter("bias")))
    scalars = {"zero_point": out.zero_point, "scale": scale, "bias": bias}
    return _reduce(node, axes, sum_of("i32", _stored(finish, kind)), limits, scalars)


SCALING = parameter("multiplier"), parameter("exponent")


def _stored(value: Expr, kind: np.iinfo[Any]) -> Expr:
    """A rescaled value with the zero point, clamped to the type."""
    return call("clamp_i64", cast("i64", value) + parameter("zero_point"), int(kind.min), int(kind.max))


NOTHING_YET = cast("i64", 1) << 62


def _quantized_product(node: Node, axes: tuple[int, ...], limits: DeviceLimits) -> Reduce:
    """REDUCE_PROD of quantized values, rescaled after every factor, in order."""
    x, out = node.input(0), node.outputs[0]
    require(x.type != "UINT8", "REDUCE_PROD of quantized UINT8")
    require(x.type != "INT16" or x.zero_point == out.zero_point == 0, "16-bit values with a zero point")
    count, bounds = int(np.prod([x.shape[a] for a in axes])), np.iinfo(out.dtype)
    m, e = quantize_multiplier(float(x.scale) / float(out.scale) ** (1.0 / count))
    require(-31 <= e < 8, "scales that are far apart")
    factor = cast("i64", V) - parameter("offset")
    combine = where(equal(A, NOTHING_YET), factor, cast("i64", call("mbqm64", A * factor, *SCALING)))
    reducer = Reducer("i64", NOTHING_YET, combine, _stored(call("mbqm64", A, *SCALING), bounds))
    scalars = {"offset": x.zero_point, "multiplier": m, "exponent": e, "zero_point": out.zero_point}
    return _reduce(node, axes, reducer, limits, scalars, in_order=True)


def _reduce(
    node: Node,
    axes: tuple[int, ...],
    reducer: Reducer,
    limits: DeviceLimits,
    numbers: Mapping[str, int | np.float32] | None = None,
    in_order: bool = False,
) -> Reduce:
    """numbers: the scalars that combine and result name."""
    x, out = node.input(0), node.outputs[0]
    x_at, k_at = split_index(x, axes)
    count = int(np.prod([x.shape[a] for a in axes]))
    kinds, n = (c_type(x, limits), c_type(out, limits)), size(out)
    width = 1 if limits.cpu or in_order or count < WORTH_A_BLOCK else BLOCK
    columns = 1 if width == 1 or len(x.shape) - 1 in axes else _columns(x, n, limits)
    return Reduce(Ref(x.index), Ref(out.index), n, count, reducer, kinds, x_at, k_at, width, columns, numbers or {})


def _columns(x: TensorSpec, n: int, limits: DeviceLimits) -> int:
    """Neighbouring outputs of a block: up to a sector of x, which it then reads whole, and a block for every unit."""
    most = min(SECTOR // x.dtype.itemsize, max(n // limits.units, 1))
    return next(c for c in (32, 16, 8, 4, 2, 1) if c <= most and x.shape[-1] % c == 0)


def split_index(x: TensorSpec, axes: tuple[int, ...]) -> tuple[IndexMap, IndexMap]:
    """The index in x at which output i begins, and the distance from there to its k-th element."""
    base = standin(x.shape or (1,), x.dtype)
    every, first = slice(None), slice(0, 1)
    outer = tuple(first if axis in axes else every for axis in range(base.ndim))
    reduced = tuple(every if axis in axes else first for axis in range(base.ndim))
    return index_map(base[outer], base), index_map(base[reduced], base, "k")


@lowers("ARG_MAX", "ARG_MIN")
def arg_max(node: Node, limits: DeviceLimits) -> Lowered:
    """The position of the greatest or least along an axis; the first of equals."""
    x, out = node.input(0), node.outputs[0]
    axis = int(constant(node.input(1), "an axis").reshape(-1)[0]) % max(len(x.shape), 1)
    require(size(x) > 0, "a tensor without elements")
    x_at, k_at = split_index(x, (axis,))
    defines = {
        "X_T": c_type(x, limits),
        "OUT_T": c_type(out, limits),
        "BETTER": ">" if node.op == "ARG_MAX" else "<",
        "X_AT": x_at,
        "K_AT": k_at,
    }
    inputs, outputs, sizes = {"x": Ref(x.index)}, {"out": Ref(out.index)}, {"n": size(out), "count": x.shape[axis]}
    return [Launch("reduce.arg", (size(out),), (64,), inputs, outputs, sizes, defines=defines)]
