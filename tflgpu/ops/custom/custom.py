"""Custom operators written in Python, with kernels of their own where they are to run on a device too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflgpu.model.graph import DTYPES, Array, Node, Shape
from tflgpu.ops.registry import OPS, Body, Op, require


def custom_op(
    name: str,
    cpu: Callable[..., Array | tuple[Array, ...]],
    shapes: Callable[[Node], Sequence[Shape]] | None = None,
    *,
    cuda: Body | None = None,
    opencl: Body | None = None,
    types: str = "",
    version: int = 1,
    register: bool = True,
) -> Op:
    """A custom operator for models that name it, in every interpreter made afterwards.

    name: the custom code in the model. cpu: `(node, *inputs) -> output or tuple of outputs`, over NumPy arrays, an
    absent input being None; node.custom_options are its bytes. shapes: `(node) -> shapes of the outputs` from
    node.inputs[i].shape; without it the outputs' shapes are known only at run time, and what follows is prepared then.
    types: the element types that input 0 may have ("FLOAT32 INT8"), any where empty. version: the highest that it
    knows. register=False: for `InterpreterWithCustomOps(custom_op_registerers=[op])` alone, which runs it on the CPU.

    cuda, opencl: what the delegates of these names run in its place: the statements of a kernel, or `(node) -> str`
    that gives them for the shapes and options of a node. They run for every element `i` of `n` in the first output,
    over the pointers `in0`, `in1` … and `out0` … to elements of the tensors' types, which have the names i8 u8 i16 u16
    i32 u32 i64 u64 f32 f64. An element is computed by itself, without barriers and memory of a block: several launches
    may become one kernel. Both need shapes, and must compute what cpu computes.

    >>> double = custom_op(
    ...     "Double",
    ...     cpu=lambda node, x: x + x,
    ...     shapes=lambda node: [node.inputs[0].shape],
    ...     cuda="out0[i] = in0[i] + in0[i];",
    ...     opencl="out0[i] = in0[i] + in0[i];",
    ...     register=False,
    ... )

    Raises ValueError for the name of a builtin operator, unknown types, or bodies without shapes. A custom operator of
    that name is replaced. A result of other types or shapes is a RuntimeError when the model runs.
    """
    if name in OPS and not OPS[name].custom:
        raise ValueError(f"{name} is a builtin operator; a custom one needs another name")
    bodies = {suffix: body for suffix, body in (("cu", cuda), ("cl", opencl)) if body is not None}
    if bodies and shapes is None:
        raise ValueError(f"{name}: kernels need to know the shapes of the outputs before they run; give shapes")
    unknown = set(types.split()) - DTYPES.keys()
    if unknown:
        raise ValueError(f"{name}: {', '.join(sorted(unknown))} is no element type; those are {', '.join(DTYPES)}")
    rule = None if shapes is None else _rule(name, shapes)
    run = _checked(name, cpu, shapes is not None)
    op = Op(name, version, frozenset(types.split()), 0, rule, run, "function", False, True, True, bodies)
    if register:
        OPS[name] = op
    return op


def _rule(name: str, shapes: Callable[[Node], Sequence[Shape]]) -> Callable[[Node], Sequence[Shape]]:
    def rule(node: Node) -> Sequence[Shape]:
        found = [tuple(int(d) for d in shape) for shape in shapes(node)]
        require(
            len(found) == len(node.outputs),
            f"custom op {name}: shapes gave {len(found)}, the model has {len(node.outputs)} outputs. ",
        )
        return found

    return rule


def _checked(name: str, cpu: Callable[..., Any], static: bool) -> Callable[..., Any]:
    """cpu with a check of its results: as many as the node has outputs, of types that fit, and of the static shapes."""

    def run(node: Node, *inputs: Array | None) -> tuple[Array, ...]:
        results = cpu(node, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(node.outputs):
            raise RuntimeError(f"custom op {name} gave {len(results)} outputs, the model has {len(node.outputs)}. ")
        for result, spec in zip(results, node.outputs, strict=True):
            got = result if isinstance(result, np.ndarray | np.generic) else type(result).__name__
            if isinstance(got, str) or not np.can_cast(got.dtype, spec.dtype, "same_kind"):
                raise RuntimeError(f"custom op {name} gave {getattr(got, 'dtype', got)} for {spec}. ")
            if static and got.shape != spec.shape:
                raise RuntimeError(f"custom op {name} gave the shape {list(got.shape)} for {spec}. ")
        return results

    return run
