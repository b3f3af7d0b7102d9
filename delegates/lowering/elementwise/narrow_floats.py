"""FLOAT16 and BFLOAT16: stored as 16 bits, computed with as float32, every result rounded to nearest even."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.arithmetic import bfloat16
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import Expr, call
from tflgpu.delegates.ir import Alias
from tflgpu.delegates.launch import Buffer, Launch, Loop, Lowered, Packed, Ref, Temp
from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.graph import Array, Node, TensorSpec

SUFFIXES = {"FLOAT16": "f16", "BFLOAT16": "bf16"}
"""The suffixes of the conversion functions of types.clh and types.cuh."""

MIXED = ("TRANSPOSE_CONV",)
"""Operators of float32 that take constant weights of float16."""

DEFINES = {"SOFTMAX": {"ROUND_EXP(v)": "from_f16(to_f16(v))", "TYPES": 1}}
"""Macros by which a kernel rounds intermediate values, as the CPU's operator does."""


def is_narrow(spec: TensorSpec | None) -> bool:
    """Whether a tensor's elements are floats of 16 bits."""
    return spec is not None and spec.type in SUFFIXES


def widened(bits: Expr, spec: TensorSpec) -> Expr:
    """The value of a narrow float."""
    return call(f"from_{SUFFIXES[spec.type]}", bits)


def narrowed(value: Expr, spec: TensorSpec) -> Expr:
    """The bits of a narrow float nearest to a value."""
    return call(f"to_{SUFFIXES[spec.type]}", value)


def through_float32(node: Node, limits: DeviceLimits, lowering: Callable[[Node, DeviceLimits], Lowered]) -> Lowered:
    """The node on float32 copies of its narrow floats. Raises Unsupported where there is no such kernel."""
    weights = None
    if node.op == "FULLY_CONNECTED" and not is_narrow(node.input(1)):
        weights = _real_weights(node.input(1))
        node = replace(node, inputs=(node.inputs[0], weights, *node.inputs[2:]))
    specs = {spec.index: spec for spec in (*node.inputs, *node.outputs) if is_narrow(spec) and spec is not None}
    kinds = {s.type for s in (*node.inputs, *node.outputs) if s is not None and _is_float(s) and s is not weights}
    if len(kinds) > 1 and node.op not in MIXED:
        raise Unsupported(f"{node.op} of {' and '.join(sorted(kinds))}")
    wide = replace(
        node,
        inputs=tuple(spec if spec is None else _as_float32(spec) for spec in node.inputs),
        outputs=tuple(_as_float32(spec) for spec in node.outputs),
    )
    values: dict[int, Buffer] = {i: _wide_storage(spec) for i, spec in specs.items()}
    if weights is not None and weights.data is not None:
        values[weights.index] = weights.data
    inner: Lowered = []
    for step in lowering(wide, limits):
        if isinstance(step, Alias | Loop):
            raise Unsupported(f"{node.op} of {node.input(0).type}")
        wide_step = step.on(lambda buffer: values.get(buffer.tensor, buffer) if isinstance(buffer, Ref) else buffer)
        inner.append(_with_defines(wide_step, DEFINES[node.op]) if node.op in DEFINES else wide_step)
    made = {spec.index for spec in node.outputs}
    before = [_converted(s, Ref(i), values[i], True) for i, s in specs.items() if i not in made and s.data is None]
    after = [_converted(s, values[i], Ref(i), False) for i, s in specs.items() if i in made]
    return [*before, *inner, *after]


SUB_BYTE = ("INT4", "INT2")
"""Weights that the CPU's FULLY_CONNECTED of float16 takes besides its own."""


def _real_weights(spec: TensorSpec) -> TensorSpec:
    """Constant quantized weights as real values: float16 is multiplied by these and not quantized."""
    if spec.type not in SUB_BYTE or spec.data is None or spec.quantization is None or spec.quantization.block_size:
        raise Unsupported(f"FLOAT16 times {spec.type}, or weights that are not constant, or have scales by block")
    data = spec.data.astype(np.float32) * spec.quantization.scale.reshape(-1, 1)
    return replace(spec, type="FLOAT32", data=data, quantization=None)


def _is_float(spec: TensorSpec) -> bool:
    return spec.type in SUFFIXES or spec.dtype.kind == "f"


def _as_float32(spec: TensorSpec) -> TensorSpec:
    if not is_narrow(spec):
        return spec
    return replace(spec, type="FLOAT32", data=None if spec.data is None else to_float32(spec.data, spec))


def to_float32(data: Array, spec: TensorSpec) -> Array:
    """The values of a narrow float tensor."""
    return bfloat16.to_float32(data) if spec.type == "BFLOAT16" else data.astype(np.float32)


def _wide_storage(spec: TensorSpec) -> Buffer:
    data = spec.data
    if data is None:
        return Temp(4 * max(int(np.prod(spec.shape)), 1))
    return Packed(lambda: to_float32(data, spec))


def _with_defines(launch: Any, defines: dict[str, Any]) -> Launch:
    assert isinstance(launch, Launch) and not launch.variants
    return replace(launch, defines={**launch.defines, **defines})


def _converted(spec: TensorSpec, x: Buffer, out: Buffer, widen: bool) -> Launch:
    n = int(np.prod(spec.shape))
    suffix = SUFFIXES[spec.type]
    kernel, defines = ("widen", {"FROM": f"from_{suffix}"}) if widen else ("narrow", {"TO": f"to_{suffix}"})
    return Launch(
        f"narrow_floats.{kernel}", (n,), (64,), {"x": x}, {"out": out}, {"n": n}, defines={"TYPES": 1, **defines}
    )
