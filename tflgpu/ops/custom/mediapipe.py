"""MediaPipe's custom operators on landmarks and on images under a 4x4 matrix: they crop what landmarks frame.

Versions 1 and 2 of one name differ in their options and, slightly, in what they compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops import custom_options
from tflgpu.ops.custom import mediapipe_kernels
from tflgpu.ops.custom.custom import custom_op
from tflgpu.ops.registry import require

LIMIT = 2**31 - 1
MATRIX: Shape = (1, 4, 4)


def _require_matrix(node: Node) -> None:
    matrix = node.input(1)
    require(matrix.type == "FLOAT32" and math.prod(matrix.shape) == 16, f"{matrix}: not a 4x4 FLOAT32 matrix. ")


def _require_floats(node: Node) -> None:
    for spec in node.outputs:
        require(spec.type == "FLOAT32", f"{spec} must be FLOAT32. ")


def _output_size(node: Node) -> tuple[int, int]:
    options = custom_options.read(node)
    if node.op == "TransformTensor" or node.version == 1:
        mode = options.get("mode", "bilinear")
        require(mode == "bilinear", "TransformTensor operation supports only bilinear interpolation.")
        size = custom_options.integers(options, "output_size")
    else:
        size = [custom_options.integer(options, key) for key in ("output_height", "output_width")]
    require(len(size) == 2 and all(0 < d <= LIMIT for d in size), f"{node.op}: the output's size is {size}. ")
    return size[0], size[1]


def _transformed_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    require(len(x.shape) == 4 and x.shape[0] == 1, f"{x}: {node.op} needs one image (1, h, w, c). ")
    _require_matrix(node)
    _require_floats(node)
    return [(1, *_output_size(node), x.shape[3])]


def transform_tensor_bilinear(node: Node, x: Array, matrix: Array) -> Array:
    """x (1, h, w, c) sampled where matrix sends each output pixel, between four pixels; 0 outside of x."""
    _, h, w, c = x.shape
    oh, ow = _output_size(node)
    rows = matrix.reshape(4, 4)[:2]
    shift = rows[:, 3]
    if node.op == "TransformTensorBilinear" and node.version > 1:
        # In version 2 a pixel's coordinates are those of its centre.
        wide = rows.astype(np.float64)
        shift = (wide[:, 3] + (wide[:, 0] * 0.5 + wide[:, 1] * 0.5 - 0.5)).astype(np.float32)
    column, row = np.arange(ow, dtype=np.float32), np.arange(oh, dtype=np.float32)[:, None]
    with np.errstate(all="ignore"):
        px, py = (rows[i, 0] * column + rows[i, 1] * row + shift[i] for i in (0, 1))
        inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    px, py = px[inside], py[inside]
    left, upper = np.floor(px), np.floor(py)
    out = np.zeros((1, oh, ow, c), np.float32)
    if px.size:
        out[0, inside] = _between(x[0], left.astype(np.intp), upper.astype(np.intp), px - left, py - upper)
    return out


def _between(image: Array, left: Array, upper: Array, right_share: Array, lower_share: Array) -> Array:
    """The blend of the four pixels of image (h, w, c) from (upper, left) on; pixels beyond its edges are 0."""
    padded = np.pad(image, ((0, 1), (0, 1), (0, 0)))
    # The complements to 1 are taken in float64, as in the original.
    right, lower = right_share[:, None].astype(np.float64), lower_share[:, None].astype(np.float64)
    top = ((1 - right) * padded[upper, left] + right * padded[upper, left + 1]).astype(np.float32)
    bottom = ((1 - right) * padded[upper + 1, left] + right * padded[upper + 1, left + 1]).astype(np.float32)
    return (lower * bottom + (1 - lower) * top).astype(np.float32)


def _transform_body(node: Node) -> str:
    centred = node.op == "TransformTensorBilinear" and node.version > 1
    return mediapipe_kernels.transform_tensor(node.input(0).shape, _output_size(node)[1], centred)


for _name, _version in (("TransformTensor", 1), ("TransformTensorBilinear", 2)):
    custom_op(
        _name,
        transform_tensor_bilinear,
        _transformed_shape,
        types="FLOAT32",
        version=_version,
        cuda=_transform_body,
        opencl=_transform_body,
    )


def _landmark_form(node: Node) -> tuple[int, float]:
    """(numbers in a landmark, scale of the matrix's translation)."""
    if node.version > 1:
        return node.input(0).shape[-1], 1.0
    options = custom_options.read(node)
    return custom_options.integer(options, "dimensions", 3), custom_options.real(options, "scale", 1.0)


def _landmarks_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    require(len(x.shape) == (3 if node.version > 1 else 4), f"{x}: TransformLandmarks has other dimensions. ")
    _require_matrix(node)
    dimensions, scale = _landmark_form(node)
    require(dimensions in (2, 3), f"Incorrect dimensions size: {dimensions}")
    require(x.shape[-1] % dimensions == 0, f"{x} does not hold landmarks of {dimensions} numbers. ")
    require(scale != 0, f"Incorrect scale value: {scale}")
    _require_floats(node)
    return [x.shape]


def transform_landmarks(node: Node, x: Array, matrix: Array) -> Array:
    """Landmarks of two or three numbers with their x and y moved by matrix; the third stays."""
    dimensions, scale = _landmark_form(node)
    points = x.reshape(-1, dimensions)
    rows = matrix.reshape(4, 4)[:2]
    out = points.copy()
    with np.errstate(all="ignore"):
        for i in (0, 1):
            out[:, i] = rows[i, 0] * points[:, 0] + rows[i, 1] * points[:, 1] + rows[i, 3] * np.float32(scale)
    return out.reshape(x.shape)


def _landmarks_body(node: Node) -> str:
    """The kernel that moves one number of a landmark."""
    dimensions, scale = _landmark_form(node)
    return f"""
        const i32 axis = i % {dimensions}, first = i - axis;
        if (axis > 1) {{
            out0[i] = in0[i];
            return;
        }}
        const f32 x = in1[4 * axis] * in0[first], y = in1[4 * axis + 1] * in0[first + 1];
        out0[i] = x + y + in1[4 * axis + 3] * ({np.float32(scale).item().hex()}f);"""


custom_op(
    "TransformLandmarks",
    transform_landmarks,
    _landmarks_shape,
    types="FLOAT32",
    version=2,
    cuda=_landmarks_body,
    opencl=_landmarks_body,
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Which landmarks are framed, which two tell the rotation, and how large the framed image is to be."""

    subset: tuple[int, ...]
    left: int
    right: int
    height: int
    width: int


def _frame(node: Node) -> Frame:
    options = custom_options.read(node)
    if node.version > 1:
        subset = custom_options.integers(options, "subset_idxs")
        size = [custom_options.integer(options, key) for key in ("output_height", "output_width")]
    else:
        subset = custom_options.integers(options, "subset")
        size = custom_options.integers(options, "output_hw")
    eyes = [custom_options.integer(options, f"{side}_rotation_idx") for side in ("left", "right")]
    require(len(size) == 2 and all(0 < d <= LIMIT for d in size), f"Incorrect output_hw: {size}")
    require(len(subset) > 0, "Subset parameter is empty")
    count = math.prod(node.input(0).shape) // 3
    outside = [i for i in (*subset, *eyes) if not 0 <= i < count]
    require(not outside, f"{node.op}: landmark {outside[:1]} of {count}. ")
    return Frame(tuple(subset), eyes[0], eyes[1], size[0], size[1])


def _matrix_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    require(len(x.shape) == (3 if node.version > 1 else 4), f"{x}: Landmarks2TransformMatrix has other dimensions. ")
    _frame(node)
    _require_floats(node)
    return [MATRIX]


def landmarks_to_transform_matrix(node: Node, x: Array) -> Array:
    """The matrix (1, 4, 4) from a crop's pixels to the image's; x: the image's landmarks, three numbers each."""
    frame = _frame(node)
    count = x.size // 3
    points = x.reshape(-1)[: 3 * count].reshape(count, 3)[:, :2]
    with np.errstate(all="ignore"):
        made = _crop_matrix if node.version > 1 else _relative_crop_matrix
        return made(custom_options.read(node), frame, points).reshape(MATRIX).astype(np.float32)


def _matrix_body(node: Node) -> str:
    options, frame = custom_options.read(node), _frame(node)
    eyes = frame.left, frame.right
    described = mediapipe_kernels.crop if node.version > 1 else mediapipe_kernels.relative_crop
    return mediapipe_kernels.transform_matrix(frame.subset, described(options, (frame.width, frame.height), eyes))


custom_op(
    "Landmarks2TransformMatrix",
    landmarks_to_transform_matrix,
    _matrix_shape,
    types="FLOAT32",
    version=2,
    cuda=_matrix_body,
    opencl=_matrix_body,
)


def _rotation(radians: np.float32) -> Array:
    cosine, sine = np.cos(radians), np.sin(radians)
    return np.array([[cosine, -sine], [sine, cosine]], np.float32)


def _box(points: Array, rotation: Array) -> tuple[Array, Array]:
    """(centre, size) of the upright box around the points after the rotation."""
    rotated = points @ rotation.T
    low, high = rotated.min(axis=0), rotated.max(axis=0)
    return (low + high) / np.float32(2), high - low


def _affine(linear: Array, shift: Array) -> Array:
    """The 4x4 matrix of linear (2, 2) followed by shift (2,)."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:2, :2], matrix[:2, 3] = linear, shift
    return matrix


def _crop_matrix(options: custom_options.Options, frame: Frame, points: Array) -> Array:
    """Version 2: centre * rotation * scale * the crop's own centre moved to the origin."""
    across = points[frame.right] - points[frame.left]
    target = np.float32(custom_options.real(options, "target_rotation_radians"))
    radians = target - np.arctan2(across[1], across[0])
    forward, back = _rotation(radians), _rotation(-radians)
    centre, size = _box(points[list(frame.subset)], forward)
    crop = np.array([frame.width, frame.height], np.float32)
    wider = np.array([custom_options.real(options, key) for key in ("scale_x", "scale_y")], np.float32)
    require((wider > 0).all(), f"Incorrect scale_x or scale_y: {wider}")
    shift = _affine(np.eye(2), back @ centre)
    scale = _affine(np.diag(wider * size / crop), np.zeros(2))
    return shift @ _affine(back, np.zeros(2)) @ scale @ _affine(np.eye(2), -crop / np.float32(2))


def _relative_crop_matrix(options: custom_options.Options, frame: Frame, points: Array) -> Array:
    """Version 1: through coordinates from -1 to 1, for landmarks that span landmarks_range."""
    span = custom_options.integer(options, "landmarks_range")
    wider = np.float32(custom_options.real(options, "bbox_size_multiplier"))
    source = custom_options.integers(options, "input_hw")
    require(custom_options.integer(options, "dimensions") == 3, "Incorrect dimensions")
    require(len(source) == 2 and all(0 < d <= LIMIT for d in source), f"Incorrect input_hw: {source}")
    require(span > 0, f"Incorrect landmarks_range: {span}")
    require(wider != 0, f"Incorrect bbox_size_multiplier: {wider}")
    across = points[frame.right] - points[frame.left]
    alpha = -np.arctan(across[1] / across[0])
    centre, size = _box(points[list(frame.subset)], _rotation(alpha))
    back = _rotation(-alpha)
    shift = (back @ centre / np.float32(span)).astype(np.float64) * 2 - 1
    half = (np.array(source[::-1], np.float64) - 1) / 2
    to_absolute = _affine(np.diag(half), half)
    crop = np.array([frame.width, frame.height], np.float64)
    to_relative = _affine(np.diag(2 / (crop - 1)), -np.ones(2))
    scale = _affine(np.diag(size * wider / np.float32(span)), np.zeros(2))
    return to_absolute @ _affine(back, shift) @ scale @ to_relative
