"""The bodies of kernels for MediaPipe's operators, in the C that OpenCL and CUDA both compile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Shape
from tflgpu.ops import custom_options
from tflgpu.ops.registry import require

WIDE = """
#if !defined(__OPENCL_VERSION__) || defined(cl_khr_fp64)
        typedef f64 wide;
#else
        typedef f32 wide;
#endif"""
"""The type that kernels compute with where NumPy uses float64."""


def transform_tensor(image: Shape, ow: int, centred: bool) -> str:
    """One element of the image (1, h, w, c) through a matrix, (1, oh, ow, c); centred: pixels are their centres."""
    _, h, w, c = image

    def shift(row: int) -> str:
        half = f"((wide)in1[{row}] * 0.5f + (wide)in1[{row + 1}] * 0.5f - 0.5f)"
        return f"(f32)((wide)in1[{row + 3}] + {half})" if centred else f"in1[{row + 3}]"

    return f"""{WIDE}
        const i32 channel = i % {c};
        const f32 column = (f32)(i / {c} % {ow}), row = (f32)(i / {c * ow});
        const f32 px = in1[0] * column + in1[1] * row + {shift(0)};
        const f32 py = in1[4] * column + in1[5] * row + {shift(4)};
        if (!(px >= 0 && px <= {w - 1} && py >= 0 && py <= {h - 1})) {{
            out0[i] = 0;
            return;
        }}
        const i32 left = (i32)floor(px), upper = (i32)floor(py), at = (upper * {w} + left) * {c} + channel;
        const i32 in_x = left + 1 < {w}, in_y = upper + 1 < {h};
        const wide right = (wide)(px - (f32)left), lower = (wide)(py - (f32)upper);
        const f32 a = in0[at], b = in_x ? in0[at + {c}] : 0;
        const f32 d = in_y ? in0[at + {w * c}] : 0, e = in_x && in_y ? in0[at + {(w + 1) * c}] : 0;
        const f32 top = (f32)((1 - right) * a + right * b), bottom = (f32)((1 - right) * d + right * e);
        out0[i] = (f32)(lower * bottom + (1 - lower) * top);"""


@dataclass(frozen=True)
class Crop:
    """C for a crop around landmarks: its rotation in radians; along x and y the scale of a pixel, the crop's origin
    in its pixels, what the rotated crop is multiplied by, and where its middle goes to."""

    radians: str
    scale: tuple[str, str]
    origin: tuple[float, float]
    by: tuple[float, float]
    to: tuple[str, str]


def _c(value: float | np.float32) -> str:
    return f"({float(np.float32(value)).hex()}f)"


def crop(options: custom_options.Options, size: tuple[int, int], eyes: tuple[int, int]) -> Crop:
    """Of version 2, as mediapipe.py has it. size: (width, height); eyes: which two landmarks tell the rotation."""
    left, right = (3 * eye for eye in eyes)
    target = _c(custom_options.real(options, "target_rotation_radians"))
    wider = [np.float32(custom_options.real(options, key)) for key in ("scale_x", "scale_y")]
    require(min(wider) > 0, f"Incorrect scale_x or scale_y: {wider}")
    return Crop(
        f"{target} - atan2(in0[{right + 1}] - in0[{left + 1}], in0[{right}] - in0[{left}])",
        (f"{_c(wider[0])} * width / {_c(size[0])}", f"{_c(wider[1])} * height / {_c(size[1])}"),
        (-size[0] / 2, -size[1] / 2),
        (1.0, 1.0),
        ("back_x", "back_y"),
    )


def relative_crop(options: custom_options.Options, size: tuple[int, int], eyes: tuple[int, int]) -> Crop:
    """Of version 1, as mediapipe.py has it."""
    left, right = (3 * eye for eye in eyes)
    span = custom_options.integer(options, "landmarks_range")
    source = custom_options.integers(options, "input_hw")
    wider = np.float32(custom_options.real(options, "bbox_size_multiplier"))
    require(custom_options.integer(options, "dimensions") == 3, "Incorrect dimensions")
    require(span > 0 and wider != 0 and len(source) == 2 and min(source) > 0, f"options {options}")
    require(min(size) > 1, f"a crop of {size}")
    by = ((source[1] - 1) / 2, (source[0] - 1) / 2)
    return Crop(
        f"-atan((in0[{right + 1}] - in0[{left + 1}]) / (in0[{right}] - in0[{left}]))",
        (
            f"width * {_c(wider)} / {_c(span)} * 2 / {_c(size[0] - 1)}",
            f"height * {_c(wider)} / {_c(span)} * 2 / {_c(size[1] - 1)}",
        ),
        (-(size[0] - 1) / 2, -(size[1] - 1) / 2),
        by,
        (f"{_c(by[0])} * (back_x / {_c(span)} * 2)", f"{_c(by[1])} * (back_y / {_c(span)} * 2)"),
    )


def transform_matrix(subset: Sequence[int], around: Crop) -> str:
    """The matrix (1, 4, 4) from the crop's pixels to the image's, by the work-item of its first element."""
    (scale_x, scale_y), (from_x, from_y), (by_x, by_y), (to_x, to_y) = around.scale, around.origin, around.by, around.to
    return f"""{WIDE}
        if (i > 0) return;
        const i32 subset[{len(subset)}] = {{{", ".join(map(str, subset))}}};
        const f32 radians = {around.radians}, c = cos(radians), s = sin(radians);
        f32 low_x = INFINITY, high_x = -INFINITY, low_y = INFINITY, high_y = -INFINITY;
        for (i32 k = 0; k < {len(subset)}; k++) {{
            const f32 px = in0[3 * subset[k]], py = in0[3 * subset[k] + 1];
            const f32 x = c * px - s * py, y = s * px + c * py;
            low_x = x < low_x ? x : low_x;
            high_x = x > high_x ? x : high_x;
            low_y = y < low_y ? y : low_y;
            high_y = y > high_y ? y : high_y;
        }}
        const f32 middle_x = (low_x + high_x) / 2, middle_y = (low_y + high_y) / 2;
        const wide width = high_x - low_x, height = high_y - low_y;
        const f32 back_x = c * middle_x + s * middle_y, back_y = -s * middle_x + c * middle_y;
        const wide scale_x = {scale_x}, scale_y = {scale_y}, from_x = {_c(from_x)}, from_y = {_c(from_y)};
        const wide by_x = {_c(by_x)}, by_y = {_c(by_y)}, to_x = {to_x}, to_y = {to_y};
        for (i32 k = 0; k < 16; k++) out0[k] = k % 5 == 0;
        out0[0] = (f32)(by_x * (c * scale_x));
        out0[1] = (f32)(by_x * (s * scale_y));
        out0[3] = (f32)(by_x * (c * scale_x * from_x + s * scale_y * from_y) + to_x);
        out0[4] = (f32)(by_y * (-s * scale_x));
        out0[5] = (f32)(by_y * (c * scale_y));
        out0[7] = (f32)(by_y * (-s * scale_x * from_x + c * scale_y * from_y) + to_y);"""
