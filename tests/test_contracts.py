"""What the CPU refuses reaches no delegate: a delegate that would take anything is never asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import one_op
from recurrent_models import variable

import tflgpu
from tflgpu.delegation.delegate import Limits
from tflgpu.model.graph import Node
from tflgpu.ops.registry import OPS


class Greedy:
    """A delegate that takes every node that it is asked about."""

    name = "greedy"
    limits = Limits(min_nodes=1)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, node: Node) -> None:
        self.asked.append(node.op)

    def compile(self, *_: Any) -> Any:
        return lambda: None


def refused(data: bytes, text: str) -> None:
    """Asserts that preparing the model says so, before the delegate has been asked."""
    for delegates in ([], [Greedy()]):
        with pytest.raises(RuntimeError, match=text):
            tflgpu.Interpreter(model_content=data, experimental_delegates=delegates).allocate_tensors()
        assert all(not delegate.asked for delegate in delegates)


def rnn(op: str = "RNN", n: int = 4, x: tuple[int, ...] = (2, 3), out: str = "FLOAT32", **changed: Any) -> bytes:
    """A sound layer of n units over x but for the inputs in `changed`."""
    layer = {
        "weights": np.ones((n, x[-1]), np.float32),
        "recurrent": np.ones((n, n), np.float32),
        "bias": np.zeros(n, np.float32),
        "state": variable((2, n)),
    } | changed
    inputs = [{"type": "FLOAT32", "shape": x}, *layer.values()]
    if op == "BIDIRECTIONAL_SEQUENCE_RNN":
        sound = [np.ones((n, x[-1]), np.float32), np.ones((n, n), np.float32), np.zeros(n, np.float32)]
        inputs = [inputs[0], *sound, variable((2, n)), *layer.values(), None, None, None]
    outputs = [{"type": out, "shape": (*x[:-1], n)}] * (2 if op.startswith("BI") else 1)
    return one_op(op, inputs, outputs, fused_activation_function="TANH")


@pytest.mark.parametrize(
    ("op", "x"),
    [
        ("RNN", (2, 3)),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", (2, 5, 3)),
        ("BIDIRECTIONAL_SEQUENCE_RNN", (2, 5, 3)),
    ],
)
@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"recurrent": np.ones((64, 64), np.float32)}, r"must have the shape \[4, 4\]"),
        ({"recurrent": np.ones((4, 5), np.float32)}, r"must have the shape \[4, 4\]"),
        ({"bias": np.zeros(3, np.float32)}, r"must be \[4\]"),
        ({"state": variable((2, 3))}, "2 x 4 elements expected"),
        ({"state": variable((2, 4), "INT8")}, "must be FLOAT32"),
        ({"state": {"type": "FLOAT32", "shape": (2, 4)}}, "hidden_state != nullptr was not true"),
        ({"out": "INT8"}, "must be FLOAT32"),
    ],
)
def test_a_recurrent_layer_of_tensors_that_do_not_fit(
    op: str, x: tuple[int, ...], changed: dict[str, Any], text: str
) -> None:
    """Devices wrote the wider recurrent weights' sums behind the output once."""
    tflgpu.Interpreter(model_content=rnn(op, x=x)).allocate_tensors()
    refused(rnn(op, x=x, **changed), text)


VIEWS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "TRANSPOSE": ([np.int32([1, 0])], {}),
    "RESHAPE": ([], {"new_shape": [4, 1]}),
    "SQUEEZE": ([], {}),
    "SLICE": ([np.int32([0, 0]), np.int32([2, 1])], {}),
    "STRIDED_SLICE": ([np.int32([0, 0]), np.int32([2, 1]), np.int32([1, 1])], {}),
    "TILE": ([np.int32([2, 1])], {}),
    "BROADCAST_TO": ([np.int32([4, 4])], {}),
    "REVERSE_V2": ([np.int32([0])], {}),
    "DEPTH_TO_SPACE": ([], {"block_size": 2}),
}


@pytest.mark.parametrize("op", VIEWS)
def test_a_movement_into_another_type(op: str) -> None:
    """Devices moved elements of the output's width once, from behind the input's end."""
    others, options = VIEWS[op]
    shape = (1, 1, 1, 4) if op == "DEPTH_TO_SPACE" else (4, 1)

    def model(kind: str) -> bytes:
        inputs = [{"type": "INT8", "shape": shape}, *others]
        return one_op(op, inputs, [{"type": kind, "shape": shape}], version=min(2, OPS[op].version), **options)

    tflgpu.Interpreter(model_content=model("INT8")).allocate_tensors()
    refused(model("COMPLEX64"), "input INT8 and output COMPLEX64 must be of one type")
