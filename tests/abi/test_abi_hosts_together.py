"""Several partitions and delegates, native and of Python, in one graph, as in LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from abi.abi_libraries import compiled
from abi.adder import Counts, X, interpreter, result
from sample_models import MIXED, chain

import tflgpu
from tflgpu.delegation.delegate import Limits, Unsupported
from tflgpu.model.graph import Node


def test_two_partitions_of_one_library_hand_over_in_its_buffers(counts: Counts) -> None:
    it = interpreter(tflgpu, chain("ADD", "ADD", "ADD"), {"handles": 1, "one_by_one": 1})
    np.testing.assert_array_equal(result(it), 4 * X)
    assert counts.invokes == 3 and counts.copies == 1


def test_each_delegate_sees_what_those_before_it_left(runtime: Any) -> None:
    it = interpreter(runtime, MIXED, {}, {"add": 0, "mul": 1})
    np.testing.assert_array_equal(result(it), (-(3 * X) + X) * X)
    names = [d["op_name"] for d in it._get_ops_details()]
    assert names == ["ADD", "ADD", "NEG", "ADD", "MUL", *["DELEGATE"] * 3]


class Negator:
    """A Python delegate that runs NEG."""

    name = "negator"
    limits = Limits(min_nodes=1)

    def check(self, node: Node) -> None:
        if node.op != "NEG":
            raise Unsupported(f"no kernel for {node.op}")

    def compile(self, partition: Any, tensors: Any) -> Any:
        (node,) = partition.nodes
        x, y = tensors[node.input(0).index], tensors[node.outputs[0].index]
        return lambda: np.negative(x.read(), out=y.write())


@pytest.mark.parametrize("native_first", [True, False])
@pytest.mark.parametrize("handles", [0, 1])
def test_native_and_python_delegates_share_a_graph(native_first: bool, handles: int) -> None:
    delegates: list[Any] = [tflgpu.load_delegate(str(compiled("adder")), {"handles": handles}), Negator()]
    it = tflgpu.Interpreter(model_content=MIXED, experimental_delegates=delegates if native_first else delegates[::-1])
    np.testing.assert_array_equal(result(it), (-(3 * X) + X) * X)
    report = it.delegation_report()
    assert "adder.so delegate: 3 nodes delegated out of 5 with 2 partitions" in report
    assert "negator delegate: 1 nodes delegated out of 5 with 1 partition" in report
    assert "node 4 MUL stays on the CPU: adder.so: not claimed by the library" in report
