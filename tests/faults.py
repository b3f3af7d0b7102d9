"""An error at each line that runs while an interpreter is made, prepared or run: what the interpreter is good for then.

usage: python tests/faults.py [DEVICE [EVERY]]   cpu, intel or emulator; every so many lines, 1 unless given
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np

import tflgpu
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder
from tflgpu.ops.custom.custom import custom_op
from tflgpu.runtime.threads import blas_threads

NONE = {"fused_activation_function": "NONE"}


class DriverError(Exception):
    """As those of drivers, which are no RuntimeErrors."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "interrupt": KeyboardInterrupt,
    "memory": MemoryError,
    "driver": lambda: DriverError("the device is gone"),
}
THREADS = blas_threads()
CALLS = ("construct", "allocate", "invoke")
DEVICES = ("cpu", "intel", "emulator")


def model() -> bytes:
    """Two layers, a function of the caller's, a loop of three iterations, and a TILE of a shape known at run time."""
    m = ModelBuilder()
    g, cond, body = m.graph(), m.graph("cond"), m.graph("body")
    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8) / 8
    x, n = g.input("x", "FLOAT32", [3, 8]), g.input("n", "INT32", [2])
    a, b, c, d, e, i = (
        g.tensor(name, *form) for name, form in zip("abcdei", [*[("FLOAT32", [3, 8])] * 5, ("INT32", [])], strict=True)
    )
    g.node("FULLY_CONNECTED", [x, g.constant("w", weights)], [a])
    g.node("EXP", [a], [b])
    g.custom("Told", [b], [c])
    g.node("WHILE", [g.constant("zero", np.int32(0)), c], [i, d], cond_subgraph_index=1, body_subgraph_index=2)
    g.node("FULLY_CONNECTED", [d, g.constant("v", weights[::-1])], [e])
    tiled, y = g.tensor("tiled", "FLOAT32", [3, 8]), g.tensor("y", "FLOAT32", [3, 8])
    g.node("TILE", [e, n], [tiled])
    g.node("NEG", [tiled], [y])
    g.outputs(y)
    counter, go = cond.input("i", "INT32", []), cond.tensor("go", "BOOL", [])
    cond.input("x", "FLOAT32", [3, 8])
    cond.node("LESS", [counter, cond.constant("three", np.int32(3))], [go])
    cond.outputs(go)
    counter, value = body.input("i", "INT32", []), body.input("x", "FLOAT32", [3, 8])
    after, changed = body.tensor("after", "INT32", []), body.tensor("changed", "FLOAT32", [3, 8])
    body.node("ADD", [counter, body.constant("one", np.int32(1))], [after], **NONE)
    body.node("TANH", [value], [changed])
    body.outputs(after, changed)
    return m.build()


def told(node: Any, x: Any) -> Any:
    """The caller's function, whose lines fail too."""
    return x


CONTENT, TOLD = model(), custom_op("Told", told, lambda node: [node.input(0).shape], register=False)
X = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


def delegates_of(device: str) -> list[Any]:
    """The delegates for a device by its name here, which take all but what the CPU must do."""
    options: dict[str, Any] = {"min_nodes_per_partition": "1", "skip_ops": "NEG"}
    if device == "cpu":
        return []
    return [load_delegate("cuda" if device == "emulator" else "opencl", {"device": device, **options})]


def construct(delegates: list[Any]) -> tflgpu.Interpreter:
    return tflgpu.InterpreterWithCustomOps([TOLD], model_content=CONTENT, experimental_delegates=delegates)


def answer(interpreter: tflgpu.Interpreter) -> Any:
    for details, value in zip(interpreter.get_input_details(), (X, np.array([2, 1], np.int32)), strict=True):
        interpreter.set_tensor(details["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def fails_at(number: int, call: Callable[[], object], error: Callable[[], BaseException]) -> tuple[str, str]:
    """Calls, with an error at that line of tflgpu's, or of the caller's function, that runs. Returns the line, "" where
    there are fewer, and the type of what the call raised."""
    lines, where = 0, ""

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal lines, where
        if not (frame.f_globals.get("__name__", "").startswith("tflgpu") or frame.f_globals is told.__globals__):
            return None
        if event == "line":
            lines += 1
            if lines == number:
                where = f"{Path(inspect.getfile(frame)).name}:{frame.f_lineno}"
                sys.settrace(None)
                raise error()
        return trace

    sys.settrace(trace)
    try:
        call()
    except BaseException as raised:
        return where, type(raised).__name__
    finally:
        sys.settrace(None)
    return where, "nothing"


@dataclass
class Row:
    """The outcomes of one table row. wrong: where something was not right afterwards, and what."""

    device: str
    call: str
    error: str
    injected: int = 0
    raised: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        raised = ", ".join(f"{kind} {count}" for kind, count in sorted(self.raised.items()))
        return f"{self.device:9} {self.call:10} {self.error:10} {self.injected:6} {len(self.wrong):6}  {raised}"


MAY_RAISE = {
    "interrupt": {"KeyboardInterrupt"},
    "memory": {"RuntimeError", "OpError", "nothing", "MemoryError"},
    "driver": {"RuntimeError", "OpError", "nothing", "DriverError"},
}
"""What a call may raise. "nothing" where the line serves the error's own handling, or a delegate's doing without; the
error itself where it befell the first or the last lines of the call, which are outside of what is guarded."""


def row(device: str, call: str, error: str, delegates: list[Any], every: int) -> Row:
    """Injects the error at each `every`th line, each time into a new interpreter; other lines for other errors."""
    found = Row(device, call, error)
    right = answer(prepared(delegates))
    for number in count(1 + list(ERRORS).index(error) * every // 3, every):
        interpreter = construct(delegates) if call != "construct" else None
        if interpreter is not None and call == "invoke":
            interpreter.allocate_tensors()
            answer(interpreter)
        acts = {"construct": lambda: construct(delegates)}
        if interpreter is not None:
            acts |= {"allocate": interpreter.allocate_tensors, "invoke": interpreter.invoke}
        where, raised = fails_at(number, acts[call], ERRORS[error])
        if not where:
            break
        found.injected += 1
        found.raised[raised] += 1
        if raised not in MAY_RAISE[error]:
            found.wrong.append(f"{where} raised {raised}")
        found.wrong += [f"{where} ({raised}): {text}" for text in wrong_after(interpreter, call, delegates, right)]
    return found


def prepared(delegates: list[Any]) -> tflgpu.Interpreter:
    interpreter = construct(delegates)
    interpreter.allocate_tensors()
    return interpreter


def wrong_after(interpreter: tflgpu.Interpreter | None, call: str, delegates: list[Any], right: Any) -> Iterator[str]:
    """What is not as it should be."""
    if blas_threads() != THREADS or np.geterr()["over"] != "warn":
        yield "BLAS's threads or NumPy's errstate are not as they were"
    try:
        if interpreter is None:
            interpreter = prepared(delegates)
        elif call == "allocate":
            try:
                if not close(answer(interpreter), right):
                    yield "a wrong answer before the next allocation"
            except (RuntimeError, ValueError):
                pass  # until the next allocation
            interpreter.allocate_tensors()
        for _ in range(2):
            if not close(answer(interpreter), right):
                yield "a wrong answer"
    except Exception as error:
        yield f"{type(error).__name__}: {error}"


def close(got: Any, want: Any) -> bool:
    return got.shape == want.shape and np.allclose(got, want, rtol=1e-5)


def main(device: str = "", every: str = "1") -> None:
    print("device    call       error      errors  wrong  the call raised")
    for one in [device] if device else DEVICES:
        delegates = delegates_of(one)
        for call, error in product(CALLS, ERRORS):
            found = row(one, call, error, delegates, int(every))
            print(found, *found.wrong[:20], sep="\n    ", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
