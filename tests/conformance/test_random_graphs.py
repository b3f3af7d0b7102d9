"""Random graphs of several operators: equal to LiteRT on the CPU, and to the CPU wherever some of them run elsewhere.

The environment variable TFLGPU_RANDOM_GRAPHS is a range of seeds, as in 1000:2000, to run instead of the few that
are here. LiteRT ends the process for some of them: its integer SOFTMAX does so for long rows of a small scale.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from elsewhere import Elsewhere

import tflgpu
from tflgpu.conformance.random_graphs import Grown, grown
from tflgpu.conformance.random_graphs.draw import CLOSE, EXACT, QUANTIZED, Value
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.graph import DTYPES, Array


@dataclass(frozen=True)
class Model:
    """A random model, its inputs for each of several invokes, between which their first dimension may change, and how
    exact each output is. text: the nodes, a line each."""

    model: bytes
    inputs: tuple[tuple[Array, ...], ...]
    exact: tuple[int, ...]
    text: str


def sample(seed: int) -> Model:
    """The random model of a seed, of up to 24 nodes."""
    made: Grown = grown(seed, most=24, variables=True)
    rng = np.random.default_rng([8, seed])
    batches = [2, 2, 3, 1, 2] if made.batched else [0, 0, 0]
    inputs = tuple(tuple(_fed(rng, v, batch) for v in made.fed) for batch in batches)
    return Model(made.model.build(), inputs, tuple(v.exact for v in made.outs), "\n".join(made.log))


def _fed(rng: np.random.Generator, v: Value, batch: int) -> Array:
    shape = (batch, *v.shape[1:]) if batch else v.shape
    if v.quantized:
        low, high = QUANTIZED[v.type]
        return np.asarray(rng.integers(low, high + 1, shape)).astype(DTYPES[v.type])
    if v.type == "INT32":
        return rng.integers(-3, 4, shape).astype(np.int32)
    return np.clip(rng.normal(size=shape), -3, 3).astype(np.float32)


def results(make: Callable[[], Any], of: Model) -> list[list[Array]] | None:
    """The outputs of every invoke of one interpreter; None where it refuses the model, or its shapes."""
    try:
        interpreter = make()
        interpreter.allocate_tensors()
        return [_invoked(interpreter, values) for values in of.inputs]
    except (RuntimeError, ValueError):
        return None


def _invoked(interpreter: Any, values: tuple[Array, ...]) -> list[Array]:
    details = interpreter.get_input_details()
    resized = [(d["index"], x.shape) for d, x in zip(details, values, strict=True) if tuple(d["shape"]) != x.shape]
    for index, shape in resized:
        interpreter.resize_tensor_input(index, shape)
    if resized:
        interpreter.allocate_tensors()
    for detail, x in zip(details, values, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]


def difference(got: Array, want: Array, exact: int) -> str:
    """What is wrong with an output, or nothing.

    Integers, and floats that are only moved or compared, are equal. Other floats are near the largest of them, since
    many operators lie before them. Where floats were quantized in between, half of them are.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype} {got.shape} instead of {want.dtype} {want.shape}"
    if not want.size:
        return ""
    if exact == EXACT or (exact == CLOSE and want.dtype.kind != "f"):
        wrong = (got != want) & ~((got != got) & (want != want))
    else:
        real = want.astype(np.float64)
        off = np.abs(got.astype(np.float64) - real)
        largest = max(float(np.abs(real).max()), 1e-3)
        if exact == CLOSE:
            wrong = off > 2e-4 * largest + 1e-5
        else:
            wrong = np.array(np.median(off) > 0.1 * max(float(real.std()), 0.1 * largest))
    if not wrong.any():
        return ""
    at = np.unravel_index(int(np.argmax(wrong)), want.shape)
    return f"{int(wrong.sum())} of {want.size} differ, at {tuple(map(int, at))} {got[at]} instead of {want[at]}"


def differences(got: list[list[Array]], want: list[list[Array]], of: Model) -> list[str]:
    """What is wrong with each output of each invoke, and how the graph was made."""
    found = [
        f"invoke {number}, output {k}: {text}"
        for number, pairs in enumerate(zip(got, want, strict=True))
        for k, (g, w) in enumerate(zip(*pairs, strict=True))
        if (text := difference(g, w, of.exact[k]))
    ]
    return [*found, of.text] if found else []


RANGE = os.environ.get("TFLGPU_RANDOM_GRAPHS", "")


def seeds(few: int) -> range:
    return range(*map(int, RANGE.split(":"))) if RANGE else range(few)


def on_cpu(of: Model) -> list[Any]:
    found = results(lambda: tflgpu.Interpreter(model_content=of.model), of)
    if found is None:  # a resized batch may fit no more
        found = results(lambda: tflgpu.Interpreter(model_content=of.model), alone(of))
    assert found is not None, of.text
    return found


def alone(of: Model) -> Model:
    return Model(of.model, of.inputs[:1], of.exact, of.text)


@pytest.mark.parametrize("seed", seeds(60))
def test_the_cpu_equals_the_reference(seed: int) -> None:
    google = pytest.importorskip("ai_edge_litert.interpreter")
    of, kernels = sample(seed), google.OpResolverType.BUILTIN_REF
    # All tensors apart: in the arena some of its operators write over what another reads later, through an alias.
    apart = {"experimental_op_resolver_type": kernels, "experimental_preserve_all_tensors": True}
    want = results(lambda: google.Interpreter(model_content=of.model, **apart), of)
    got = results(lambda: tflgpu.Interpreter(model_content=of.model), of)
    if want is not None:  # it refuses SLICE of other batches
        assert got is not None, of.text
        assert not differences(got, want, of)


@pytest.mark.parametrize("seed", seeds(80))
def test_nodes_here_and_there_change_nothing(seed: int) -> None:
    of, rng = sample(seed + 1000), np.random.default_rng(seed)
    mine = [int(k) for k in np.flatnonzero(rng.random(200) < rng.choice([0.2, 0.5, 0.8, 1.0]))]
    same_on(of, Elsewhere(mine))


@pytest.mark.parametrize("seed", seeds(3))
def test_opencl_equals_the_cpu(seed: int) -> None:
    pytest.importorskip("pyopencl")
    same_on(sample(seed + 2000), load_delegate("opencl", {"device": "cpu", "min_nodes_per_partition": 1}))


@pytest.mark.parametrize("seed", seeds(6))
def test_cuda_equals_the_cpu(seed: int) -> None:
    same_on(sample(seed + 3000), load_delegate("cuda", {"device": "emulator", "min_nodes_per_partition": 1}))


def same_on(of: Model, delegate: Any) -> None:
    want = on_cpu(of)
    of = of if len(want) == len(of.inputs) else alone(of)
    made = []

    def make() -> Any:
        made.append(tflgpu.Interpreter(model_content=of.model, experimental_delegates=[delegate]))
        return made[-1]

    got = results(make, of)
    assert got is not None, of.text
    assert not differences(got, want, of)
    assert isinstance(delegate, Elsewhere) or " 0 nodes delegated" not in made[0].delegation_report(), of.text
