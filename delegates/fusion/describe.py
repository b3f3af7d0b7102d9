"""Steps in words, one line each: %n is tensor n, i the output element."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflgpu.delegates.expression import IDENTITY, IndexMap, c_text
from tflgpu.delegates.fusion.steps import Steps
from tflgpu.delegates.ir import Alias, Copy, Elementwise, Epilogue, Lookup, Reduce, Rescaled
from tflgpu.delegates.launch import Buffer, Launch, Loop, Ref, Temp
from tflgpu.delegates.lowering.reduction.combine import text_of
from tflgpu.model.graph import Node


def described(steps: Steps) -> list[str]:
    """A line for each step."""
    return [f"{step.node}: {_op(step.op)}" for step in steps]


def _op(op: Any) -> str:
    if isinstance(op, Node):
        read = [f"%{spec.index}" for spec in op.inputs if spec is not None]
        return f"{', '.join(f'%{spec.index}' for spec in op.outputs)} = {op.op}({', '.join(read)})"
    if isinstance(op, Alias):
        return f"%{op.output} is %{op.input}"
    if isinstance(op, Loop):
        times = f"{op.iterations} times" if op.test is None else f"while {_buffer(op.test)}"
        return f"loop {times} over {sum(1 for _ in op.launches())} launches"
    if isinstance(op, Launch):
        outputs, inputs = (", ".join(map(_buffer, group.values())) for group in (op.outputs, op.inputs))
        fused = "".join(f", then {_epilogue(epilogue)}" for epilogue in op.epilogues if isinstance(epilogue, Epilogue))
        variants = f", {len(op.variants)} variants" if op.variants else ""
        return f"{outputs} = {op.kernel}({inputs}){fused}{variants}"
    return f"{_buffer(op.out)} = {_value(op)}"


def _epilogue(epilogue: Epilogue) -> str:
    return f"{_buffer(epilogue.op.out)} = {_value(epilogue.op)}"


def _value(op: Elementwise | Copy | Lookup | Rescaled | Reduce) -> str:
    if isinstance(op, Elementwise):
        names = [_element(operand.buffer, operand.at) for operand in op.inputs]
        values = "".join(f" with t{k} = {c_text(value, names.__getitem__)}" for k, (_, value) in enumerate(op.values))
        return f"{c_text(op.expression, names.__getitem__)}{values}, i < {op.n}"
    if isinstance(op, Copy):
        return f"copy of {_element(op.x, op.x_at)} at {op.out_at}, i < {op.n}"
    if isinstance(op, Lookup):
        return f"lookup of {_buffer(op.x)} in {_buffer(op.table)}"
    if isinstance(op, Rescaled):
        return f"rescaled {_buffer(op.x)} {op.operator} {_buffer(op.y)}"
    return f"{text_of(op.reducer.combine)} of {op.count} of {_buffer(op.x)}[{op.x_at} + {op.k_at}], i < {op.n}"


def _element(buffer: Buffer, at: IndexMap) -> str:
    return _buffer(buffer) if at == IDENTITY else f"{_buffer(buffer)}[{str(at)[1:-1]}]"


def _buffer(buffer: Buffer) -> str:
    if isinstance(buffer, Ref):
        return f"%{buffer.tensor}"
    if isinstance(buffer, Temp):
        return f"temporary {buffer.nbytes} bytes"
    return f"constant {list(buffer.shape)}" if isinstance(buffer, np.ndarray) else type(buffer).__name__.lower()
