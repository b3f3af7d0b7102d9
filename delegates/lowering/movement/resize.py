"""Resizing of images: the positions and weights along each axis come from the CPU's operator as tables."""

from __future__ import annotations

from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Lowered, Packed, Ref
from tflgpu.delegates.lowering.image_rows import rows_of, vectors
from tflgpu.delegates.lowering.registry import bits_type, c_type, constant, i32, lowers, require, size
from tflgpu.model.graph import Array, Node
from tflgpu.ops.movement.resize import Taps, float_taps, integer_taps, nearest


@lowers("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest_neighbor(node: Node, limits: DeviceLimits) -> Lowered:
    """Each pixel from the nearest one."""
    constant(node.input(1), "a size")
    x, out, o = node.input(0), node.outputs[0], node.options

    def places(axis: int) -> Packed:
        return Packed(
            lambda: nearest(x.shape[axis], out.shape[axis], o.align_corners, o.half_pixel_centers).astype("i4")
        )

    _, h, w, c = x.shape
    args: tuple[Any, ...] = (
        Ref(x.index),
        places(1),
        places(2),
        Ref(out.index),
        *map(i32, (size(out), h, w, c, out.shape[1], out.shape[2])),
    )
    return [Launch("resize.resize_nearest", args, (size(out),), defines={"T": bits_type(out), "NEAREST": 1})]


@lowers("RESIZE_BILINEAR")
def resize_bilinear(node: Node, limits: DeviceLimits) -> Lowered:
    """Each pixel from its four neighbours: floats and uint8 in float32, other integers in integers."""
    constant(node.input(1), "a size")
    x, out, o = node.input(0), node.outputs[0], node.options
    require(x.type in ("FLOAT32", "UINT8", "INT8", "INT16"), f"RESIZE_BILINEAR of {x.type}")
    in_floats = x.type in ("FLOAT32", "UINT8")
    make = float_taps if in_floats else integer_taps

    def tables(axis: int) -> list[Argument]:
        def taps() -> Taps:
            return make(x.shape[axis], out.shape[axis], o.align_corners, o.half_pixel_centers)

        def weight(array: Array) -> Array:
            return array.astype("f4" if in_floats else "i8")

        return [
            Packed(lambda: taps().low.astype("i4")),
            Packed(lambda: taps().high.astype("i4")),
            Packed(lambda: weight(taps().low_weight)),
            Packed(lambda: weight(taps().high_weight)),
        ]

    _, h, w, c = x.shape
    args: tuple[Any, ...] = (
        Ref(x.index),
        *tables(1),
        *tables(2),
        Ref(out.index),
        *map(i32, (size(out), h, w, c, out.shape[1], out.shape[2])),
    )
    finish = {"FLOAT32": "acc", "UINT8": "acc + 0.5f"}.get(x.type, "(acc + (acc < 0 ? -1 : 0) + (1 << 19)) >> 20")
    defines: dict[str, object] = {
        "T": c_type(x, limits),
        "WEIGHT_T": "f32" if in_floats else "i64",
        "FINISH(acc)": f"({finish})",
    }
    if limits.cpu and in_floats and c >= 4:
        rows = rows_of(out, limits)
        by_row = (*args[:10], *rows, *map(i32, (h, w, c, out.shape[1], out.shape[2])))
        kind = {"RESIZE": 1} | vectors(c, limits) | ({"CODES": 1, "OUT_T": "uchar"} if x.type == "UINT8" else {})
        return [Launch("image_rows.resize_rows", by_row, (int(rows[1]),), (1,), kind)]
    return [Launch("resize.resize_bilinear", args, (size(out),), defines=defines)]
