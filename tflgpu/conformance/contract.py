"""What a delegate owes its interpreter beside right numbers: promises, each checked on models that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance import verdicts
from tflgpu.conformance.guards import Watched
from tflgpu.conformance.reference import answer
from tflgpu.conformance.settings import Settings, opened
from tflgpu.conformance.verdicts import Result
from tflgpu.delegation.delegate import Limits
from tflgpu.interpreter import Interpreter
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Array

FAMILY = "contract"
CANDIDATES = ("ABS", "NEG", "RELU", "ADD", "MUL", "MAXIMUM", "TANH", "LOGISTIC", "SQUARE", "SOFTMAX", "EXP", "SUB")
"""Operators tried one after another for models of which the delegate shall take every node."""
SHAPE = (3, 5)


class Broken(AssertionError):
    """A promise is broken; the text says how."""


class NotApplicable(Exception):
    """The delegate takes nothing that this promise could be seen on."""


class Subject:
    """The delegate as the promises see it. op: one that it takes."""

    def __init__(self, delegate: Watched, settings: Settings):
        self.delegate = delegate
        self.settings = settings
        self.op = self._taken()

    def interpreter(self, model: bytes, delegate: Watched | None = None, **arguments: Any) -> Interpreter:
        chosen = [delegate or self.delegate]
        return Interpreter(model_content=model, experimental_delegates=chosen, **arguments)

    def fresh(self) -> Watched:
        """Another instance of the delegate, without guards."""
        made = Watched(opened(self.settings))
        made.inspects = False
        if made.device is not None:
            made.device.active = False
        return made

    def limited(self, **limits: Any) -> Watched:
        """The delegate with other limits."""
        other = Watched(self.delegate.inner)
        other.limits = replace(Limits(min_nodes=1), **limits)
        return other

    def chain(self, nodes: int = 3, shape: Sequence[int] = SHAPE) -> bytes:
        return chain([self.op] * nodes, shape)

    def _taken(self) -> str:
        for op in CANDIDATES:
            self.delegate.forget()
            interpreter = self.interpreter(chain([op]))
            interpreter.allocate_tensors()
            if self.delegate.partitions:
                self.delegate.forget()
                return op
        raise NotApplicable(f"it takes none of {', '.join(CANDIDATES)}")


PAIRS = ("ADD", "MUL", "MAXIMUM", "SUB")


def chain(ops: Sequence[str], shape: Sequence[int] = SHAPE) -> bytes:
    """A model of these operators in a row; each of two inputs reads the graph's own as the second."""
    model = ModelBuilder()
    g = model.graph()
    x = y = g.input("x", "FLOAT32", shape, shape_signature=[-1] * len(shape))
    for number, op in enumerate(ops):
        out = g.tensor(f"t{number}", "FLOAT32", shape)
        options: dict[str, Any] = {"beta": 1.0} if op == "SOFTMAX" else {}
        g.node(op, [y, x] if op in PAIRS else [y], [out], **options)
        y = out
    g.outputs(y)
    model.signature("run", g, {"x": x}, {"y": y})
    return model.build()


def numbers(shape: Sequence[int] = SHAPE, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def same(got: Sequence[Array], want: Sequence[Array], what: str) -> None:
    """Raises Broken unless the arrays agree to within what any order of float operations gives."""
    for g, w in zip(got, want, strict=True):
        if g.shape != w.shape or not np.allclose(g, w, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise Broken(f"{what}: the outputs are not the CPU's")


def on_cpu(model: bytes, *values: Array) -> list[Array]:
    return answer(Interpreter(model_content=model), values)


Promise = Callable[[Subject], None]
PROMISES: dict[str, Promise] = {}


def promise(text: str) -> Callable[[Promise], Promise]:
    def register(check: Promise) -> Promise:
        PROMISES[f"CONTRACT[{text}]"] = check
        return check

    return register


def judged(name: str, delegate: Watched, settings: Settings) -> Result:
    """Whether the delegate fulfils a promise."""
    start = time.perf_counter()
    result = Result(name, FAMILY, "CONTRACT", "", verdicts.PASSED)
    try:
        PROMISES[name](Subject(delegate, settings))
        result.delegated = 1
    except NotApplicable as why:
        result.verdict, result.why = verdicts.NOT_DELEGATED, str(why)
    except Broken as why:
        result.verdict, result.why = verdicts.FAILED, str(why)
    except Exception as error:
        result.verdict, result.why = verdicts.ERROR, f"{type(error).__name__}: {error}"
    finally:
        if delegate.device is not None:
            delegate.device.active = True
        delegate.forget()
    result.elapsed_ms = (time.perf_counter() - start) * 1e3
    return result
