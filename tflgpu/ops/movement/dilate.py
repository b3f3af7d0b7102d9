"""DILATE: padding values between elements."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.model.graph import BITS, DTYPES, Array, Node, Shape
from tflgpu.ops.registry import Step, kernel, require, value

TYPES = " ".join(name for name in DTYPES if name not in ("STRING", "RESOURCE", "VARIANT") and name not in BITS)


def _shape(node: Node) -> list[Shape]:
    x, dilations, pad = node.input(0), node.input(1), node.input(2)
    require(len(x.shape) > 0, "ctx.input_tensor->dims->size > 0 was not true.")
    require(pad.type == x.type, f"ctx.input_tensor->type != ctx.padding_value_tensor->type ({x.type} != {pad.type})")
    require(0 not in pad.shape, f"{pad}: there must be a value to pad with. ")
    require(dilations.type == "INT32", f"ctx.dilations_tensor->type != kTfLiteInt32 ({dilations.type} != INT32)")
    factors = value(dilations)
    require(factors.shape == (len(x.shape),), f"{factors.size} dilations for {len(x.shape)} dimensions. ")
    require(bool((factors >= 1).all()), "ctx.dilations_tensor->data.i32[i] >= 1 was not true.")
    return [tuple(max(0, (n - 1) * int(d) + 1) for n, d in zip(x.shape, factors, strict=True))]


@kernel("DILATE", inputs=3, types=f"{TYPES} INT4", shape=_shape)
def dilate(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x with dilation - 1 padding values between its neighbours along each axis."""
    x, _, pad = inputs
    assert x is not None and pad is not None
    factors = value(node.input(1))
    out = outputs[0]
    elements = out[tuple(slice(None, None, int(d)) for d in factors)]

    def step() -> None:
        out[...] = pad.reshape(-1)[0]
        elements[...] = x

    return step
