"""The registry of lowerings by operator, and the checks that all share."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Alias, Copy
from tflgpu.delegates.launch import MAX_ELEMENTS, Buffer, Lowered, Ref
from tflgpu.delegates.lowering.elementwise.narrow_floats import is_narrow, through_float32
from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import OPS, NeedsValue, Op, evaluate

Lowering = Callable[[Node, DeviceLimits], Lowered]

LOWERINGS: dict[str, Lowering] = {}
"""The lowering of each operator, by its name."""

RUNTIME: Any = SimpleNamespace(state={}, ops=OPS)
"""The runtime that the CPU's operators get when a lowering calls them to compute a table."""


WITH_VARIABLES: set[str] = set()
"""Operators whose lowerings read and write variable tensors in place."""


def lowers(*ops: str, variables: bool = False) -> Callable[[Lowering], Lowering]:
    """Registers `(node, limits) -> Lowered`, which raises Unsupported, as the lowering of these operators."""

    def register(lowering: Lowering) -> Lowering:
        for op in ops:
            if op in LOWERINGS:
                raise TypeError(f"{op} has two lowerings")
            LOWERINGS[op] = lowering
            if variables:
                WITH_VARIABLES.add(op)
        return lowering

    return register


def require(condition: object, reason: str) -> None:
    """Raises Unsupported(reason) unless condition holds."""
    if not condition:
        raise Unsupported(reason)


def lower(node: Node, limits: DeviceLimits) -> Lowered:
    """The launches that compute the node. Raises Unsupported, saying why, where no kernel can."""
    op = OPS.get(node.op)
    specs = [spec for spec in (*node.inputs, *node.outputs) if spec is not None]
    lowering = LOWERINGS.get(node.op)
    if lowering is None and op is not None:
        lowering = _BY_STYLE.get("custom" if op.bodies else op.style)
    require(lowering is not None, f"no kernel for {node.op}")
    assert lowering is not None
    for spec in specs:
        _require_plain(spec)
        require(not spec.is_variable or node.op in WITH_VARIABLES, "a variable tensor")
    require(any(spec.data is None for spec in node.inputs if spec is not None), "all its inputs are constants")
    try:
        if _is_settled(node, op):
            return _settled(node)
        if op is not None and _is_of_the_model(node):
            op.require_valid(node)
        if (op is not None and op.stateful) or not any(is_narrow(spec) for spec in specs):
            return lowering(node, limits)
        try:
            return lowering(node, limits)
        except Unsupported:
            return through_float32(node, limits, lowering)
    except (NeedsValue, RuntimeError) as error:  # OpError, or a tensor without the quantization parameters it needs
        raise Unsupported(f"the CPU's kernel reports: {str(error).strip()}") from error


def _is_of_the_model(node: Node) -> bool:
    """Whether the CPU's operator can check the node: not one that reads a variable instead of its handle, nor a
    convolution with padding folded into it, whose image may be smaller than the window."""
    return node.op != "READ_VARIABLE" and not hasattr(node.options, "around")


def _is_settled(node: Node, op: Op | None) -> bool:
    """Whether nothing that a node reads at run time has elements, and what it writes has."""
    reads = [spec for spec in node.inputs if spec is not None and spec.data is None]
    plain = op is not None and not op.stateful and not any(spec.is_variable for spec in reads)
    return plain and not any(size(spec) for spec in reads) and any(size(spec) for spec in node.outputs)


def _settled(node: Node) -> Lowered:
    """Copies of what the CPU's operator returns for empty inputs."""
    inputs = [s if s is None else s.data if s.data is not None else np.zeros(s.shape, s.dtype) for s in node.inputs]
    values = evaluate(node, inputs, RUNTIME)
    return [
        Copy(np.ascontiguousarray(value), Ref(spec.index), size(spec), bits_type(spec))
        for spec, value in zip(node.outputs, values, strict=True)
        if size(spec)
    ]


def _require_plain(spec: TensorSpec) -> None:
    require(spec.dtype != object, f"a tensor of type {spec.type}")
    require(math.prod(spec.shape) <= MAX_ELEMENTS, f"{spec} has more elements than a 32-bit index reaches")
    require(spec.sparsity is None, "a sparse constant")


_BY_STYLE: dict[str, Lowering] = {}


def style(name: str) -> Callable[[Lowering], Lowering]:
    """Registers the lowering of all operators of one style of tflgpu.ops.registry that have none of their own."""

    def register(lowering: Lowering) -> Lowering:
        _BY_STYLE[name] = lowering
        return lowering

    return register


lowers_custom = style("custom")
"""Registers the lowering of operators that have bodies."""


@style("alias")
def alias(node: Node, limits: DeviceLimits) -> Lowered:
    """The same bytes under another shape."""
    return [Alias(node.outputs[0].index, node.input(0).index)]


C_TYPES = {
    np.dtype(dtype): name
    for name, dtype in {
        "i8": np.int8,
        "u8": np.uint8,
        "i16": np.int16,
        "u16": np.uint16,
        "i32": np.int32,
        "u32": np.uint32,
        "i64": np.int64,
        "u64": np.uint64,
        "f32": np.float32,
        "f64": np.float64,
    }.items()
} | {np.dtype(np.bool_): "u8"}
"""The kernels' name of each element type that they compute with."""

BITS_ONLY = ("BFLOAT16", "FLOAT8_E4M3FN", "FLOAT8_E5M2", "RESOURCE")
"""Types that NumPy has no numbers for."""

BITS_TYPES = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
"""The type that moves elements of so many bytes."""


def c_type(spec: TensorSpec, limits: DeviceLimits) -> str:
    """The kernels' name of a tensor's element type. Raises Unsupported where the device does not compute with it."""
    require(spec.dtype in C_TYPES and spec.type not in BITS_ONLY, f"arithmetic on {spec.type}")
    require(spec.dtype != np.float64 or limits.double, "a device without double precision")
    return C_TYPES[spec.dtype]


def bits_type(spec: TensorSpec) -> str:
    """The unsigned type of the size of a tensor's elements."""
    require(spec.dtype.itemsize in BITS_TYPES, f"elements of {spec.dtype.itemsize} bytes")
    return BITS_TYPES[spec.dtype.itemsize]


def i32(value: Any) -> np.int32:
    """A kernel's integer argument. Raises Unsupported where it does not fit."""
    require(-(2**31) <= int(value) < 2**31, f"a size of {value}")
    return np.int32(int(value))


def f32(value: Any) -> np.float32:
    """A kernel's float argument."""
    return np.float32(value)


def size(spec: TensorSpec) -> int:
    """Elements of a tensor."""
    return math.prod(spec.shape)


def constant(spec: TensorSpec | None, what: str) -> Array:
    """The value of an input that must be constant. Raises Unsupported naming it."""
    require(spec is not None and spec.data is not None, f"{what} that is not constant")
    assert spec is not None and spec.data is not None
    return spec.data


def bias_argument(bias: TensorSpec | None, channels: int, dtype: str) -> Buffer:
    """The bias, or zeros where there is none."""
    if bias is None:
        return np.zeros(max(channels, 1), dtype)
    require(bias.dtype == np.dtype(dtype), f"a bias of {bias.type}")
    require(size(bias) == channels, f"a bias of {size(bias)} for {channels} channels")
    return Ref(bias.index)
