"""Models of custom operators, of suppression of boxes, and others that few models have, with their inputs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from delegate_cases import f, i32, q, t
from flatbuffers import flexbuffers
from ops.custom.test_detection import post_process, spec, suppression
from oracle import one_op

Model = tuple[bytes, list[Any]]


def options(**given: Any) -> bytes:
    return bytes(flexbuffers.Dumps(given))


def reals(*shape: int, low: float = -3, high: float = 3) -> Any:
    return np.random.default_rng(sum(shape)).uniform(low, high, shape).astype(np.float32)


def matrix() -> Any:
    made = np.eye(4, dtype=np.float32)
    made[:2, :2], made[:2, 3] = [[0.8, -0.3], [0.4, 0.9]], [1.25, -0.5]
    return made[None]


EYES = {"left_rotation_idx": 0, "right_rotation_idx": 1}
CROP_1 = {"input_hw": [96, 80], "output_hw": [16, 12], "dimensions": 3, "landmarks_range": 192} | EYES
CROP_2 = {"target_rotation_radians": 0.25, "output_height": 16, "output_width": 8, "scale_x": 1.5, "scale_y": 1.25}


def mediapipe() -> dict[str, Model]:
    image, points = reals(1, 7, 5, 3), reals(1, 9, 3, low=10, high=40)
    ins, out = [f(1, 7, 5, 3), f(1, 4, 4)], [f(1, 6, 4, 3)]
    first = CROP_1 | {"bbox_size_multiplier": 1.5, "subset": [2, 3, 4, 5]}
    second = CROP_2 | EYES | {"subset_idxs": [2, 3, 4, 5, 6]}
    content = options(mode="bilinear", output_size=[6, 4]), options(output_height=6, output_width=4)
    name = "Landmarks2TransformMatrix"
    return {
        "TransformTensor": (one_op("TransformTensor", ins, out, custom=content[0]), [image, matrix()]),
        "TransformTensorBilinear": (
            one_op("TransformTensorBilinear", ins, out, version=2, custom=content[1]),
            [image, matrix()],
        ),
        f"{name} 1": (
            one_op(name, [f(1, 1, 1, 27)], [f(1, 4, 4)], custom=options(**first)),
            [points.reshape(1, 1, 1, 27)],
        ),
        f"{name} 2": (one_op(name, [f(1, 9, 3)], [f(1, 4, 4)], version=2, custom=options(**second)), [points]),
    }


def window(size: int, activation: int = 0) -> bytes:
    return struct.pack("<6i", 1, 2, 2, size, size, activation)


def flexible_window() -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("ksize")
        builder.TypedVectorFromElements([1, 3, 2, 1])
        builder.Key("strides")
        builder.TypedVectorFromElements([1, 2, 2, 1])
        builder.String("padding", "SAME")
        builder.Bool("include_batch_in_index", False)
    return bytes(builder.Finish())


def pools() -> dict[str, Model]:
    x, small, places = reals(2, 6, 4, 3), f(2, 3, 2, 3), t("INT32", 2, 3, 2, 3)
    plain = one_op("MaxPoolingWithArgmax2D", [f(2, 6, 4, 3)], [small] * 2, custom=window(3, 3))
    flexible = one_op("MaxPoolWithArgmax", [f(2, 6, 4, 3)], [small, places], custom=flexible_window())
    taps = np.floor(reals(2, 3, 2, 3, low=0, high=4)) + np.float32(0.1)
    back = [f(2, 6, 4, 3)]
    image = np.arange(36, dtype=np.int32).reshape(1, 3, 2, 6).repeat(2, 0).reshape(2, 3, 2, 3 * 2)[..., :3] * 2 % 72
    return {
        "MaxPoolingWithArgmax2D": (plain, [x]),
        "MaxPoolWithArgmax": (flexible, [x]),
        "MaxUnpooling2D": (one_op("MaxUnpooling2D", [small, small], back, custom=window(2)), [x[:, :3, :2], taps]),
        "MaxUnpooling2D by places": (
            one_op("MaxUnpooling2D", [small, places], back, custom=window(2)),
            [x[:, :3, :2], image],
        ),
        "DenseImageWarp": (
            one_op("DenseImageWarp", [f(2, 6, 4, 3), f(2, 6, 4, 2)], [f(2, 6, 4, 3)], custom=b""),
            [x, reals(2, 6, 4, 2)],
        ),
    }


def others() -> dict[str, Model]:
    far, near = np.array([3, 4, 100, 0], np.int8), np.float32([0, 0.4, 50, -1])
    rotated = one_op("aeq.hadamard_rotation", [f(2, 3, 11)], [f(2, 3, 11)], custom=options(hadamard_size=4))
    sizes = [t("INT32", 2), t("INT32", 4)], [t("INT32", 4)]
    wide = [q("INT32", 70, scale=0.001, zero_point=0)], [q("INT16", 70, scale=0.002, zero_point=0)]
    found = {
        "hadamard_rotation": (rotated, [reals(2, 3, 11)]),
        "BROADCAST_ARGS": (one_op("BROADCAST_ARGS", *sizes), [i32(1, 3), i32(5, 1, 7, 1)]),
        "QUANTIZE int32": (one_op("QUANTIZE", *wide, version=3), [np.arange(-35000, 35000, 1000, dtype=np.int32)]),
        "REDUCE_MIN of nothing": (
            one_op("REDUCE_MIN", [f(3, 0, 4), i32(1)], [f(3, 4)], keep_dims=False),
            [np.zeros((3, 0, 4), np.float32)],
        ),
    }
    table = np.random.default_rng(0).integers(-127, 128, (9, 5), np.int8)
    for kind, by_row in (("FLOAT32", True), ("FLOAT16", False)):
        scales = {"scale": np.linspace(0.1, 0.9, 9), "zero_point": np.zeros(9, np.int64), "axis": 0}
        codes = {"type": "INT8", "value": table, **(scales if by_row else {"scale": 0.3, "zero_point": 0})}
        model = one_op("EMBEDDING_LOOKUP", [t("INT32", 4), codes], [t(kind, 4, 5)])
        found[f"EMBEDDING_LOOKUP of codes to {kind.lower()}"] = (model, [i32(8, 0, 3, 3)])
    keyed = [t("INT32", 4), i32(-5, 0, 3, 9), f(4, 3)], [f(4, 3), t("UINT8", 4)]
    found["HASHTABLE_LOOKUP"] = (one_op("HASHTABLE_LOOKUP", *keyed), [i32(9, 1, -5, 3), reals(4, 3)])
    sliced = [f(4, 5, 6), t("INT32", 3), i32(2, 1, 3)], [f(2, 1, 3)]
    found["SLICE from a computed place"] = (one_op("SLICE", *sliced), [reals(4, 5, 6), i32(2, 0, 3)])
    for raises in (False, True):
        content = options(tolerance=5.0, log_if_failed=raises)
        model = one_op("NumericVerify", [q("INT8", 4, scale=0.5), f(4)], [f(4)], custom=content)
        found[f"NumericVerify {raises}"] = (model, [far, near])
    for op in ("RSQRT", "SQRT"):
        for kind, zero in (("INT8", -5), ("INT16", 0)):
            model = one_op(op, [q(kind, 99, zero_point=zero)], [q(kind, 99, scale=0.03, zero_point=0)], version=2)
            found[f"{op} {kind.lower()}"] = (model, [np.arange(1, 100, dtype=kind.lower())])
    return found


def boxes() -> dict[str, Model]:
    """Scores with ties, and boxes without area among others."""
    rng = np.random.default_rng(3)
    corners = np.round(rng.uniform(0, 6, (19, 4)), 0).astype("f4")
    scores = (np.floor(rng.random(19) * 4) / 4).astype("f4")
    limits = np.array(7, "i4"), 0.3, 0.2
    anchors, encodings = rng.uniform(0.1, 1, (67, 4)).astype("f4"), rng.normal(size=(1, 67, 4)).astype("f4")
    predictions = (np.floor(rng.random((1, 67, 4)) * 5) / 5).astype("f4")
    ins = spec("FLOAT32", 1, 67, 4), spec("FLOAT32", 1, 67, 4), anchors
    many = {"max_classes_per_detection": 2}
    by_class = {"use_regular_nms": True, "detections_per_class": 3}
    return {
        "NON_MAX_SUPPRESSION_V4": (suppression(19, *limits), [corners, scores]),
        "NON_MAX_SUPPRESSION_V5": (suppression(19, *limits, 0.5), [corners, scores]),
        "detection": (post_process(*ins, **many), [encodings, predictions]),
        "detection by class": (post_process(*ins, **by_class), [encodings, predictions]),
    }


@dataclass(frozen=True, eq=False)
class Made:
    """A case as delegate_cases.Case is one, of a model made beforehand."""

    name: str
    data: bytes
    inputs: list[Any]
    rtol: float | None = 3e-6

    def model(self) -> bytes:
        return self.data

    def values(self) -> list[Any]:
        return self.inputs


CUSTOM_CASES = [Made(name, *model) for name, model in (mediapipe() | pools() | others() | boxes()).items()]
