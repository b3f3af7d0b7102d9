"""What ir.py says is computed becomes launches, and epilogues become the macros and arguments of their kernels."""

from __future__ import annotations

from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.render_epilogues import with_rendered_epilogues
from tflgpu.delegates.fusion.steps import PassContext, Step, Steps
from tflgpu.delegates.ir import Copy, Elementwise, Lookup, Reduce, Rescaled
from tflgpu.delegates.launch import Launch
from tflgpu.delegates.render import render


def render_steps(steps: Steps, context: PassContext) -> Steps:
    """Only launches, loops and aliases."""
    return tuple(Step(step.node, rendered(step.op, context.limits)) for step in steps)


def rendered(op: Any, limits: DeviceLimits) -> Any:
    """The op as a launch; itself where it is a loop or an alias."""
    if isinstance(op, Elementwise | Copy | Lookup | Rescaled | Reduce):
        op = render(op, limits)
    return with_rendered_epilogues(op) if isinstance(op, Launch) else op
