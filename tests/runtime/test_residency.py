"""Where values are: whatever is delegated and however an interpreter is used, results are the CPU's; little moves.

Random graphs, random owners of their nodes, random uses: in lockstep with an interpreter without delegates. The
device is NumPy memory elsewhere, which counts; and OpenCL, with operators whose floats are exact on any device.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from elsewhere import Elsewhere
from hypothesis import given, settings
from hypothesis import strategies as st

import tflgpu
from tflgpu.delegation.delegate import Limits, Partition
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.loader import load

WIDTH = 6
NODES = 12


def random_model(seed: int, stateful: bool) -> bytes:
    """Nodes over tensors of (batch, WIDTH), whose batch can be resized; or, stateful, with recurrent nodes."""
    r, rng = random.Random(seed), np.random.default_rng(seed)
    m = ModelBuilder()
    g = m.graph()
    batch = {} if stateful else {"shape_signature": [-1, WIDTH]}
    values = [g.input(f"x{i}", "FLOAT32", [2, WIDTH], **batch) for i in range(r.randint(1, 2))]
    made = []
    for i in range(r.randint(1, NODES)):
        out = g.tensor(f"t{i}", "FLOAT32", [2, WIDTH], **batch)
        kind = r.choice(["ABS", "NEG", "ADD", "MAXIMUM", "MUL", "REVERSE_V2", "RNN" if stateful else "RELU"])
        a, b = r.choice(values[-4:]), r.choice(values)
        if kind in ("ADD", "MAXIMUM"):
            options = {"fused_activation_function": "NONE"} if kind == "ADD" else {}
            g.node(kind, [a, b], [out], **options)
        elif kind == "MUL":
            half = g.constant(f"half{i}", np.float32(0.5))
            g.node(kind, [a, half], [out], fused_activation_function="NONE")
        elif kind == "REVERSE_V2":
            g.node(kind, [a, g.constant(f"axis{i}", np.array([1], np.int32))], [out])
        elif kind == "RNN":
            square = [g.constant(f"w{i}{k}", rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 8) for k in "xh"]
            bias = g.constant(f"bias{i}", rng.normal(size=WIDTH).astype(np.float32))
            state = g.tensor(f"state{i}", "FLOAT32", [2, WIDTH], is_variable=True)
            g.node("RNN", [a, *square, bias, state], [out], fused_activation_function="RELU6")
        else:
            g.node(kind, [a], [out])
        values.append(out)
        made.append(out)
    g.outputs(made[-1], *[t for t in made[:-1] if r.random() < 0.3])
    return m.build()


class Twins:
    """Two interpreters of one model, one with delegates; each use is made of both and must have the same outcome."""

    def __init__(self, model: bytes, delegates: Sequence[Any], rtol: float = 0):
        self.rtol = rtol
        self.plain = tflgpu.Interpreter(model_content=model)
        self.other = tflgpu.Interpreter(model_content=model, experimental_delegates=list(delegates))
        self.inputs = [d["index"] for d in self.plain.get_input_details()]
        self.outputs = [d["index"] for d in self.plain.get_output_details()]
        self.views: list[Any] = []
        self.ready = self.ran = False
        self.random = np.random.default_rng(0)

    def use(self, what: str, number: int) -> None:
        getattr(self, what)(number)

    def set(self, number: int) -> None:
        index = self.inputs[number % len(self.inputs)]
        if self.ready:
            shape = self.plain.get_input_details()[number % len(self.inputs)]["shape"]
            value = self.random.integers(-9, 9, shape).astype(np.float32)
            self.both(lambda i: i.set_tensor(index, value))

    def get(self, number: int) -> None:
        if self.ready:
            readable = [*self.inputs, *(self.outputs if self.ran else [])]
            self.both(lambda i: i.get_tensor(readable[number % len(readable)]).tolist())

    def look(self, number: int) -> None:
        """Through a view, which is let go at once."""
        if self.ready:
            readable = [*self.inputs, *(self.outputs if self.ran else [])]
            self.both(lambda i: i.tensor(readable[number % len(readable)])().tolist())

    def write(self, number: int) -> None:
        """Through a view of an input; of an output now and then, which the next invoke overwrites."""
        if self.ready:
            writable = [*self.inputs, *(self.outputs if self.ran else [])]

            def fill(interpreter: Any) -> None:
                interpreter.tensor(writable[number % len(writable)])()[...] = number

            self.both(fill)

    def hold(self, number: int) -> None:
        """Keeps a view of an input, or lets one go that is kept."""
        if self.views:
            self.views.pop()
        elif self.ready:
            self.views.append(self.both(lambda i: i.tensor(self.inputs[0])(), compare=False))

    def invoke(self, number: int) -> None:
        self.ran = self.both(lambda i: i.invoke()) is None or self.ran

    def resize(self, number: int) -> None:
        shape = [number % 3 + 1, WIDTH]
        for index in self.inputs:
            self.both(lambda i, index=index: i.resize_tensor_input(index, shape))
        if not self.views:
            self.ready = self.ran = False
            self.both(lambda i: i.allocate_tensors())
            self.ready = True

    def allocate(self, number: int) -> None:
        if not self.views:
            self.both(lambda i: i.allocate_tensors())
            self.ready = True

    def reset(self, number: int) -> None:
        if self.ready:
            self.both(lambda i: i.reset_all_variables())

    def both(self, use: Any, compare: bool = True) -> Any:
        """The outcome of the use: what it returns, or the error's type and text. None where it is of neither kind."""
        outcomes = []
        for interpreter in (self.plain, self.other):
            try:
                outcomes.append(use(interpreter))
            except (RuntimeError, ValueError) as error:
                outcomes.append(f"{type(error).__name__}: {error}")
        if compare and all(isinstance(outcome, list) for outcome in outcomes):
            np.testing.assert_allclose(outcomes[1], outcomes[0], rtol=self.rtol, atol=self.rtol)
        else:
            assert not compare or outcomes[0] == outcomes[1]
        return outcomes[0] if compare else outcomes


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
