"""What our delegates are told in Google's interpreters: nodes, options, constants, variables, custom operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from abi.guests import FUNCTIONS, Numpy, interpreter, partitions, result
from oracle import one_op, tflgpu_run

import tflgpu
from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.memory import Tensor
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Node
from tflgpu.ops.registry import OPS, prepare


def test_quantized_constants_and_options_arrive_as_in_our_interpreter(google: Any) -> None:
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "INT8", [1, 5, 7, 3], scale=0.5, zero_point=3)
    rng = np.random.default_rng(1)
    w = g.constant("w", rng.integers(-9, 9, (2, 3, 3, 3), np.int8), scale=[0.25, 0.5], zero_point=[0, 0], axis=0)
    y = g.tensor("y", "INT8", [1, 5, 7, 2], scale=9.5, zero_point=-2)
    bias = g.constant("bias", np.int32([5, -7]), scale=[0.125, 0.25], zero_point=[0, 0])
    g.node("CONV_2D", [x, w, bias], [y], version=3, padding="SAME", stride_w=1, stride_h=1)
    g.outputs(y)
    seen: list[Node] = []

    class Watcher(Numpy):
        def check(self, node: Node) -> None:
            seen.append(node)
            raise Unsupported("only looking")

    values = rng.integers(-128, 127, (1, 5, 7, 3), np.int8)
    data = m.build()
    got = result(interpreter(google, data, Watcher()), values)
    np.testing.assert_array_equal(got, result(interpreter(google, data), values))
    tflgpu_run(data, [values], [Watcher()])
    told, ours = seen[0], seen[-1]
    assert vars(told.options) == vars(ours.options) and told.version == ours.version
    for mine, other in zip((*told.inputs, *told.outputs), (*ours.inputs, *ours.outputs), strict=True):
        if mine is None or other is None:
            assert mine is other
            continue
        fields = ("index", "name", "type", "shape", "shape_signature", "is_variable")
        assert [getattr(mine, f) for f in fields] == [getattr(other, f) for f in fields]
        if other.quantization is not None:
            assert mine.quantization is not None and mine.quantization.axis == other.quantization.axis
            np.testing.assert_array_equal(mine.quantization.scale, other.quantization.scale)
            np.testing.assert_array_equal(mine.quantization.zero_point, other.quantization.zero_point)
        if other.data is not None:
            np.testing.assert_array_equal(mine.data, other.data)


class Ours:
    """Runs every node with our CPU's operators, variables in place."""

    name = "ours"
    limits = Limits(min_nodes=1)

    def check(self, node: Node) -> None:
        pass

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        runtime: Any = SimpleNamespace(state={}, ops=OPS)
        (node,) = partition.nodes
        arrays = [None if s is None else tensors[s.index].host if s.data is None else s.data for s in node.inputs]
        return prepare(node, arrays, [tensors[s.index].host for s in node.outputs], runtime)


def test_variables_have_what_our_partition_wrote_and_can_be_reset(google: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3)).astype(np.float32)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (4, 4), (4,))]
    state = {"type": "FLOAT32", "shape": [2, 4], "is_variable": True}
    inputs = [{"type": "FLOAT32", "shape": [2, 3]}, *weights, state]
    data = one_op("RNN", inputs, [{"type": "FLOAT32", "shape": [2, 4]}], fused_activation_function="TANH")
    ours, alone = interpreter(google, data, Ours()), interpreter(google, data)
    assert partitions(ours) == 1
    for it in (ours, alone):
        it.allocate_tensors()
    for turn in range(6):
        if turn == 3:
            ours.reset_all_variables()
            alone.reset_all_variables()
        for it in (ours, alone):
            it.set_tensor(it.get_input_details()[0]["index"], x)
            it.invoke()
        got, want = (it.get_tensor(it.get_output_details()[0]["index"]) for it in (ours, alone))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_custom_operator_that_google_does_not_know_runs_in_our_partition(google: Any) -> None:
    class Doubler(Numpy):
        def __init__(self) -> None:
            super().__init__("Doubler")

    FUNCTIONS["Doubler"] = lambda x: x + x
    tflgpu.custom_op("Doubler", shapes=lambda node: [node.inputs[0].shape], cpu=lambda node, x: x + x)
    try:
        spec = {"type": "FLOAT32", "shape": [4]}
        it = interpreter(google, one_op("Doubler", [spec], [spec], custom=b""), Doubler())
        np.testing.assert_array_equal(result(it, np.float32([1, 2, 3, 4])), np.float32([2, 4, 6, 8]))
    finally:
        del OPS["Doubler"], FUNCTIONS["Doubler"]


def test_the_body_of_a_reduction_is_shown_with_it(google: Any) -> None:
    m = ModelBuilder()
    g, body = m.graph(), m.graph("body")
    a, b, s = body.input("a", "FLOAT32", []), body.input("b", "FLOAT32", []), body.tensor("s", "FLOAT32", [])
    body.node("STABLEHLO_ADD", [a, b], [s])
    body.outputs(s)
    x, y = g.input("x", "FLOAT32", [4]), g.tensor("y", "FLOAT32", [2])
    fields: dict[str, Any] = {"window_dimensions": [2], "window_strides": [2], "padding": [0, 0]}
    fields |= {"base_dilations": [1], "window_dilations": [1], "body_subgraph_index": body.index}
    g.node("STABLEHLO_REDUCE_WINDOW", [x, g.constant("zero", np.float32(0))], [y], **fields)
    g.outputs(y)
    shown: list[list[str]] = []

    class Watcher(Numpy):
        def check(self, node: Node) -> None:
            if node.op == "STABLEHLO_REDUCE_WINDOW":
                shown.append([inner.op for inner in node.options.body.nodes])
            raise Unsupported("only looking")

    try:
        alone = result(interpreter(google, m.build()), np.float32([1, 2, 3, 4]))
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"{google.__name__} does not run STABLEHLO_REDUCE_WINDOW: {error}")
    np.testing.assert_array_equal(alone, [3, 7])
    np.testing.assert_array_equal(result(interpreter(google, m.build(), Watcher()), np.float32([1, 2, 3, 4])), [3, 7])
    assert shown == [["STABLEHLO_ADD"]]
