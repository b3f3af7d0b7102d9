"""RFFT2D, and the real, imaginary part and magnitude of complex numbers, which are pairs."""

from __future__ import annotations

import math

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import IndexMap, Term, X, Y, call
from tflgpu.delegates.ir import Copy, Elementwise, Operand
from tflgpu.delegates.launch import Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.registry import bits_type, constant, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Array, Node

LONGEST = 1 << 14
"""Beyond it the products of two indices do not fit into 32 bits."""


@lowers("RFFT2D")
def rfft2d(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows first, then columns, by the definition: O(n) an output."""
    x, out = node.input(0), node.outputs[0]
    h, w = (int(n) for n in constant(node.input(1), "a size").reshape(-1))
    require(max(h, w) <= LONGEST, f"a spectrum of {h} x {w}")
    real = np.float64 if limits.double else np.float32
    columns, images = w // 2 + 1, math.prod(x.shape[:-2])
    seen_h, seen_w = min(h, x.shape[-2]), min(w, x.shape[-1])
    count = images * seen_h * columns
    z = Temp(max(2 * count, 1) * np.dtype(real).itemsize)
    kind = {"R": "f64" if limits.double else "f32"}

    def twiddles(n: int) -> Packed:
        def make() -> Array:
            angle = -2 * np.pi * np.arange(n) / n
            return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(real)

        return Packed(make)

    image = {"h": x.shape[-2], "w": x.shape[-1], "seen_h": seen_h, "seen": seen_w}
    return [
        Launch(
            "fft.rows",
            (count,),
            inputs={"x": Ref(x.index), "twiddles": twiddles(w)},
            outputs={"z": z},
            sizes={"size": count, **image, "columns": columns, "length": w},
            defines=kind | {"ROWS": 1},
        ),
        Launch(
            "fft.columns",
            (size(out),),
            inputs={"z": z, "twiddles": twiddles(h)},
            outputs={"out": Ref(out.index)},
            sizes={"size": size(out), "seen": seen_h, "columns": columns, "length": h},
            defines=kind,
        ),
    ]


@lowers("REAL", "IMAG")
def part(node: Node, limits: DeviceLimits) -> Lowered:
    """Every other number."""
    x, out = node.input(0), node.outputs[0]
    pairs = standin((*x.shape, 2), out.dtype)
    at = index_map(pairs[..., int(node.op == "IMAG")], pairs)
    return [Copy(Ref(x.index), Ref(out.index), size(out), bits_type(out), at)]


@lowers("COMPLEX_ABS")
def magnitude(node: Node, limits: DeviceLimits) -> Lowered:
    """The root of the sum of both squares."""
    x, out = node.input(0), node.outputs[0]
    require(x.type != "COMPLEX128" or limits.double, "a device without double precision")
    kind = "f64" if x.type == "COMPLEX128" else "f32"
    parts = (Operand(Ref(x.index), kind, IndexMap(start, (Term(stride=2),))) for start in (0, 1))
    return [Elementwise(tuple(parts), call("hypot", X, Y), Ref(out.index), kind, size(out))]
