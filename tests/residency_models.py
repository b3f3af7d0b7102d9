"""Random graphs, and two interpreters that are used alike: one with delegates, one on the CPU alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

import tflgpu
from tflgpu.model.builder import ModelBuilder

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
