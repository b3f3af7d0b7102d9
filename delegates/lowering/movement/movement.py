"""Operators that only move elements: their NumPy view as an index expression."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import FIRST, IndexMap
from tflgpu.delegates.ir import Copy, Lookup
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.elementwise.lookup_table import all_values
from tflgpu.delegates.lowering.registry import RUNTIME, bits_type, constant, lowers, require, size, style
from tflgpu.delegates.lowering.strided_index import index_map, is_view, standin
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import OPS, evaluate


def copy(x: TensorSpec, out: TensorSpec) -> Copy:
    """out's bytes become x's."""
    return Copy(Ref(x.index), Ref(out.index), size(out), bits_type(out))


def fill(out: TensorSpec, value: Array) -> Copy:
    """Every element of out becomes the one element of value."""
    one = np.ascontiguousarray(value, out.dtype).reshape(1)
    return Copy(one, Ref(out.index), size(out), bits_type(out), FIRST)


def fill_from(value: TensorSpec, out: TensorSpec) -> Copy:
    """Every element of out becomes the first of value."""
    return Copy(Ref(value.index), Ref(out.index), size(out), bits_type(out), FIRST)


def take(x: TensorSpec, out: TensorSpec, table: Packed) -> Launch:
    """out[i] = x[table[i]]; table holds int32."""
    return Launch(
        "movement.take",
        (size(out),),
        inputs={"x": Ref(x.index), "table": table},
        outputs={"out": Ref(out.index)},
        sizes={"n": size(out)},
        defines={"T": bits_type(out)},
    )


@style("view")
def view(node: Node, limits: DeviceLimits) -> Lowered:
    """A copy with the strides of the view that the CPU's operator returns, or by a table of indices if it copies."""
    x, out = node.input(0), node.outputs[0]
    base = standin(x.shape, x.dtype)
    moved = OPS[node.op].run(node, base)
    if is_view(moved, base):
        return [Copy(Ref(x.index), Ref(out.index), size(out), bits_type(out), index_map(moved, base))]
    return [take(x, out, Packed(lambda: OPS[node.op].run(node, _positions(x))))]


def _positions(x: TensorSpec) -> Array:
    return np.arange(size(x), dtype=np.int32).reshape(x.shape)


@lowers(
    "MIRROR_PAD", "REVERSE_SEQUENCE", "TILE", "BROADCAST_TO", "REVERSE_V2", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"
)
def rearranged(node: Node, limits: DeviceLimits) -> Lowered:
    """A copy by the table of positions that the CPU's operator computes; all inputs but the first are constant.

    Positions count from 1: 0 is padding, which becomes the output's zero point.
    """
    x, out = node.input(0), node.outputs[0]
    if node.op in OPS and OPS[node.op].style == "view":
        return view(node, limits)
    for spec in node.inputs[1:]:
        constant(spec, "an input besides the first")
    moved = replace(
        node,
        inputs=(replace(x, type="INT32", quantization=None), *node.inputs[1:]),
        outputs=(replace(out, type="INT32", quantization=None),),
    )
    others = [spec.data if spec is not None else None for spec in node.inputs[1:]]
    table = Packed(lambda: evaluate(moved, [_positions(x) + np.int32(1), *others], RUNTIME)[0])
    zero = out.zero_point if out.quantization is not None and not out.quantization.per_channel else 0
    return [
        Launch(
            "movement.take_or",
            (size(out),),
            inputs={"x": Ref(x.index), "table": table, "other": np.array([zero]).astype(out.dtype)},
            outputs={"out": Ref(out.index)},
            sizes={"n": size(out)},
            defines={"T": bits_type(out), "PADDED": 1},
        )
    ]


@lowers("PAD", "PADV2")
def pad(node: Node, limits: DeviceLimits) -> Lowered:
    """x with paddings (rank, 2): fills out with the padding value, then copies x into it."""
    x, out = node.input(0), node.outputs[0]
    paddings = constant(node.input(1), "paddings").reshape(-1, 2).tolist()
    if not size(out):
        return []
    if (value := node.optional(2)) is not None:
        around = fill_from(value, out)
    else:
        around = fill(out, np.array(out.zero_point if out.quantization is not None else 0, out.dtype))
    base = standin(out.shape, out.dtype)
    inner = base[tuple(slice(before, before + n) for (before, _), n in zip(paddings, x.shape, strict=True))]
    moved = (
        [Copy(Ref(x.index), Ref(out.index), size(x), bits_type(out), out_at=index_map(inner, base))] if size(x) else []
    )
    return [around, *moved]


def _within(whole: TensorSpec, axis: int, index: int | slice) -> IndexMap:
    """Where in a tensor its elements at `index` of an axis are, in their order."""
    base = standin(whole.shape, whole.dtype)
    return index_map(base[(slice(None),) * axis + (index, ...)], base)


@lowers("CONCATENATION")
def concatenation(node: Node, limits: DeviceLimits) -> Lowered:
    """The inputs one after another along an axis."""
    out = node.outputs[0]
    require(node.options.fused_activation_function == "NONE", "a fused activation")
    axis = node.options.axis % len(out.shape)
    launches: Lowered = []
    start = 0
    for x in node.inputs:
        assert x is not None
        require(x.type == out.type, f"inputs of types {x.type} and {out.type}")
        piece = _within(out, axis, slice(start, start + x.shape[axis]))
        start += x.shape[axis]
        source: Buffer = Ref(x.index)
        if out.type == "UINT8" and not _same_quantization(x, out):
            source = Temp(max(size(x), 1))
            launches.append(_requantized(node, x, source))
        launches.append(Copy(source, Ref(out.index), size(x), bits_type(out), out_at=piece))
    return launches


def _requantized(node: Node, x: TensorSpec, target: Temp) -> Lookup:
    """x requantized to the output's scale, by the table that the CPU's operator computes for all values."""
    out = node.outputs[0]
    alone = replace(
        node,
        options=SimpleNamespace(**{**vars(node.options), "axis": 0}),
        inputs=(replace(x, shape=(256,), data=None),),
        outputs=(replace(out, shape=(256,)),),
    )
    table = Packed(lambda: evaluate(alone, [all_values(x)], RUNTIME)[0])
    return Lookup(Ref(x.index), table, target, size(x), ("u8", "u8"))


def _same_quantization(x: TensorSpec, y: TensorSpec) -> bool:
    if x.quantization is None or y.quantization is None:
        return x.quantization is y.quantization
    return bool(x.scale == y.scale and x.zero_point == y.zero_point)


@lowers("PACK")
def pack(node: Node, limits: DeviceLimits) -> Lowered:
    """The inputs one after another along a new axis."""
    out = node.outputs[0]
    axis = node.options.axis % len(out.shape)
    return [
        Copy(Ref(x.index), Ref(out.index), size(x), bits_type(out), out_at=_within(out, axis, k))
        for k, x in enumerate(node.inputs)
        if x is not None
    ]


@lowers("UNPACK")
def unpack(node: Node, limits: DeviceLimits) -> Lowered:
    """Each output is x at one index of an axis."""
    x = node.input(0)
    axis = node.options.axis % len(x.shape)
    return [
        Copy(Ref(x.index), Ref(out.index), size(out), bits_type(out), _within(x, axis, k))
        for k, out in enumerate(node.outputs)
    ]


@lowers("SPLIT", "SPLIT_V")
def split(node: Node, limits: DeviceLimits) -> Lowered:
    """The outputs are x cut along an axis."""
    x = node.input(1 if node.op == "SPLIT" else 0)
    axis = int(constant(node.input(0 if node.op == "SPLIT" else 2), "an axis").reshape(-1)[0]) % len(x.shape)
    copies: Lowered = []
    start = 0
    for out in node.outputs:
        piece = _within(x, axis, slice(start, start + out.shape[axis]))
        copies.append(Copy(Ref(x.index), Ref(out.index), size(out), bits_type(out), piece))
        start += out.shape[axis]
    return copies
