"""CONV_3D and CONV_3D_TRANSPOSE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.convolution.convolution import MAX_PADDED, is_constant
from tflgpu.ops.convolution.float_epilogue import FloatEpilogue
from tflgpu.ops.convolution.im2col import IM2COL_ELEMENTS
from tflgpu.ops.convolution.window import inside, taps_that_meet
from tflgpu.ops.registry import Step, kernel, require, value
from tflgpu.ops.scratch import scratch
from tflgpu.ops.shape_rules import window_size


@dataclass(frozen=True)
class Window3D:
    """Taps, strides, dilations, output sizes and padding before, each of depth, height and width."""

    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    output: tuple[int, ...]
    before: tuple[int, ...]

    def touched(self, axis: int) -> int:
        """How many input values along an axis the outputs read, padding included."""
        return (self.output[axis] - 1) * self.strides[axis] + (self.taps[axis] - 1) * self.dilations[axis] + 1

    def cropped(self, sizes: Sequence[int], constant: bool) -> tuple[Window3D, tuple[slice, ...]]:
        """The window without the taps that never meet a volume of `sizes`, and which remain: see cropped_to_image."""
        kept_taps = tuple(
            taps_that_meet(k, d, b, s, p, n)
            for k, d, b, s, p, n in zip(
                self.taps, self.dilations, self.before, self.strides, self.output, sizes, strict=True
            )
        )
        window = replace(
            self,
            taps=tuple(s.stop - s.start for s in kept_taps),
            before=tuple(b - s.start * d for b, s, d in zip(self.before, kept_taps, self.dilations, strict=True)),
        )
        if constant or window == self:
            return window, kept_taps
        covered = self.touched(0) * self.touched(1) * self.touched(2)
        require(covered <= MAX_PADDED, f"a filter that is not constant covers {covered} values with its dilation. ")
        return self, (slice(None),) * 3

    def positions(self, sizes: Sequence[int]) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
        """For every tap: (its number, the outputs, what they read) where it lies within `sizes`."""
        for number, tap in enumerate(np.ndindex(*self.taps)):
            pairs = [
                inside(t * d - b, s, p, n)
                for t, d, b, s, p, n in zip(
                    tap, self.dilations, self.before, self.strides, self.output, sizes, strict=True
                )
            ]
            yield number, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def window_of(node: Node, sizes: Sequence[int], taps: Sequence[int]) -> Window3D:
    o = node.options
    strides = (o.stride_d, o.stride_h, o.stride_w)
    dilations = (o.dilation_d_factor, o.dilation_h_factor, o.dilation_w_factor)
    require(min(strides) > 0, "params->stride_depth > 0 was not true.")
    require(min(dilations) > 0, "params->dilation_depth_factor > 0 was not true.")
    sliding = zip(sizes, taps, strides, dilations, strict=True)
    fits = [window_size(n, k, s, d, o.padding, strict=True) for n, k, s, d in sliding]
    return Window3D(tuple(taps), strides, dilations, tuple(f[0] for f in fits), tuple(f[1] for f in fits))


def _check(node: Node, x_at: int, bias_at: int, channels_at: int, oc_at: int) -> None:
    x, weights, bias = node.input(x_at), node.input(1), node.optional(bias_at)
    require(len(x.shape) == 5, f"input->dims->size != 5 ({len(x.shape)} != 5)")
    require(len(weights.shape) == 5, f"filter->dims->size != 5 ({len(weights.shape)} != 5)")
    require(x.shape[4] == weights.shape[channels_at], f"channels {x.shape[4]} != {weights.shape[channels_at]}")
    require(min(weights.shape) > 0 and min(x.shape[1:]) > 0, "input->dims->data[1] > 0 was not true.")
    for spec in (weights, node.outputs[0], bias):
        require(spec is None or spec.type == "FLOAT32", f"{spec} is not supported; supported: FLOAT32. ")
    if bias is not None:
        oc = weights.shape[oc_at]
        require(int(np.prod(bias.shape)) == oc, f"NumElements(bias) != {oc}")


def _shape(node: Node) -> list[Shape]:
    _check(node, 0, 2, 3, 4)
    x, weights = node.input(0), node.input(1)
    return [(x.shape[0], *window_of(node, x.shape[1:4], weights.shape[:3]).output, weights.shape[4])]


@kernel("CONV_3D", inputs="2-3", types="FLOAT32", shape=_shape)
def conv_3d(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x (b, d, h, w, c) convolved with weights (kd, kh, kw, c, oc) plus bias (oc): (b, od, oh, ow, oc)."""
    x, weights, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    assert x is not None and weights is not None
    out = outputs[0]
    if out.size == 0:
        return lambda: None
    window = window_of(node, x.shape[1:4], weights.shape[:3])
    oc = weights.shape[4]
    window, kept_taps = window.cropped(x.shape[1:4], is_constant(node.input(1)))
    weights = weights[kept_taps]
    k = weights.size // oc
    padded = np.zeros((*(window.touched(axis) for axis in range(3)), x.shape[4]), np.float32)
    # The padded volume is smaller than the input where windows leave out the input's end.
    there, here = zip(*(_overlap(window, x.shape[1 + axis], axis) for axis in range(3)), strict=True)
    copies = list(_im2col_blocks(window, padded))
    right = weights.reshape(k, oc)
    epilogue = FloatEpilogue(None if bias is None else bias.reshape(-1), node.options.fused_activation_function)
    epilogues = [epilogue.bind(image.reshape(-1, oc)) for image in out]
    constant_bias = is_constant(node.optional(2))

    def step() -> None:
        if not constant_bias:
            epilogue.load()
        for image, result, finish in zip(x, out, epilogues, strict=True):
            padded[there] = image[here]
            for target, source, z, rows in copies:
                target[...] = source
                np.matmul(target.reshape(target.shape[0] * target.shape[1], k), right, result[z, rows].reshape(-1, oc))
            finish()

    return step


def _im2col_blocks(window: Window3D, padded: Array) -> Iterator[tuple[Array, Array, int, slice]]:
    """im2col of the padded volume, some rows of outputs at a time.

    Yields (scratch for the columns, which all blocks share; the columns as a view of the volume; output depth, rows).
    """
    od, oh, ow = window.output
    c = padded.shape[3]
    strides = [s * n for s, n in zip(padded.strides[:3], window.strides, strict=True)]
    spread = [s * n for s, n in zip(padded.strides[:3], window.dilations, strict=True)]
    shape = (od, oh, ow, *window.taps, c)
    view = as_strided(padded, shape, (*strides, *spread, padded.itemsize), writeable=False)
    together = max(1, min(oh, IM2COL_ELEMENTS // max(1, ow * int(np.prod(window.taps)) * c)))
    columns = scratch("im2col", (together, *shape[2:]), np.float32)
    for z in range(od):
        for first in range(0, oh, together):
            rows = slice(first, min(first + together, oh))
            yield columns[: rows.stop - first], view[z, rows], z, rows


def _overlap(window: Window3D, size: int, axis: int) -> tuple[slice, slice]:
    """Where in the padded volume an axis of `size` values lies, and which of the values are there."""
    before = window.before[axis]
    start, skipped = max(0, before), max(0, -before)
    count = max(0, min(size - skipped, window.touched(axis) - start))
    return slice(start, start + count), slice(skipped, skipped + count)


def _transpose_shape(node: Node) -> list[Shape]:
    _check(node, 2, 3, 4, 3)
    require(node.input(0).type == "INT32", f"output_shape->type {node.input(0).type} is not INT32. ")
    wanted = value(node.input(0))
    require(wanted.size == 5 and wanted.ndim == 1, f"NumElements(output_shape) != 5 ({wanted.size} != 5)")
    shape = tuple(int(n) for n in wanted)
    require(min(shape) >= 0, "Conv3DTranspose output shape has a negative dimension.")
    weights, x = node.input(1), node.input(2)
    require(shape[0] == x.shape[0], f"shape_data[0] != SizeOfDimension(input, 0) ({shape[0]} != {x.shape[0]})")
    require(shape[4] == weights.shape[3], f"shape_data[4] != filter_output_channels ({shape[4]} != {weights.shape[3]})")
    output = window_of(node, shape[1:4], weights.shape[:3]).output
    require(output == x.shape[1:4], f"the output shape gives an input of {output}, it is {x.shape[1:4]}. ")
    return [shape]


@kernel("CONV_3D_TRANSPOSE", inputs="3-4", types="FLOAT32", typed_input=2, shape=_transpose_shape)
def conv_3d_transpose(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """The transpose of a 3-D convolution with weights (kd, kh, kw, oc, ic): x (b, d, h, w, ic) -> output_shape."""
    weights, x, bias = inputs[1], inputs[2], inputs[3] if len(inputs) > 3 else None
    assert weights is not None and x is not None
    out = outputs[0]
    if out.size == 0:
        return lambda: None
    window = window_of(node, out.shape[1:4], weights.shape[:3])
    *_, oc, ic = weights.shape
    right = weights.reshape(-1, ic).T
    h, w = x.shape[2:4]
    terms = scratch("terms", (h, w, int(np.prod(window.taps)), oc), np.float32)
    flat = terms.reshape(h * w, -1)
    taps = [(n, p[0], p[1:], t[0], t[1:]) for n, p, t in window.positions(out.shape[1:4])]
    epilogue = FloatEpilogue(None if bias is None else bias.reshape(-1), node.options.fused_activation_function)
    finish = epilogue.bind(out.reshape(-1, oc))
    constant_bias = is_constant(node.optional(3))

    def step() -> None:
        if not constant_bias:
            epilogue.load()
        out.fill(0)
        for image, result in zip(x, out, strict=True):
            for z, plane in enumerate(image):
                np.matmul(plane.reshape(h * w, ic), right, flat)
                for number, deep, pixels, z_touched, touched in taps:
                    if deep.start <= z < deep.stop:
                        there = z_touched.start + (z - deep.start) * window.strides[0]
                        target = result[there][touched]
                        np.add(target, terms[pixels][..., number, :], target)
        finish()

    return step
