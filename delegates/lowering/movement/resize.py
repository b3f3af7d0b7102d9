"""Resizing of images, by tables of positions and weights along each axis that the CPU's operator computes."""

from __future__ import annotations

from dataclasses import replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Ref
from tflgpu.delegates.lowering.image_rows import rows_of, vectors
from tflgpu.delegates.lowering.registry import bits_type, c_type, constant, lowers, require, size
from tflgpu.model.graph import Array, Node
from tflgpu.ops.movement.resize import Neighbours, float_neighbours, integer_neighbours, nearest


@lowers("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest_neighbor(node: Node, limits: DeviceLimits) -> Lowered:
    """Each pixel from the nearest one."""
    constant(node.input(1), "a size")
    x, out, o = node.input(0), node.outputs[0], node.options

    def positions(axis: int) -> Packed:
        return Packed(
            lambda: nearest(x.shape[axis], out.shape[axis], o.align_corners, o.half_pixel_centers).astype("i4")
        )

    _, h, w, c = x.shape
    return [
        Launch(
            "resize.resize_nearest",
            (size(out),),
            inputs={"x": Ref(x.index), "rows": positions(1), "columns": positions(2)},
            outputs={"out": Ref(out.index)},
            sizes={"size": size(out), "h": h, "w": w, "c": c, "oh": out.shape[1], "ow": out.shape[2]},
            defines={"T": bits_type(out), "NEAREST": 1},
        )
    ]


@lowers("RESIZE_BILINEAR")
def resize_bilinear(node: Node, limits: DeviceLimits) -> Lowered:
    """Each pixel from its four neighbours: floats and uint8 in float32, other integers in integers."""
    constant(node.input(1), "a size")
    x, out, o = node.input(0), node.outputs[0], node.options
    require(x.type in ("FLOAT32", "UINT8", "INT8", "INT16"), f"RESIZE_BILINEAR of {x.type}")
    in_floats = x.type in ("FLOAT32", "UINT8")
    make = float_neighbours if in_floats else integer_neighbours

    def tables(axis: int, low: str, high: str) -> dict[str, Buffer]:
        def taps() -> Neighbours:
            return make(x.shape[axis], out.shape[axis], o.align_corners, o.half_pixel_centers)

        def weight(array: Array) -> Array:
            return array.astype("f4" if in_floats else "i8")

        return {
            low: Packed(lambda: taps().low.astype("i4")),
            high: Packed(lambda: taps().high.astype("i4")),
            f"{low}_weight": Packed(lambda: weight(taps().low_weight)),
            f"{high}_weight": Packed(lambda: weight(taps().high_weight)),
        }

    _, h, w, c = x.shape
    inputs = {"x": Ref(x.index), **tables(1, "upper", "lower"), **tables(2, "left", "right")}
    outputs, sizes = {"out": Ref(out.index)}, {"h": h, "w": w, "c": c, "oh": out.shape[1], "ow": out.shape[2]}
    result = {"FLOAT32": "acc", "UINT8": "acc + 0.5f"}.get(x.type, "(acc + (acc < 0 ? -1 : 0) + (1 << 19)) >> 20")
    defines: dict[str, object] = {
        "T": c_type(x, limits),
        "WEIGHT_T": "f32" if in_floats else "i64",
        "RESULT(acc)": f"({result})",
    }
    if limits.cpu and in_floats and c >= 4:
        rows = rows_of(out, limits)
        kind = {"RESIZE": 1} | vectors(c, limits)
        kind |= {"QUANTIZED": 1, "OUT_T": "uchar"} if x.type == "UINT8" else {}
        by_row = Launch("image_rows.resize_rows", (rows["items"],), (1,), inputs, outputs, rows | sizes, defines=kind)
        return [replace(by_row, stage="none", single=True)]
    n = size(out)
    return [Launch("resize.resize_bilinear", (n,), (64,), inputs, outputs, {"size": n, **sizes}, defines=defines)]
