"""Outputs that are the next run's inputs, without leaving the device."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices import cuda, opencl
from opencl_runtimes import require, require_intel
from oracle import assert_same

from tflgpu.interpreter import Interpreter
from tflgpu.memory import HOST
from tflgpu.model.builder import ModelBuilder

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "llm"))
from transformer import Size, transformer

F = np.float32
SIZE = Size(vocabulary=64, width=64, layers=1, heads=4, kv_heads=2, hidden=64, length=32)
DELEGATES = {
    "CPU": list,
    "Intel": lambda: [opencl(require_intel())],
    "PoCL": lambda: [opencl(require("PoCL"))],
    "CUDA": lambda: [cuda()],
}


def generated(runs: Mapping[str, Any], fed: bool) -> list[np.ndarray]:
    """The scores after a prompt and two more tokens. fed: whether the caller hands on the caches."""
    caches = {name: np.zeros(SIZE.cache_shape, F) for name in SIZE.caches} if fed else {}
    positions, tokens = np.arange(4, dtype=np.int32), np.array([[5, 6, 7, 8]], np.int32)
    results = runs["prefill_4"](tokens=tokens, input_pos=positions, **caches)
    scores = []
    for step in range(3):
        caches = {name: results[name] for name in SIZE.caches} if fed else {}
        token = np.array([[9 + step]], np.int32)
        results = runs["decode"](tokens=token, input_pos=np.array([4 + step], np.int32), **caches)
        assert fed or set(results) == {"logits"}
        scores.append(results["logits"])
    return scores


def runners(interpreter: Interpreter) -> dict[str, Any]:
    return {key: interpreter.get_signature_runner(key) for key in ("prefill_4", "decode")}


@pytest.mark.parametrize("where", DELEGATES)
@pytest.mark.parametrize("weights", ["float32", "int8", "int4"])
def test_caches_that_stay_give_what_caches_that_are_handed_on_give(where: str, weights: str) -> None:
    data, delegates = transformer(replace(SIZE, repeated=weights == "int4"), weights, [4]), DELEGATES[where]()
    want = generated(runners(Interpreter(model_content=data, experimental_delegates=delegates)), fed=True)
    interpreter = Interpreter(model_content=data, experimental_delegates=delegates)
    bound = runners(interpreter)
    for runner in bound.values():
        runner.bind(**{name: name for name in SIZE.caches})
    assert_same(generated(bound, fed=False), want, rtol=0, atol=0)
    written = bound["decode"].get_state("kv_cache_k_0").any(axis=(0, 2, 3))
    assert written.tolist() == [True] * 7 + [False] * 25


def test_bound_caches_are_once_on_the_device_and_never_copied() -> None:
    delegate = opencl(require_intel())
    interpreter = Interpreter(model_content=transformer(SIZE, "int4"), experimental_delegates=[delegate])
    decode = interpreter.get_signature_runner("decode")
    decode.bind(**{name: name for name in SIZE.caches})
    inputs = {"tokens": np.array([[1]], np.int32), "input_pos": np.array([0], np.int32)}
    decode(**inputs)
    (graph,) = interpreter._graphs
    tensors = [carried.tensor for carried in graph.carried.values()]
    assert all(carried.in_place for carried in graph.carried.values())
    decode(**inputs)
    assert all(HOST not in tensor.current for tensor in tensors)


def counter(op: str = "ADD") -> bytes:
    """count + step, and the count before it."""
    model = ModelBuilder()
    graph = model.graph()
    count, step = graph.input("count", "FLOAT32", [3]), graph.input("step", "FLOAT32", [3])
    after, double = graph.tensor("after", "FLOAT32", [3]), graph.tensor("double", "FLOAT32", [3])
    graph.node(op, [count, step], [after])
    graph.node("ADD", [after, count], [double])
    graph.outputs(after, double)
    model.signature("count", graph, {"count": count, "step": step}, {"after": after, "double": double})
    return model.build()


@pytest.mark.parametrize("where", DELEGATES)
def test_an_output_that_is_not_written_in_place_is_copied(where: str) -> None:
    interpreter = Interpreter(model_content=counter(), experimental_delegates=DELEGATES[where]())
    runner = interpreter.get_signature_runner("count")
    runner.bind(count="after")
    runner.set_state("count", np.full(3, 10, F))
    for n in (1, 2, 3):
        assert runner(step=np.ones(3, F))["double"].tolist() == [10 + n + 9 + n] * 3
    assert runner.get_state("count").tolist() == [13] * 3
    runner.bind(count=None)
    assert runner(count=np.zeros(3, F), step=np.ones(3, F))["after"].tolist() == [1] * 3


def test_what_does_not_fit_is_refused() -> None:
    runner = Interpreter(model_content=counter()).get_signature_runner("count")
    with pytest.raises(ValueError, match=r"Invalid input name \(counts\)"):
        runner.bind(counts="after")
    with pytest.raises(ValueError, match=r"Invalid output name \(afters\)"):
        runner.bind(count="afters")
    with pytest.raises(ValueError, match="Input step is bound to no output"):
        runner.get_state("step")
    runner.bind(count="after")
    with pytest.raises(ValueError, match="Invalid number of inputs"):
        runner(count=np.zeros(3, F), step=np.zeros(3, F))
