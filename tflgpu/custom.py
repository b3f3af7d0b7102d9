"""Custom operators written in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tflgpu.graph import Array, Node, Shape
from tflgpu.ops.registry import OPS, Op


def custom_op(
    name: str,
    cpu: Callable[..., Array | tuple[Array, ...]],
    shapes: Callable[[Node], Sequence[Shape]] | None = None,
    *,
    types: str = "",
    register: bool = True,
) -> Op:
    """A custom operator for models that name it, in every interpreter made afterwards.

    name: the custom code in the model. cpu: `(node, *inputs) -> output or tuple of outputs`, over NumPy arrays, an
    absent input being None; node.custom_options are its bytes. shapes: `(node) -> shapes of the outputs` from
    node.inputs[i].shape; without it the outputs' shapes are known only after a run, and what follows is prepared then.
    types: the element types that input 0 may have ("FLOAT32 INT8"), any where empty. register=False: for
    `InterpreterWithCustomOps(custom_op_registerers=[op])` alone.

    Raises ValueError for a name that a builtin operator has. A custom operator of that name is replaced.
    """
    if name in OPS and not OPS[name].custom:
        raise ValueError(f"{name} is a builtin operator; a custom one needs another name")

    def shape(node: Node) -> Sequence[Shape]:
        assert shapes is not None
        return [tuple(int(d) for d in s) for s in shapes(node)]

    op = Op(
        name, 1, frozenset(types.split()), 0, shape if shapes else None, _checked(name, cpu), "function", False, True
    )
    if register:
        OPS[name] = op
    return op


def _checked(name: str, cpu: Callable[..., Any]) -> Callable[..., Any]:
    """cpu, its result refused where it is not as many arrays as the node has outputs."""

    def run(node: Node, *inputs: Array | None) -> tuple[Array, ...]:
        results = cpu(node, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(node.outputs):
            raise RuntimeError(f"custom op {name} gave {len(results)} outputs, the model has {len(node.outputs)}. ")
        return results

    return run
