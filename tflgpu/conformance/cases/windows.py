"""Windows over images: pooling and resizing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tflgpu.conformance.cases.case import Case, OneOp, T, beside, i32, one, q, shaped, words
from tflgpu.conformance.cases.shapes import REAL

FAMILY = "windows"
Shape = tuple[int, ...]

POOLS = {
    "AVERAGE_POOL_2D": "FLOAT32 INT8 UINT8 INT16",
    "MAX_POOL_2D": "FLOAT32 INT8 UINT8 INT16",
    "L2_POOL_2D": "FLOAT32",
}
WINDOWS: tuple[tuple[Shape, int, int, int, int, str, str], ...] = tuple(
    (shape, kh, kw, sh, sw, padding, activation)
    for shape, kh, kw, sh, sw in (
        ((2, 5, 7, 3), 2, 3, 1, 2),
        ((1, 7, 5, 1), 3, 3, 2, 2),
        ((1, 4, 4, 65), 2, 2, 2, 2),
        ((1, 7, 7, 5), 7, 7, 1, 1),
        ((3, 3, 3, 2), 1, 1, 1, 1),
        ((1, 5, 5, 3), 3, 1, 3, 2),
        ((2, 9, 11, 20), 3, 2, 4, 3),
    )
    for padding in ("SAME", "VALID")
    for activation in (("NONE", "RELU6") if shape[0] == 2 else ("NONE",))
)
RESIZES: tuple[tuple[Shape, Shape], ...] = (
    *(
        ((1, 3, 4, 5), (5, 9)),
        ((2, 5, 7, 1), (3, 4)),
        ((1, 1, 1, 3), (4, 5)),
        ((1, 4, 4, 2), (4, 4)),
        ((1, 7, 5, 3), (1, 1)),
    ),
    *(((1, 2, 2, 65), (4, 4)), ((3, 4, 6, 2), (8, 12)), ((2, 3, 4, 20), (5, 6))),
)
FLAGS: tuple[dict[str, Any], ...] = (
    {"align_corners": False, "half_pixel_centers": False},
    {"align_corners": True, "half_pixel_centers": False},
    {"align_corners": False, "half_pixel_centers": True},
)


def cases() -> Iterator[Case]:
    for op, types in POOLS.items():
        for type in types.split():
            rows = WINDOWS if type in ("FLOAT32", "INT8") else WINDOWS[:8]
            for row in rows:
                yield _pool(op, type, *row)
            if type in ("FLOAT32", "INT8"):
                yield _pool(op, type, REAL, 3, 3, 2, 2, "SAME", "NONE")
        for type in beside(op, types):
            yield _pool(op, type, *WINDOWS[0])
        yield _pool(
            op, "FLOAT32", (1, 5, 7, 3), 3, 3, 1, 1, "SAME", "NONE", "special" if op == "MAX_POOL_2D" else "wide"
        )
    for op, types in (
        ("RESIZE_BILINEAR", "FLOAT32 INT8 UINT8 INT16"),
        ("RESIZE_NEAREST_NEIGHBOR", "FLOAT32 INT8 UINT8 INT16 INT32"),
    ):
        for type in types.split():
            for shape, size in RESIZES:
                for flags in FLAGS:
                    yield _resize(op, type, shape, size, flags)
        for type in beside(op, types):
            yield _resize(op, type, *RESIZES[0], FLAGS[0])


def _pool(
    op: str,
    type: str,
    x: Shape,
    kh: int,
    kw: int,
    sh: int,
    sw: int,
    padding: str,
    activation: str,
    values: str = "normal",
) -> Case:
    options = {
        "filter_height": kh,
        "filter_width": kw,
        "stride_h": sh,
        "stride_w": sw,
        "padding": padding,
        "fused_activation_function": activation,
    }
    detail = [shaped(x), *words(options), *([values] if values != "normal" else [])]
    return one(FAMILY, type, detail, OneOp(op, [q(type, *x, values=values)], [q(type)], options))


def _resize(op: str, type: str, x: Shape, size: Shape, flags: dict[str, Any]) -> Case:
    note = ["corners"] if flags["align_corners"] else ["centers"] if flags["half_pixel_centers"] else []
    spec, out = (q(type, *x), q(type)) if type in ("FLOAT32", "INT8", "UINT8", "INT16") else (T(type, x), T(type))
    model = OneOp(op, [spec, i32(*size)], [out], flags, version=3)
    return one(FAMILY, type, [shaped(x), f"to={shaped(size)}", *note], model)
