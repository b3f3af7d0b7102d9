"""Nodes whose inputs, outputs or options are not their operator's end in a RuntimeError that names them."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import one_op, tflgpu_run

from tflgpu import Interpreter
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.schema import BUILTIN_OPERATORS
from tflgpu.ops.registry import OPS, kernel

WITH_GRAPHS = {"CALL_ONCE", "IF", "WHILE"} | {op for op in OPS if op.startswith("STABLEHLO")}
"""Operators whose options may name graphs, which the loader judges."""


def outcome(op: str, inputs: int, outputs: int, kind: str) -> str:
    """What allocating a node of so many tensors says; nothing where it is content."""
    m = ModelBuilder()
    g = m.graph()
    q = {"scale": 0.5, "zero_point": 0} if kind == "INT8" else {}
    read = [g.input(f"x{k}", kind, [2, 2], **q) for k in range(inputs)]
    made = [g.tensor(f"y{k}", kind, [2, 2], **q) for k in range(outputs)]
    g.node(op, read, made)
    g.outputs(*made)
    try:
        Interpreter(model_content=m.build()).allocate_tensors()
    except RuntimeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("op", sorted({name for name in OPS if name in BUILTIN_OPERATORS} - WITH_GRAPHS))
def test_any_number_of_inputs_and_outputs_is_taken_or_refused_by_name(op: str) -> None:
    for inputs in (0, 1, 2, 3, 5):
        for outputs in range(3):
            for kind in ("FLOAT32", "INT8"):
                said = outcome(op, inputs, outputs, kind)
                assert not said or f"Node number 0 ({op})" in said, (inputs, outputs, kind, said)
                if inputs not in OPS[op].inputs or outputs not in OPS[op].outputs:
                    assert f"{op} takes" in said, said


def test_an_operator_that_does_not_say_how_many_inputs_it_takes_cannot_be_registered() -> None:
    with pytest.raises(TypeError, match="inputs"):
        kernel("NEW")


def test_the_refusal_says_how_many_there_should_be() -> None:
    with pytest.raises(RuntimeError, match=r"ADD takes 2 inputs, not 3\. Node number 0 \(ADD\) failed to prepare\."):
        x = {"type": "FLOAT32", "shape": [2]}
        tflgpu_run(one_op("ADD", [x, x, x], [x]), [np.zeros(2, np.float32)] * 3)


def test_a_node_that_only_running_can_judge_is_named_too() -> None:
    """SHAPE of three tensors is folded before anything runs; it was a TypeError once."""
    x = {"type": "FLOAT32", "shape": [2]}
    with pytest.raises(RuntimeError, match="SHAPE takes 1 inputs"):
        tflgpu_run(one_op("SHAPE", [x, x, x], [{"type": "INT32", "shape": [1]}]), [np.zeros(2, np.float32)] * 3)
