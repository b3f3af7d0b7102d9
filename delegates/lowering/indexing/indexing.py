"""Operators that read at indices from a tensor; kernels check the indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Fault, Launch, Lowered, Packed, Ref
from tflgpu.delegates.lowering.gemm.int4 import PER_WORD, Int4Layout, scale_macros
from tflgpu.delegates.lowering.movement.movement import copy, view
from tflgpu.delegates.lowering.registry import bits_type, c_type, constant, lowers, require, size
from tflgpu.model.graph import Array, Node, TensorSpec


@lowers("GATHER")
def gather(node: Node, limits: DeviceLimits) -> Lowered:
    """The slices of x at `positions` along an axis; the first batch_dims dimensions are walked in step."""
    x, positions, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type != "INT4", "GATHER of INT4")
    axis = node.options.axis % len(x.shape)
    batch_dims = node.options.batch_dims % (len(positions.shape) + 1) if node.options.batch_dims else 0
    if node.options.batch_dims < 0:
        batch_dims = node.options.batch_dims + len(positions.shape)
    sizes = {
        "outer": math.prod(x.shape[batch_dims:axis]),
        "rows": x.shape[axis],
        "count": math.prod(positions.shape[batch_dims:]),
        "inner": math.prod(x.shape[axis + 1 :]),
    }
    return [_gathered((x, positions, out), sizes, limits, "gather index out of bounds")]


LONG_ROW = 16
"""Elements from which on a work-item of a CPU copies a row of gather, where another one copies one element."""


def _gathered(tensors: tuple[TensorSpec, ...], sizes: dict[str, int], limits: DeviceLimits, message: str) -> Launch:
    x, positions, out = tensors
    launch = Launch(
        "indexing.gather",
        (size(out),),
        inputs={"x": Ref(x.index), "positions": Ref(positions.index)},
        outputs={"out": Ref(out.index)},
        sizes={"size": size(out)} | sizes,
        fault=Fault(message),
        defines={"T": bits_type(out), "INDEX_T": c_type(positions, limits), "AXIS": 1},
    )
    if not limits.cpu or sizes["inner"] < LONG_ROW:
        return launch
    return replace(
        launch,
        kernel="indexing.gather_rows",
        threads=(size(out) // sizes["inner"],),
        block=(1,),
        sizes=sizes,
        defines={**launch.defines, "ROW": 1},
        single=True,
    )


@lowers("GATHER_ND")
def gather_nd(node: Node, limits: DeviceLimits) -> Lowered:
    """The slices of x at vectors of up to 6 indices."""
    x, indices, out = node.input(0), node.input(1), node.outputs[0]
    nd = indices.shape[-1]
    require(nd <= 6, f"vectors of {nd} indices")
    require(size(x) > 0, "a tensor without elements")
    sizes = {"size": size(out), "nd": nd, "inner": math.prod(x.shape[nd:])}
    return [
        Launch(
            "indexing.gather_nd",
            (size(out),),
            inputs={"x": Ref(x.index), "indices": Ref(indices.index)},
            outputs={"out": Ref(out.index)},
            sizes=sizes | numbered("n", [*x.shape[:nd], *[1] * (6 - nd)]),
            fault=Fault("gather_nd index out of bounds"),
            defines={"T": bits_type(out), "INDEX_T": c_type(indices, limits)},
        )
    ]


def numbered(letter: str, values: Sequence[int]) -> dict[str, int]:
    """The values as n0, n1 …"""
    return {f"{letter}{k}": value for k, value in enumerate(values)}


@lowers("ONE_HOT")
def one_hot(node: Node, limits: DeviceLimits) -> Lowered:
    """on_value where the position along the new dimension is the index, else off_value."""
    indices, out = node.input(0), node.outputs[0]
    depth = int(constant(node.input(1), "a depth").reshape(-1)[0])
    axis = node.options.axis % len(out.shape)
    inner = math.prod(out.shape[axis + 1 :])
    return [
        Launch(
            "indexing.one_hot",
            (size(out),),
            inputs={"indices": Ref(indices.index), "on": Ref(node.input(2).index), "off": Ref(node.input(3).index)},
            outputs={"out": Ref(out.index)},
            sizes={"size": size(out), "depth": depth, "inner": inner},
            defines={"T": bits_type(out), "INDEX_T": c_type(indices, limits), "ONE_HOT": 1},
        )
    ]


@lowers("EMBEDDING_LOOKUP")
def embedding_lookup(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of x at indices; quantized rows are dequantized."""
    rows, x, out = node.input(0), node.input(1), node.outputs[0]
    if x.type in ("INT8", "UINT8", "INT4") and out.type in ("FLOAT32", "FLOAT16"):
        return [_dequantized_rows(rows, x, out, limits)]
    require(x.type == out.type, f"rows of {x.type} as {out.type}")
    sizes = {"outer": 1, "rows": x.shape[0], "count": size(rows), "inner": math.prod(x.shape[1:])}
    return [_gathered((x, rows, out), sizes, limits, "Embedding Lookup: index out of bounds. ")]


def _dequantized_rows(rows: TensorSpec, x: TensorSpec, out: TensorSpec, limits: DeviceLimits) -> Launch:
    """Rows of quantized values as floats; uint8 is read as int8, as on the CPU."""
    scale = np.zeros(1, np.float32) if x.quantization is None else x.quantization.scale.astype(np.float32)
    depth = math.prod(x.shape[1:])
    if x.type == "INT4":
        return _int4_rows(rows, x, out, scale, limits)
    require(x.quantization is None or not x.quantization.block_size, "scales by block")
    return Launch(
        "indexing.embed",
        (size(out),),
        inputs={"table": Ref(x.index), "rows": Ref(rows.index), "scales": np.ascontiguousarray(scale)},
        outputs={"out": Ref(out.index)},
        sizes={"size": size(out), "count": x.shape[0], "depth": depth, "scale_step": int(scale.size > 1)},
        fault=Fault("Embedding Lookup: index out of bounds. "),
        defines=_float_macros(out),
    )


def _int4_rows(rows: TensorSpec, x: TensorSpec, out: TensorSpec, scale: Array, limits: DeviceLimits) -> Launch:
    """Rows of 4-bit values that lie as FULLY_CONNECTED reads them, since a model's last one may have the same weights.

    scale: of the tensor, of each row, or of blocks of rows.
    """
    table, depth = constant(x, "a table").reshape(x.shape[0], -1), math.prod(x.shape[1:])
    count = len(table)
    block = 0 if x.quantization is None else x.quantization.block_size
    require(depth % PER_WORD == 0, f"rows of {depth} 4-bit values")
    scales = np.broadcast_to(scale.reshape(-1, depth // block if block else 1), (count, depth // (block or depth)))
    layout = Int4Layout.of(count, limits)
    return Launch(
        "indexing.embed_int4",
        (size(out),),
        inputs={
            "table": Packed(lambda: layout.words(table)),
            "rows": Ref(rows.index),
            "scales": Packed(lambda: layout.scales(scales)),
        },
        outputs={"out": Ref(out.index)},
        sizes={"size": size(out), "count": count, "depth": depth, "block": block or depth, "panel": layout.rows},
        fault=Fault("Embedding Lookup: index out of bounds. "),
        defines={"INT4": 1, "TYPES": 1, **scale_macros(scales), **_float_macros(out)},
    )


def _float_macros(out: TensorSpec) -> dict[str, object]:
    """The type of the output and the conversion from float32 to it."""
    return {"OUT_T": "u16", "RESULT": "to_f16", "TYPES": 1} if out.type == "FLOAT16" else {"OUT_T": "f32", "RESULT": ""}


@lowers("HASHTABLE_LOOKUP")
def hashtable_lookup(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of a table by their keys, and whether there was one."""
    wanted, keys, table = (node.input(i) for i in range(3))
    out, hits = node.outputs
    inner = math.prod(table.shape[1:])
    require(table.shape[0] > 0 and inner > 0, "a table without elements")
    return [
        Launch(
            "indexing.lookup",
            (size(out),),
            inputs={"wanted": Ref(wanted.index), "keys": Ref(keys.index), "table": Ref(table.index)},
            outputs={"out": Ref(out.index), "hits": Ref(hits.index)},
            sizes={"size": size(out), "rows": table.shape[0], "inner": inner},
            defines={"T": bits_type(out), "KEYS": 1},
        )
    ]


@lowers("SLICE")
def slice_(node: Node, limits: DeviceLimits) -> Lowered:
    """A view; by a kernel where `begin` is known only at run time."""
    x, begin, out = node.input(0), node.input(1), node.outputs[0]
    if begin.data is not None:
        return view(node, limits)
    require(len(x.shape) <= 6, f"{len(x.shape)} dimensions from a begin that is known only at run time")
    empty = 6 - len(x.shape)
    sizes = {"size": size(out), "empty": empty}
    return [
        Launch(
            "indexing.slice_at",
            (size(out),),
            inputs={"x": Ref(x.index), "start": Ref(begin.index)},
            outputs={"out": Ref(out.index)},
            sizes=sizes | numbered("n", [*[1] * empty, *x.shape]) | numbered("u", [*[1] * empty, *out.shape]),
            fault=Fault("Invalid begin and size."),
            defines={"T": bits_type(out), "INDEX_T": c_type(begin, limits), "START": 1},
        )
    ]


@lowers("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(node: Node, limits: DeviceLimits) -> Lowered:
    """x with `update` written over it from `start` on, which is clamped so that the update fits."""
    x, update, start, out = node.input(0), node.input(1), node.input(2), node.outputs[0]
    require(len(x.shape) <= 6, f"{len(x.shape)} dimensions")
    empty = 6 - len(x.shape)
    sizes = {"size": size(update), "empty": empty}
    over = Launch(
        "indexing.update_slice",
        (size(update),),
        inputs={"update": Ref(update.index), "start": Ref(start.index)},
        outputs={"out": Ref(out.index)},
        sizes=sizes | numbered("n", [*[1] * empty, *x.shape]) | numbered("u", [*[1] * empty, *update.shape]),
        defines={"T": bits_type(out), "INDEX_T": c_type(start, limits), "UPDATE": 1},
    )
    return [copy(x, out), over]
