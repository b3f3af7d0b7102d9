"""Where values are: whatever is delegated and however an interpreter is used, results are the CPU's; little moves.

Random graphs, random owners of their nodes, random uses: in lockstep with an interpreter without delegates. The
device is NumPy memory elsewhere, which counts; and OpenCL, with operators whose floats are exact on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from elsewhere import Elsewhere
from hypothesis import given, settings
from hypothesis import strategies as st
from residency_models import NODES, WIDTH, Twins, random_model

import tflgpu
from tflgpu.delegation.delegate import Limits, Partition
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.loader import load

USES = ("set", "get", "look", "write", "invoke", "invoke", "resize", "reset", "allocate", "hold")
uses = st.lists(st.tuples(st.sampled_from(USES), st.integers(0, 20)), min_size=1, max_size=25)


def play(twins: Twins, played: Sequence[tuple[str, int]], stateful: bool) -> None:
    for what, number in played:
        if not (stateful and what == "resize"):
            twins.use(what, number)
    twins.views.clear()
    for what in ("allocate", "set", "invoke"):
        twins.use(what, 0)
    for number in range(len(twins.inputs) + len(twins.outputs)):
        twins.get(number)


def owned(owners: int, base: int = 3) -> list[list[int]]:
    """The nodes of each delegate: the digits of a number say whose each node is, 0 the CPU's."""
    digits = [owners // base**i % base for i in range(NODES)]
    return [[i for i, digit in enumerate(digits) if digit == one] for one in range(1, base)]


@settings(max_examples=250, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), stateful=st.booleans(), owners=st.integers(0, 3**NODES - 1), played=uses)
def test_any_use_of_any_partition_equals_the_cpu(
    seed: int, stateful: bool, owners: int, played: list[tuple[str, int]]
) -> None:
    devices = [Elsewhere(nodes, f"device{i}") for i, nodes in enumerate(owned(owners))]
    play(Twins(random_model(seed, stateful), devices), played, stateful)


@lru_cache(1)
def opencl() -> Any:
    pytest.importorskip("pyopencl")
    from guarded_device import GuardedDevice

    return GuardedDevice()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), stateful=st.booleans(), owners=st.integers(0, 3**NODES - 1), played=uses)
def test_any_use_of_any_partition_equals_the_cpu_with_opencl(
    seed: int, stateful: bool, owners: int, played: list[tuple[str, int]]
) -> None:
    from tflgpu.delegates.gpu import GpuDelegate

    mine, others = owned(owners)
    device, model = opencl(), random_model(seed, stateful)
    there = frozenset(mine) & {node.index for node in load(path=None, content=model).graphs[0].nodes}
    limits = Limits(min_nodes=1, only_nodes=there)
    delegates = [*([GpuDelegate("opencl", device, limits)] if there else []), Elsewhere(others)]
    # Sums of recurrent nodes, whose rounding stays in the state; all else is exact.
    play(Twins(model, delegates, rtol=1e-5 if stateful else 0), played, stateful)
    device.check_guards()


def crossing(cut: Sequence[Partition], inputs: set[int], outputs: set[int]) -> tuple[list[int], list[int]]:
    """What must be uploaded and downloaded in one invoke whose inputs are new: each tensor once."""
    specs = {s.index: s for p in cut for n in p.nodes for s in (*n.inputs, *n.outputs) if s is not None}
    ours = [one for one in cut if one.owner is not None]
    made = {s.index for one in ours for node in one.nodes for s in node.outputs}
    read_here = {i for one in ours for i in one.inputs if specs[i].data is None and not specs[i].is_variable}
    read_there = {s.index for p in cut if p.owner is None for n in p.nodes for s in n.inputs if s is not None}
    return sorted(read_here - made), sorted(made & (read_there | outputs))


def run_once(interpreter: Any, inputs: Sequence[int]) -> None:
    for index in inputs:
        interpreter.set_tensor(index, np.ones((2, WIDTH), np.float32))
    interpreter.invoke()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), owners=st.integers(0, 2**NODES - 1))
def test_each_tensor_crosses_once_where_it_must_and_no_other_does(seed: int, owners: int) -> None:
    device = Elsewhere(owned(owners, 2)[0])
    interpreter: Any = tflgpu.Interpreter(model_content=random_model(seed, False), experimental_delegates=[device])
    interpreter.allocate_tensors()
    inputs = [d["index"] for d in interpreter.get_input_details()]
    outputs = {d["index"] for d in interpreter.get_output_details()}
    up, down = crossing(interpreter._graphs[0].partitions, set(inputs), outputs)
    run_once(interpreter, inputs)
    assert device.crossed() == (up, down)
    for index in (*inputs, *outputs):
        interpreter.get_tensor(index)
    assert device.crossed() == ([], [])
    interpreter.invoke()  # the inputs are there still
    assert device.crossed() == ([i for i in up if i not in inputs], down)


def test_what_one_partition_makes_for_another_stays_on_the_device() -> None:
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [4])
    a, b, c, d = (g.tensor(n, "FLOAT32", [4]) for n in "abcd")
    g.node("ABS", [x], [a])
    g.node("NEG", [x], [b])
    g.node("RELU", [b], [c])
    g.node("ADD", [a, c], [d], fused_activation_function="NONE")
    g.outputs(d)
    device = Elsewhere({0, 1, 3})
    interpreter = tflgpu.Interpreter(model_content=m.build(), experimental_delegates=[device])
    interpreter.allocate_tensors()
    interpreter.set_tensor(x, np.float32([1, -2, 3, -4]))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(d), [1, 4, 3, 8])
    assert len(device.compiled) == 2
    assert device.crossed() == ([x, c], [b, d])


def recurrent(*, middle: str | None = None) -> bytes:
    """A recurrent node with state; where `middle` is an operator's name, that reads the state too."""
    rng = np.random.default_rng(5)
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2, WIDTH])
    state = g.tensor("state", "FLOAT32", [2, WIDTH], is_variable=True)
    constants = [g.constant(n, rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 4) for n in ("w", "r")]
    bias, out = g.constant("b", rng.normal(size=WIDTH).astype(np.float32)), g.tensor("out", "FLOAT32", [2, WIDTH])
    g.node("RNN", [x, *constants, bias, state], [out], fused_activation_function="TANH")
    outputs = [out]
    if middle:
        seen = g.tensor("seen", "FLOAT32", [2, WIDTH])
        g.node(middle, [state], [seen])
        outputs.append(seen)
    g.outputs(*outputs)
    return m.build()


def named(interpreter: Any, name: str) -> int:
    return int(next(d["index"] for d in interpreter.get_tensor_details() if d["name"] == name))


def test_a_variable_stays_on_the_device_between_invokes() -> None:
    device = Elsewhere({0})
    twins = Twins(recurrent(), [device])
    twins.use("allocate", 0)
    state = named(twins.other, "state")
    for invoke in range(4):
        for what in ("set", "invoke", "get"):
            twins.use(what, 1)
        up, down = device.crossed()
        assert (state in up) == (invoke == 0) and state not in down
    twins.use("reset", 0)
    for what in ("set", "invoke"):
        twins.use(what, 1)
    assert state in device.crossed()[0]
    twins.get(1)


def test_a_variable_that_the_cpu_uses_too_comes_to_the_host_each_time() -> None:
    device = Elsewhere({0})
    twins = Twins(recurrent(middle="ABS"), [device])
    twins.use("allocate", 0)
    state = named(twins.other, "state")
    for invoke in range(3):
        for what in ("set", "invoke"):
            twins.use(what, 1)
        up, down = device.crossed()
        assert down.count(state) == 1
        assert (state in up) == (invoke == 0)  # to read it is not to write it
        for number in range(3):
            twins.get(number)


def test_a_held_view_shows_each_invokes_output_though_a_device_made_it() -> None:
    device = Elsewhere({0})
    interpreter = tflgpu.Interpreter(model_content=recurrent(), experimental_delegates=[device])
    interpreter.allocate_tensors()
    out = interpreter.get_output_details()[0]["index"]
    view = interpreter.tensor(out)
    seen = []
    for value in (1, 2):
        interpreter.set_tensor(0, np.full((2, WIDTH), value, np.float32))
        interpreter.invoke()
        np.testing.assert_array_equal(view(), interpreter.get_tensor(out))
        seen.append(view().copy())
    assert (seen[0] != seen[1]).any()


def test_a_view_alive_refuses_to_run_and_the_device_is_not_touched() -> None:
    device = Elsewhere({0})
    interpreter = tflgpu.Interpreter(model_content=recurrent(), experimental_delegates=[device])
    interpreter.allocate_tensors()
    view = interpreter.tensor(0)()
    with pytest.raises(RuntimeError, match="reference to internal data"):
        interpreter.invoke()
    assert device.crossed() == ([], [])
    view[...] = 1
    del view
    interpreter.invoke()
    assert 0 in device.crossed()[0]
