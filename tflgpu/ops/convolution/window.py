"""Sliding windows over images: their geometry, and the padded rows that convolutions and pools read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tflgpu.model.graph import Array, Node
from tflgpu.ops.registry import require
from tflgpu.ops.shape_rules import window_size

Copy = tuple[Array, "Array | float | int"]
"""What to copy where: `destination[...] = source`."""


@dataclass(frozen=True)
class Window:
    """A window of kh x kw taps (its elements), strides, dilations, oh x ow output pixels, padding above and left."""

    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    oh: int
    ow: int
    top: int
    left: int

    @property
    def taps(self) -> int:
        return self.kh * self.kw

    def pointwise(self, h: int, w: int) -> bool:
        """Whether the output pixels are those of an image of h x w, each over one of its own."""
        size = self.kh, self.kw, self.sh, self.sw, self.top, self.left, self.oh, self.ow
        return size == (1, 1, 1, 1, 0, 0, h, w)

    @property
    def columns(self) -> int:
        """Columns of input, padding included, that a row of output pixels reads."""
        return (self.ow - 1) * self.sw + (self.kw - 1) * self.dw + 1

    def rows(self, output_rows: int) -> int:
        """Rows of input that so many rows of output pixels read."""
        return (output_rows - 1) * self.sh + (self.kh - 1) * self.dh + 1

    def cropped(self, h: int, w: int) -> tuple[Window, slice, slice]:
        """The window without the rows and columns of taps that never meet an image of h x w, and the taps that remain.

        At least one remains. What the window covers is then bounded by the image's size, whatever the dilation.
        """
        rows = taps_that_meet(self.kh, self.dh, self.top, self.sh, self.oh, h)
        columns = taps_that_meet(self.kw, self.dw, self.left, self.sw, self.ow, w)
        if (rows, columns) == (slice(0, self.kh), slice(0, self.kw)):
            return self, rows, columns
        window = replace(
            self,
            kh=rows.stop - rows.start,
            kw=columns.stop - columns.start,
            top=self.top - rows.start * self.dh,
            left=self.left - columns.start * self.dw,
        )
        return window, rows, columns

    def share(self, axis: int, outputs: slice, size: int) -> tuple[Window, slice]:
        """The window over some output rows (axis 1) or columns (2), and which of `size` rows or columns they read."""
        count = outputs.stop - outputs.start
        if axis == 1:
            names, stride, before, read = ("oh", "top"), self.sh, self.top, self.rows(count)
        else:
            names, stride, before, read = ("ow", "left"), self.sw, self.left, replace(self, ow=count).columns
        start = outputs.start * stride - before
        first = min(max(start, 0), size - 1)
        stop = max(min(start + read, size), first + 1)
        return replace(self, **dict(zip(names, (count, first - start), strict=True))), slice(first, stop)

    def inside(self, h: int, w: int) -> bool:
        """Whether no output pixel of an image of h x w reads padding."""
        return self.top == self.left == 0 and self.rows(self.oh) <= h and self.columns <= w


def sliding(
    image: Sequence[int],
    taps: Sequence[int],
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int] = (1, 1),
    strict: bool = False,
) -> Window:
    """The window of taps (kh, kw) over an image (h, w) with padding "SAME" or "VALID". Raises OpError for no taps."""
    (h, w), (kh, kw), (sh, sw), (dh, dw) = image, taps, strides, dilations
    require(kh > 0 and kw > 0, "filter_size > 0 was not true. ")
    oh, top = window_size(h, kh, sh, dh, padding, strict)
    ow, left = window_size(w, kw, sw, dw, padding, strict)
    return Window(kh, kw, sh, sw, dh, dw, oh, ow, top, left)


def of_convolution(node: Node, image: Sequence[int], taps: Sequence[int]) -> Window:
    """The window of a node with the options of CONV_2D or DEPTHWISE_CONV_2D."""
    o = node.options
    require(o.stride_h > 0 and o.stride_w > 0, "params->stride_height > 0 was not true. ")
    dilations = (o.dilation_h_factor, o.dilation_w_factor)
    require(min(dilations) > 0, "params->dilation_height_factor > 0 was not true. ")
    return sliding(image, taps, (o.stride_h, o.stride_w), o.padding, dilations, strict=True)


class PaddedRows:
    """Rows of an image as windows read them: padded, converted to dtype, in scratch that is filled block by block.

    `data` is (rows, phases, columns, c * repeat): the columns of phase p are p, p + phases, p + 2 phases ... of the
    padded image; with as many phases as the stride, what one tap reads is contiguous. repeat: how often every channel
    comes.
    """

    def __init__(
        self,
        window: Window,
        x_shape: tuple[int, ...],
        output_rows: int,
        dtype: np.dtype,
        pad: float = 0,
        phases: int = 1,
        repeat: int = 1,
    ):
        self.window, self.pad, self.phases, self.repeat = window, pad, phases, repeat
        self.h, self.w, self.c = x_shape[1:]
        columns = -(-window.columns // phases)
        self.data = np.full((window.rows(output_rows), phases, columns, self.c * repeat), pad, dtype)

    def copies(self, image: Array, first: int, output_rows: int) -> list[Copy]:
        """What fills `data` for the output rows from `first` on, from image (h, w, c)."""
        start = first * self.window.sh - self.window.top
        stop = start + self.window.rows(output_rows)
        above, below = max(0, -start), max(0, stop - self.h)
        rows = stop - start
        copies: list[Copy] = []
        if above:
            copies.append((self.data[: min(above, rows)], self.pad))
        if below:
            copies.append((self.data[max(rows - below, 0) : rows], self.pad))
        source = image[max(start, 0) : max(min(stop, self.h), 0)]
        if len(source) == 0:
            return copies
        target = self.data[above : above + len(source)]
        for phase in range(self.phases):
            columns = self._columns(phase)
            if columns:
                to, off, count = columns
                pixels = source[:, off :: self.phases][:, :count]
                copies.append((self._target(target[:, phase, to : to + count]), self._repeated(pixels)))
        return copies

    def _columns(self, phase: int) -> tuple[int, int, int] | None:
        """(first column of the phase, first column of the image, how many) that the image gives to a phase."""
        left, stride = self.window.left, self.phases
        to = max(0, -(-(left - phase) // stride))
        off = phase + to * stride - left
        count = min(self.data.shape[2] - to, -(-(self.w - off) // stride))
        return (to, off, count) if count > 0 else None

    def _target(self, columns: Array) -> Array:
        return columns.reshape(*columns.shape[:2], self.c, self.repeat) if self.repeat > 1 else columns

    def _repeated(self, columns: Array) -> Array:
        return columns[..., None] if self.repeat > 1 else columns

    def taps(self, output_rows: int, phase: int) -> tuple[Array, slice] | None:
        """What the taps of one phase read: (kh, taps, output_rows, ow * c) over `data`, and which taps those are.

        None where no tap falls on the phase.
        """
        win = self.window
        across = [j for j in range(win.kw) if j * win.dw % self.phases == phase]
        if not across:
            return None
        row, _, column, item = self.data.strides
        each = across[1] - across[0] if len(across) > 1 else 1
        shape = (win.kh, len(across), output_rows, win.ow * self.data.shape[3])
        strides = (win.dh * row, each * win.dw // self.phases * column, win.sh * row, item)
        corner = self.data[:, phase, across[0] * win.dw // self.phases :]
        return as_strided(corner, shape, strides, writeable=False), slice(across[0], across[-1] + 1, each)


def im2col_view(image: Array, window: Window, output_rows: int, first: int = 0) -> Array:
    """What each window reads of image (rows, columns, c), without padding: a view (output_rows, ow, kh, kw, c)."""
    row, column, item = image.strides
    return as_strided(
        image[first * window.sh :],
        (output_rows, window.ow, window.kh, window.kw, image.shape[2]),
        (window.sh * row, window.sw * column, window.dh * row, window.dw * column, item),
        writeable=False,
    )


def row_ranges(window: Window, elements_per_row: int, limit: int) -> list[tuple[int, int]]:
    """(first, count): the output rows in even blocks of at most about `limit` elements, at least a row each."""
    if window.oh == 0:
        return []
    most = max(1, limit // max(1, elements_per_row))
    count = -(-window.oh // most)
    size = -(-window.oh // count)
    return [(first, min(size, window.oh - first)) for first in range(0, window.oh, size)]


def taps_that_meet(taps: int, dilation: int, before: int, stride: int, outputs: int, size: int) -> slice:
    """The taps of one axis between the first and the last that some output has within `size`; at least one."""
    first = max(0, -(((outputs - 1) * stride - before) // dilation))
    last = min(taps - 1, (size - 1 + before) // dilation)
    first = min(first, taps - 1)
    return slice(first, max(first, last) + 1)


def positions(window: Window, h: int, w: int) -> Iterator[tuple[int, int, slice, slice, slice, slice]]:
    """For every tap: (i, j, output rows, output columns, input rows, input columns) where it is inside."""
    for i in range(window.kh):
        oy, iy = inside(i * window.dh - window.top, window.sh, window.oh, h)
        for j in range(window.kw):
            ox, ix = inside(j * window.dw - window.left, window.sw, window.ow, w)
            yield i, j, oy, ox, iy, ix


def inside(offset: int, stride: int, outputs: int, size: int) -> tuple[slice, slice]:
    """The outputs p with 0 <= p * stride + offset < size, and the inputs that they read."""
    first = max(0, -(offset // stride))
    last = min(outputs, -(-(size - offset) // stride))
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last), slice(start, (last - 1) * stride + offset + 1, stride)
