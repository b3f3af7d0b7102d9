"""Operators that join or split tensors: CONCATENATION, PACK, UNPACK, SPLIT, SPLIT_V."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.movement.shape import require_index_type, require_output_type, require_same_type, sliced
from tflgpu.ops.registry import Step, kernel, require, value
from tflgpu.ops.shape_rules import normalized_axis, sized
from tflgpu.ops.tensor_quantization import require_same_quantization, scale_and_zero_point


def _between(x: Array, axis: int, sizes: Sequence[int]) -> list[Array]:
    """x split into slices of these sizes along axis, as views."""
    ends = np.cumsum(sizes).tolist()
    before = [slice(None)] * axis
    return [sliced(x, [*before, slice(end - size, end)]) for size, end in zip(sizes, ends, strict=True)]


def _concatenation_shape(node: Node) -> list[Shape]:
    specs = [node.input(i) for i in range(len(node.inputs))]
    require(node.options.fused_activation_function == "NONE", "CONCATENATION supports no fused activation. ")
    require(bool(specs), "CONCATENATION takes at least one input. ")
    require_same_type(node, *range(len(specs)))
    first = specs[0].shape
    if not first:
        scalars = all(spec.shape == () and spec.data is not None for spec in specs)
        require(scalars and node.options.axis in (0, -1), "CONCATENATION of scalars is for constants only. ")
        return [(len(specs),)]
    axis = normalized_axis(int(node.options.axis), len(first))
    for spec in specs:
        fits = len(spec.shape) == len(first) and all(
            a == b for i, (a, b) in enumerate(zip(spec.shape, first, strict=True)) if i != axis
        )
        require(fits, f"CONCATENATION along {axis}: {spec} does not fit {specs[0]}. ")
    if specs[0].type == "INT8":
        require_same_quantization(node, (*specs, *node.outputs))
    if specs[0].type == "INT16":
        zero = all(scale_and_zero_point(spec)[1] == 0 for spec in (*specs, *node.outputs))
        require(zero, "CONCATENATION of INT16 takes zero points of 0. ")
    return [sized((*first[:axis], sum(spec.shape[axis] for spec in specs), *first[axis + 1 :]))]


def _check_concatenation(node: Node) -> None:
    require_output_type(node)
    for spec in node.inputs if node.outputs[0].type == "UINT8" else ():
        _rescaling_table(node, spec)


@kernel(
    "CONCATENATION",
    inputs="1+",
    version=7,
    types="FLOAT32 FLOAT16 BFLOAT16 FLOAT8_E4M3FN FLOAT8_E5M2 INT4 INT8 UINT8 INT16 INT32 UINT32 INT64 BOOL",
    shape=_concatenation_shape,
    check=_check_concatenation,
)
def concatenation(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """The inputs one after another along `axis`. uint8 inputs are rescaled to the output's quantization."""
    y = outputs[0]
    pieces = [x.reshape(1) if x.ndim == 0 else x for x in inputs]
    axis = normalized_axis(int(node.options.axis), y.ndim)
    tables = [_rescaling_table(node, spec) for spec in node.inputs] if y.dtype == np.uint8 else []
    if all(table is None for table in tables):
        return lambda: np.concatenate(pieces, axis, out=y)
    targets = _between(y, axis, [x.shape[axis] for x in pieces])

    def step() -> None:
        for target, x, table in zip(targets, pieces, tables, strict=True):
            np.copyto(target, x if table is None else table[x])

    return step


def _rescaling_table(node: Node, spec: TensorSpec | None) -> Array | None:
    """The output's value for every uint8 value of an input, or None where they are the same."""
    assert spec is not None
    old, new = scale_and_zero_point(spec), scale_and_zero_point(node.outputs[0])
    if old == new or node.outputs[0].type != "UINT8":
        return None
    require(new[0] > 0, "CONCATENATION of quantized inputs takes a quantized output. ")
    scale = np.float32(old[0]) * (np.float32(1) / np.float32(new[0]))
    real = np.arange(256, dtype=np.float32) * scale + np.float32(-old[1]) * scale
    # Half away from zero, exactly, hence in float64.
    rounded = np.trunc(real.astype(np.float64) + np.copysign(0.5, real))
    return np.clip(rounded + new[1], 0, 255).astype(np.uint8)


def _pack_shape(node: Node) -> list[Shape]:
    specs = [node.input(i) for i in range(len(node.inputs))]
    require(len(specs) == node.options.values_count, f"PACK of {node.options.values_count} has {len(specs)} inputs. ")
    require(bool(specs), "PACK takes at least one input. ")
    require_same_type(node, *range(len(specs)))
    first = specs[0].shape
    require(all(spec.shape == first for spec in specs), "PACK takes inputs of one shape. ")
    require_same_quantization(node, (*specs, *node.outputs))
    axis = normalized_axis(int(node.options.axis), len(first) + 1)
    return [sized((*first[:axis], len(specs), *first[axis:]))]


@kernel(
    "PACK",
    inputs="1+",
    version=5,
    types="FLOAT32 FLOAT8_E4M3FN FLOAT8_E5M2 INT8 UINT8 INT16 INT32 UINT32 INT64",
    shape=_pack_shape,
    check=require_output_type,
)
def pack(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """The inputs, all of one shape, stacked along a new dimension `axis`."""
    y = outputs[0]
    axis = normalized_axis(int(node.options.axis), y.ndim)
    pieces = [np.expand_dims(x, axis) for x in inputs]
    return lambda: np.concatenate(pieces, axis, out=y)


def _copies(targets: Sequence[Array], sources: Sequence[Array]) -> Step:
    pairs = tuple(zip(targets, sources, strict=True))

    def step() -> None:
        for target, source in pairs:
            target[...] = source

    return step


def _unpack_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    axis = normalized_axis(int(node.options.axis), len(x.shape))
    require(0 not in x.shape and x.shape, f"UNPACK takes a tensor with elements, not {x}. ")
    count = int(node.options.num)
    require(
        count == x.shape[axis] == len(node.outputs),
        f"UNPACK of {x} along {axis} into {count} needs as many outputs, not {len(node.outputs)}. ",
    )
    require_same_quantization(node, (x, *node.outputs))
    return [(*x.shape[:axis], *x.shape[axis + 1 :])] * count


@kernel(
    "UNPACK",
    inputs=1,
    outputs="1+",
    version=6,
    types="FLOAT32 FLOAT16 BFLOAT16 FLOAT8_E4M3FN FLOAT8_E5M2 INT8 UINT8 INT16 INT32 BOOL",
    shape=_unpack_shape,
    check=require_output_type,
)
def unpack(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x split along `axis`: one output an index, without that dimension."""
    x = inputs[0]
    axis = normalized_axis(int(node.options.axis), x.ndim)
    return _copies(outputs, [sliced(x, [*[slice(None)] * axis, i]) for i in range(x.shape[axis])])


# float16 is XNNPACK's addition; the reference resolver refuses it.
SPLIT_TYPES = "FLOAT32 FLOAT16 FLOAT8_E4M3FN FLOAT8_E5M2 INT8 UINT8 INT16 INT32 INT64"


def _axis_input(node: Node, position: int, rank: int) -> int:
    require_index_type(node, position, ("INT32",))
    axis = value(node.input(position))
    require(axis.size == 1, f"{node.op} takes one axis. ")
    return normalized_axis(int(axis.reshape(())), rank)


def _split_shape(node: Node) -> list[Shape]:
    x = node.input(1).shape
    count = int(node.options.num_splits)
    require(count == len(node.outputs) and count > 0, f"SPLIT into {count} has {len(node.outputs)} outputs. ")
    axis = _axis_input(node, 0, len(x))
    require(x[axis] % count == 0, "Not an even split")
    return [(*x[:axis], x[axis] // count, *x[axis + 1 :])] * count


@kernel(
    "SPLIT",
    inputs=2,
    outputs="1+",
    version=5,
    types=SPLIT_TYPES,
    typed_input=1,
    shape=_split_shape,
    check=require_output_type,
)
def split(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x (input 1) split into num_splits equal slices along the dimension in input 0."""
    return _split(inputs[1], _axis_input(node, 0, inputs[1].ndim), outputs)


def _split(x: Array, axis: int, outputs: Sequence[Array]) -> Step:
    return _copies(outputs, _between(x, axis, [y.shape[axis] for y in outputs]))


def _split_v_shape(node: Node) -> list[Shape]:
    x, spec = node.input(0).shape, node.input(1)
    require_index_type(node, 1)
    same = len(node.outputs) == node.options.num_splits and spec.shape == (len(node.outputs),)
    require(same, f"SPLIT_V into {node.options.num_splits} has sizes {spec} and {len(node.outputs)} outputs. ")
    sizes = value(spec).tolist()
    axis = _axis_input(node, 2, len(x))
    require(sizes.count(-1) <= 1, "The size_splits contains more than one -1.")
    rest = x[axis] - sum(s for s in sizes if s != -1)
    if -1 in sizes:
        require(rest >= 0, "The sum of size_splits must be less than the dimension of value.")
    else:
        require(rest == 0, "The size_splits must sum to the dimension of value along axis.")
    return [sized((*x[:axis], rest if s == -1 else s, *x[axis + 1 :])) for s in sizes]


@kernel(
    "SPLIT_V", inputs=3, outputs="1+", version=3, types=SPLIT_TYPES, shape=_split_v_shape, check=require_output_type
)
def split_v(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x split into slices of the sizes in input 1 (one may be -1: the rest) along the dimension in input 2."""
    return _split(inputs[0], _axis_input(node, 2, inputs[0].ndim), outputs)
