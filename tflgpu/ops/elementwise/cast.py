"""CAST and BITCAST: another element type for the same values, or for the same bytes."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic import bfloat16
from tflgpu.model.graph import BITS, Array, Node, Shape
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise.elementwise import InPlace
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import same_as_input

_NUMBERS = (
    "FLOAT32 FLOAT16 BFLOAT16 FLOAT64 COMPLEX64 BOOL INT8 UINT8 INT16 UINT16 INT32 UINT32 INT64".split()  # noqa: SIM905
)
_PACKED_RANGES = {"INT4": (-8, 7), "INT2": (-2, 1), "UINT4": (0, 15)}


def _largest_below(limit: int, dtype: np.dtype) -> np.floating:
    """The largest number of a floating type that is at most limit."""
    nearest = dtype.type(limit)
    return nearest if int(nearest) <= limit else np.nextafter(nearest, dtype.type(0))


def _to_integer(limits: tuple[int, int]) -> InPlace:
    """Floats are cut towards zero and clamped to the limits, NaN becomes the upper one; integers wrap."""

    def convert(x: Array, y: Array) -> None:
        if x.dtype.kind != "f":
            np.copyto(y, x, casting="unsafe")
            return
        low, high = x.dtype.type(limits[0]), _largest_below(limits[1], x.dtype)
        inside = x <= high
        np.copyto(y, x.clip(low, high), casting="unsafe")
        if not inside.all():
            np.copyto(y, y.dtype.type(limits[1]), where=~inside)

    return convert


def _to_bfloat16(x: Array, y: Array) -> None:
    y[...] = bfloat16.from_float32(x.astype(np.float32))


def _to_float16(x: Array, y: Array) -> None:
    np.copyto(y, x.astype(np.float32), casting="unsafe")


def _to_bool(x: Array, y: Array) -> None:
    np.not_equal(x, 0, out=y)


def _converter(target: str, dtype: np.dtype) -> InPlace:
    if target in _PACKED_RANGES:
        return _to_integer(_PACKED_RANGES[target])
    if dtype.kind in "iu" and target != "BFLOAT16":
        limits = np.iinfo(dtype)
        return _to_integer((int(limits.min), int(limits.max)))
    special = {"BFLOAT16": _to_bfloat16, "FLOAT16": _to_float16, "BOOL": _to_bool}
    return special.get(target, lambda x, y: np.copyto(y, x, casting="unsafe"))


def _values(x: Array, kind: str, target: str) -> Array:
    """What is converted: bfloat16 as float32, a complex number's real part unless it stays complex."""
    if kind == "BFLOAT16":
        return bfloat16.to_float32(x)
    if kind == "FLOAT16":
        return x.astype(np.float32)
    if kind == "COMPLEX64" and target != "COMPLEX64":
        return x.real
    return x


@kernel("CAST", inputs=1, version=9, types=" ".join([*_NUMBERS, *_PACKED_RANGES]), shape=same_as_input)
def cast(node: Node, inputs: tuple[Array], outputs: tuple[Array]) -> Step:
    """The values as another type: floats saturate to integers (NaN to the largest), integers wrap."""
    kind, target = node.input(0).type, node.outputs[0].type
    packed = (kind in BITS and target != "FLOAT32") or (target in BITS and kind != "FLOAT32")
    require((target in _NUMBERS or target in BITS) and not packed, f"CAST from {kind} to {target} is not supported. ")
    convert = np.positive if kind == target == "BFLOAT16" else _converter(target, node.outputs[0].dtype)

    def values_and_convert(x: Array, y: Array) -> None:
        convert(_values(x, kind, target), y)

    plain = kind not in ("BFLOAT16", "FLOAT16", "COMPLEX64") or kind == target
    return blocked(convert if plain else values_and_convert, inputs, outputs[0])


def _bitcast_shape(node: Node) -> list[Shape]:
    x, y = node.input(0), node.outputs[0]
    wide, narrow = x.dtype.itemsize, y.dtype.itemsize
    if wide == narrow:
        return [x.shape]
    if wide > narrow:
        return [(*x.shape, wide // narrow)]
    require(
        x.shape and x.shape[-1] == narrow // wide, "input->dims->data[dims - 1] != output_type_size / input_type_size. "
    )
    return [x.shape[:-1]]


@kernel(
    "BITCAST",
    inputs=1,
    types="FLOAT16 BFLOAT16 FLOAT32 FLOAT64 COMPLEX64 COMPLEX128 BOOL "
    "INT8 UINT8 INT16 UINT16 INT32 UINT32 INT64 UINT64 INT4 UINT4 INT2",
    shape=_bitcast_shape,
)
def bitcast(node: Node, inputs: tuple[Array], outputs: tuple[Array]) -> Step:
    """The same bytes as another type; the last dimension is made of, or taken up in, elements of another size."""
    kind, target = node.input(0).type, node.outputs[0].type
    require(kind == target or not BITS.keys() & {kind, target}, f"BITCAST from {kind} to {target} is not supported. ")
    x, y = inputs[0].reshape(-1).view(np.uint8), outputs[0].reshape(-1).view(np.uint8)
    return lambda: np.copyto(y, x)
