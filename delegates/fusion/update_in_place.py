"""Slices are written into the tensor that they update, where nobody wants its old value: nothing is copied."""

from __future__ import annotations

from tflgpu.delegates.fusion.steps import PassContext, Step, Steps, Uses, with_ops
from tflgpu.delegates.ir import Alias, Copy
from tflgpu.delegates.launch import Ref


def update_in_place(steps: Steps, context: PassContext) -> Steps:
    """An alias instead of the copy that comes before a slice is written."""
    uses = Uses(steps, context)
    return with_ops(steps, {k: alias for k, step in enumerate(steps) if (alias := _alias(step, uses)) is not None})


def _alias(step: Step, uses: Uses) -> Alias | None:
    op, context = step.op, uses.context
    if not isinstance(op, Copy) or context.nodes[step.node].op != "DYNAMIC_UPDATE_SLICE":
        return None
    x, out = op.x, op.out
    if not isinstance(x, Ref) or not isinstance(out, Ref) or context.constant(x) is not None:
        return None
    inside = uses.used_once(x) and not uses.live_out(out)
    return Alias(out.tensor, x.tensor) if inside or context.one_storage(x.tensor, out.tensor) else None
