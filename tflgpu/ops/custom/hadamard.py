"""The custom operator aeq.hadamard_rotation: an orthonormal Walsh-Hadamard transform of runs of elements."""

from __future__ import annotations

import math

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops import custom_options
from tflgpu.ops.registry import Step, kernel, require


def _shape(node: Node) -> list[Shape]:
    return [node.input(0).shape]


def _transform(data: Array) -> None:
    """The transform of each row of data (rows, size), in place, size a power of two; divided by sqrt(size)."""
    rows, size = data.shape
    half = 1
    while half < size:
        pairs = data.reshape(rows, size // (2 * half), 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        total = first + second
        np.subtract(first, second, out=second)
        first[...] = total
        half *= 2
    np.multiply(data, np.float32(1) / np.sqrt(np.float32(size)), out=data)


def _run_length(node: Node) -> int:
    size = custom_options.integer(custom_options.read(node), "hadamard_size")
    require(size > 0, f"hadamard_size is {size}; it must be positive. ")
    return size


def _body(node: Node) -> str:
    """The kernel body of one element: its run added up, with signs by the bits that the indices have in common."""
    x = node.input(0)
    require(x.type == node.outputs[0].type == "FLOAT32", f"a kernel for {x.type}. ")
    size, last = _run_length(node), x.shape[-1]
    transformed = math.prod(x.shape[:-1]) * (last // size) * size if size & (size - 1) == 0 else 0
    return f"""
        if (i >= {transformed}) {{
            out0[i] = in0[i];
            return;
        }}
        const i32 k = i % {size};
        f32 sum = 0;
        for (i32 j = 0; j < {size}; j++) {{
            u32 common = (u32)(j & k);
            common ^= common >> 16;
            common ^= common >> 8;
            common ^= common >> 4;
            common ^= common >> 2;
            common ^= common >> 1;
            sum += common & 1 ? -in0[i - k + j] : in0[i - k + j];
        }}
        out0[i] = sum * ({float(np.float32(1) / np.sqrt(np.float32(size))).hex()}f);"""


def _check(node: Node) -> None:
    spec, out = node.input(0), node.outputs[0]
    require(2 <= len(spec.shape) <= 3, f"{node.op} takes a tensor of 2 or 3 dimensions, not {spec}. ")
    require(out.dtype.itemsize == 4, f"{node.op}: the output is {out.type}. ")


@kernel("aeq.hadamard_rotation", inputs=1, types="FLOAT32 INT32", shape=_shape, check=_check, body=_body)
def hadamard_rotation(node: Node, inputs: tuple[Array], outputs: tuple[Array]) -> Step:
    """x (features, size) or (batch, features, size), each run of hadamard_size elements transformed.

    Runs follow one another over the whole tensor; the rest is copied, and so is everything where
    hadamard_size is not a power of two. int32 elements are read as the bits of float32 ones.
    """
    spec = node.input(0)
    size = _run_length(node)
    x, y = (a.reshape(-1).view(np.float32) for a in (inputs[0], outputs[0]))
    count = x.size // spec.shape[-1] * (spec.shape[-1] // size) if spec.shape[-1] else 0
    rows = y[: count * size].reshape(count, size) if size & (size - 1) == 0 else y[:0].reshape(0, 1)

    def step() -> None:
        np.copyto(y, x)
        _transform(rows)

    return step
