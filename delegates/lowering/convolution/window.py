"""The window of an operator over an image, in the numbers that kernels take."""

from __future__ import annotations

from tflgpu.delegates.lowering.registry import require
from tflgpu.model.graph import Node
from tflgpu.ops.convolution.window import Window
from tflgpu.ops.shape_rules import window_size


def window(node: Node, h: int, w: int, kh: int, kw: int) -> Window:
    """The window of a node with options stride_h, stride_w, padding, and dilations where it has them, over h x w.

    The option `around`, of fold_conv_padding.py: rows above and below, columns left and right, beyond that padding.
    """
    o = node.options
    above, below, before, after = getattr(o, "around", (0, 0, 0, 0))
    dh, dw = getattr(o, "dilation_h_factor", 1), getattr(o, "dilation_w_factor", 1)
    require(min(kh, kw, o.stride_h, o.stride_w, dh, dw) > 0, "a window, stride or dilation that is not positive")
    oh, top = window_size(h + above + below, kh, o.stride_h, dh, o.padding)
    ow, left = window_size(w + before + after, kw, o.stride_w, dw, o.padding)
    return Window(kh, kw, o.stride_h, o.stride_w, dh, dw, oh, ow, top + above, left + before)


def steps_of(over: Window) -> dict[str, int]:
    """Strides, dilations and padding, by the names of kernel parameters."""
    strides = {"stride_h": over.sh, "stride_w": over.sw, "dilation_h": over.dh, "dilation_w": over.dw}
    return strides | {"top": over.top, "left": over.left}
