"""Operators that put elements around a tensor: PAD, PADV2, MIRROR_PAD, STABLEHLO_PAD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.movement.shape import FIXED_SIZE, require_index_type, require_output_type, require_same_type, sliced
from tflgpu.ops.registry import Step, kernel, require, value
from tflgpu.ops.shape_rules import sized
from tflgpu.ops.tensor_quantization import require_same_quantization, scale_and_zero_point

SMALL_NBYTES = 1 << 14
"""Up to this size one fill of the whole output costs less than filling its borders one by one."""


@dataclass(frozen=True)
class Placement:
    """How one dimension is padded: elements before and after (negative: cut off), and between every two."""

    before: int
    after: int
    between: int = 0

    def size(self, old: int) -> int:
        """The padded size of a dimension of size `old`; negative where more is cut off than there is."""
        return old + max(0, old - 1) * self.between + self.before + self.after

    def slices(self, old: int) -> tuple[slice, slice]:
        """Where in the padded dimension, and from where in the old one, elements are copied."""
        step = self.between + 1
        first = max(0, -(self.before // step)) if self.before < 0 else 0
        last = min(old - 1, (self.size(old) - 1 - self.before) // step)
        if last < first:
            return slice(0, 0), slice(0, 0)
        start = self.before + first * step
        return slice(start, start + (last - first) * step + 1, step), slice(first, last + 1)


def placed(y: Array, x: Array, placements: Sequence[Placement]) -> tuple[Array, Array]:
    """Two views: of y, which is x padded, the elements that come from x; and of x, those elements."""
    pairs = [p.slices(d) for p, d in zip(placements, x.shape, strict=True)]
    return sliced(y, (a for a, _ in pairs)), sliced(x, (b for _, b in pairs))


def borders(y: Array, inner: Sequence[slice]) -> list[Array]:
    """The elements of y outside of `inner`, as views: before and after in each dimension, no element twice."""
    found: list[Array] = []
    for axis, (middle, size) in enumerate(zip(inner, y.shape, strict=True)):
        for edge in (slice(0, middle.start), slice(middle.stop, size)):
            if edge.stop > edge.start:
                found.append(sliced(y, [*inner[:axis], edge]))
    return found


def _paddings(node: Node, types: Sequence[str]) -> list[list[int]]:
    """Input 1: [before, after] for every dimension."""
    require_index_type(node, 1, types)
    rank = len(node.input(0).shape)
    spec = node.input(1)
    require(spec.shape == (rank, 2), f"{node.op} of rank {rank} takes paddings of shape [{rank}, 2], not {spec}. ")
    return value(spec).astype(np.int64).tolist()


PADDING_TYPES = ("INT32", "INT64", "INT8", "INT16", "BOOL")
PAD_TYPES = "FLOAT32 FLOAT16 BFLOAT16 FLOAT8_E4M3FN FLOAT8_E5M2 INT8 UINT8 INT16 INT32 INT64 BOOL"


def _pad_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    require(len(x.shape) <= 5, f"{node.op} supports up to 5 dimensions, not {x}. ")
    filler = node.optional(2)
    if filler is not None:
        require_same_type(node, 0, 2)
        require(int(np.prod(filler.shape)) == 1, f"{node.op} takes one value to pad with, not {filler}. ")
    paddings = _paddings(node, PADDING_TYPES)
    require(all(p >= 0 for pair in paddings for p in pair), "Pad value has to be greater than equal to 0.")
    return [sized(d + before + after for d, (before, after) in zip(x.shape, paddings, strict=True))]


def _is_quantized(x: TensorSpec) -> bool:
    return x.type == "UINT8" or (x.type in ("INT8", "INT16") and x.quantization is not None)


def _filler(node: Node, inputs: Sequence[Array | None]) -> Array:
    """What to pad with, an array without dimensions: input 2, or what stands for zero."""
    y = node.outputs[0]
    given = inputs[2] if len(inputs) > 2 else None
    if given is None:
        zero = scale_and_zero_point(y)[1] if _is_quantized(node.input(0)) else 0
        return np.array(zero).astype(y.dtype)
    return given.reshape(())


def _check_filler(node: Node) -> None:
    require_output_type(node)
    filler = node.optional(2)
    if filler is not None and _is_quantized(node.input(0)):
        same = scale_and_zero_point(filler) == scale_and_zero_point(node.outputs[0])
        require(same, f"{node.op}: the value to pad with must be quantized as the output is. ")


def _pad(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    x, y = inputs[0], outputs[0]
    assert x is not None
    filler = _filler(node, inputs)
    starts = [before for before, _ in _paddings(node, PADDING_TYPES)]
    inner = [slice(a, a + d) for a, d in zip(starts, x.shape, strict=True)]
    middle = sliced(y, inner)
    edges = [y] if y.nbytes <= SMALL_NBYTES else borders(y, inner)

    def step() -> None:
        for edge in edges:
            np.copyto(edge, filler)
        np.copyto(middle, x)

    return step


@kernel("PAD", inputs=2, version=6, types=PAD_TYPES, shape=_pad_shape, check=_check_filler)
def pad(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x with zeros (the zero point where quantized) before and after it, as many as `paddings` (input 1) says."""
    return _pad(node, inputs, outputs)


@kernel("PADV2", inputs=3, version=6, types=PAD_TYPES, shape=_pad_shape, check=_check_filler)
def padv2(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x with the value of input 2 before and after it, as many times as `paddings` (input 1) says."""
    return _pad(node, inputs, outputs)


def _mirror_pad_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    require_same_quantization(node, (x, *node.outputs))
    for old, new in zip(x.shape, _paddings(node, ("INT32", "INT64")), strict=True):
        require(min(new) >= 0, "MirrorPad paddings must be non-negative.")
        most = old - _mirror_offset(node)
        require(max(new) <= most, f"MirrorPad paddings {new} must be no greater than {most} for a dimension of {old}. ")
    pairs = _paddings(node, ("INT32", "INT64"))
    return [sized(d + before + after for d, (before, after) in zip(x.shape, pairs, strict=True))]


def _mirror_offset(node: Node) -> int:
    """1 where the border itself is not repeated (REFLECT), 0 where it is (SYMMETRIC)."""
    mode = node.options.mode
    require(mode in ("REFLECT", "SYMMETRIC"), f"MIRROR_PAD mode {mode!r} is not supported. ")
    return int(mode == "REFLECT")


@kernel("MIRROR_PAD", inputs=2, version=3, types=FIXED_SIZE, shape=_mirror_pad_shape, check=require_output_type)
def mirror_pad(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x with its own elements mirrored before and after it, as many as `paddings` (input 1) says."""
    x, y = inputs[0], outputs[0]
    offset = _mirror_offset(node)
    paddings = _paddings(node, ("INT32", "INT64"))
    inner = [slice(before, before + d) for (before, _), d in zip(paddings, x.shape, strict=True)]
    copies = [(sliced(y, inner), x)]
    # One dimension after another, each over what the earlier ones have already mirrored.
    for axis, ((before, after), d) in enumerate(zip(paddings, x.shape, strict=True)):
        rest = inner[axis + 1 :]
        for count, at, source in ((before, 0, before + offset), (after, before + d, before + d - offset - after)):
            if count:
                mirrored = sliced(y, [*[slice(None)] * axis, slice(source, source + count), *rest])
                target = sliced(y, [*[slice(None)] * axis, slice(at, at + count), *rest])
                copies.append((target, np.flip(mirrored, axis)))

    def step() -> None:
        for target, source in copies:
            np.copyto(target, source)

    return step


def stablehlo_placements(node: Node) -> list[Placement]:
    options = node.options
    rank = len(node.input(0).shape)
    require(1 <= rank <= 8, f"StableHLO Pad input rank must be between 1 and the maximum supported rank, not {rank}. ")
    columns = [options.edge_padding_low, options.edge_padding_high, options.interior_padding]
    rows = [[int(v) for v in (() if column is None else column)] for column in columns]
    require(all(len(row) == rank for row in rows), f"STABLEHLO_PAD of rank {rank} takes as many paddings. ")
    require(all(v >= 0 for v in rows[2]), "StableHLO Pad interior padding must be non-negative.")
    return [Placement(*row) for row in zip(*rows, strict=True)]


def _stablehlo_pad_shape(node: Node) -> list[Shape]:
    require_same_type(node, 0, 1)
    filler = node.input(1)
    require(int(np.prod(filler.shape)) == 1, f"STABLEHLO_PAD takes one value to pad with, not {filler}. ")
    x = node.input(0).shape
    new = [p.size(d) for p, d in zip(stablehlo_placements(node), x, strict=True)]
    # Where nothing is left in one dimension, TensorFlow Lite leaves nothing in any.
    return [sized(new) if all(d > 0 for d in new) else (0,) * len(x)]


@kernel("STABLEHLO_PAD", inputs=2, types=FIXED_SIZE, shape=_stablehlo_pad_shape, check=require_output_type)
def stablehlo_pad(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x with the value of input 1 before, after and between its elements; negative edges cut off."""
    x, y = inputs[0], outputs[0]
    filler = inputs[1].reshape(())
    if not y.size:
        return lambda: None
    target, source = placed(y, x, stablehlo_placements(node))

    def step() -> None:
        np.copyto(y, filler)
        np.copyto(target, source)

    return step
