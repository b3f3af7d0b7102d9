"""What the CPU refuses reaches no delegate: a delegate that would take anything is never asked."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from ops.malformed_nodes import Variant, sound, variants
from oracle import one_op
from recurrent_models import variable

import tflgpu
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.delegates.lowering.registry import LOWERINGS
from tflgpu.delegation.delegate import Limits, Unsupported
from tflgpu.memory import nbytes
from tflgpu.model.graph import Model, Node
from tflgpu.model.loader import load
from tflgpu.ops.registry import OPS, prepare
from tflgpu.runtime.graph_runner import graph_runners
from tflgpu.runtime.session import Session
from tflgpu.shapes import infer_stage

NOT_ASKED = {"ASSIGN_VARIABLE", "READ_VARIABLE", "IF", "WHILE"}
"""Operators of variables and of other graphs, which need more than one node."""


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
    """Devices once wrote the sums of wider recurrent weights past the end of the output."""
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
    """Devices once moved elements of the output's width, from past the input's end."""
    others, options = VIEWS[op]
    shape = (1, 1, 1, 4) if op == "DEPTH_TO_SPACE" else (4, 1)

    def model(kind: str) -> bytes:
        inputs = [{"type": "INT8", "shape": shape}, *others]
        return one_op(op, inputs, [{"type": kind, "shape": shape}], version=min(2, OPS[op].version), **options)

    tflgpu.Interpreter(model_content=model("INT8")).allocate_tensors()
    refused(model("COMPLEX64"), "input INT8 and output COMPLEX64 must be of one type")


def wrong(node: Node, variant: Variant, delegates: list[GpuDelegate]) -> Iterator[str]:
    """What is wrong with a node that shape inference has passed: who takes it though the CPU refuses it."""
    takers = []
    for delegate in delegates:
        try:
            delegate.attach(variant.model, 1).check(node)
            takers.append(delegate.name)
        except Unsupported:
            pass
        except Exception as error:
            yield f"{variant.name}: {delegate.name} raises {error!r}"
    if takers and (refusal := on_the_cpu(node, variant.model)):
        yield f"{variant.name}: taken by {takers}, though the CPU says {refusal!r}"


def on_the_cpu(node: Node, model: Model) -> Exception | None:
    """What the CPU says against a node when it prepares it."""
    inputs = [s if s is None else np.zeros(s.shape, s.dtype) if s.data is None else s.data for s in node.inputs]
    try:
        prepare(node, inputs, [np.zeros(s.shape, s.dtype) for s in node.outputs], runtime(model))
    except Exception as error:
        return error
    return None


@lru_cache(maxsize=1)
def runtime(model: Model) -> Session:
    session = Session(OPS)
    graph_runners(model, session)
    return session


def inferred(variant: Variant) -> Node | None:
    """The node with the shapes of its outputs; None where it is refused, or its shapes wait for a value."""
    specs = list(variant.graph.tensors)
    for spec in (*variant.node.inputs, *variant.node.outputs, *variant.node.intermediates):
        if spec is not None:
            specs[spec.index] = spec
    try:
        nodes = infer_stage([variant.node], specs, runtime(variant.model)).nodes
    except RuntimeError:
        return None
    return nodes[0] if nodes and sum(map(nbytes, nodes[0].outputs)) < 1 << 24 else None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, where a scale is 0 or no number
def test_what_the_cpu_refuses_is_taken_by_no_delegate_and_lowering_raises_nothing_else() -> None:
    """Over all operators, each with one type, shape, value, quantization or option changed."""
    delegates = devices()
    found: list[str] = []
    asked, operators = 0, set()
    for base in sound():
        for variant in variants(base):
            node = inferred(variant)
            if node is not None:
                asked += 1
                operators.add(node.op)
                found += wrong(node, variant, delegates)
    assert not found, "\n".join([f"{len(found)} of {asked}", *found[:40]])
    assert asked > 2000 and LOWERINGS.keys() - operators <= NOT_ASKED


@pytest.mark.parametrize("axis", [3, -3])
def test_a_cumsum_along_an_axis_that_is_not_there_is_left_to_the_cpu(axis: int) -> None:
    x = {"type": "FLOAT32", "shape": (2, 3)}
    node = sound_node(one_op("CUMSUM", [x, np.int32(axis)], [x]))
    assert not any(takes(delegate, node) for delegate in devices())


@pytest.mark.parametrize("op", ["SELECT", "SELECT_V2"])
def test_a_selection_of_one_element_may_have_an_output_of_another_rank(op: str) -> None:
    """Its lowering raised a ValueError once, which failed the model."""
    one = {"type": "FLOAT32", "shape": (1, 1)}
    data = one_op(op, [{"type": "BOOL", "shape": (1,)}, one, {"type": "FLOAT32", "shape": ()}], [one | {"shape": ()}])
    node = sound_node(data)
    assert all(takes(delegate, node) for delegate in devices())


def sound_node(data: bytes) -> Node:
    """The only node of a model, which shape inference must pass."""
    model = load(content=data)
    node = inferred(Variant("", model.graphs[0].nodes[0], model.graphs[0], model))
    assert node is not None
    return node


def takes(delegate: GpuDelegate, node: Node) -> bool:
    try:
        delegate.check(node)
    except Unsupported:
        return False
    return True


def devices() -> list[GpuDelegate]:
    return [tflgpu.load_delegate("opencl"), tflgpu.load_delegate("cuda", {"device": "emulator"})]
