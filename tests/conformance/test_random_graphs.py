"""Random graphs of several operators: equal to LiteRT on the CPU, and to the CPU wherever some of them run elsewhere.

The environment variable TFLGPU_RANDOM_GRAPHS is a range of seeds, as in 1000:2000, to run instead of the few that
are here. LiteRT ends the process for some of them: its SOFTMAX of codes does so for long rows of a small scale.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from elsewhere import Elsewhere
from random_graphs import Sample, differences, results, sample

import tflgpu
from tflgpu.delegation.discovery import load_delegate

RANGE = os.environ.get("TFLGPU_RANDOM_GRAPHS", "")


def seeds(few: int) -> range:
    return range(*map(int, RANGE.split(":"))) if RANGE else range(few)


def on_cpu(of: Sample) -> list[Any]:
    found = results(lambda: tflgpu.Interpreter(model_content=of.model), of)
    if found is None:  # a resized batch may fit no more
        found = results(lambda: tflgpu.Interpreter(model_content=of.model), alone(of))
    assert found is not None, of.text
    return found


def alone(of: Sample) -> Sample:
    return Sample(of.model, of.inputs[:1], of.exact, of.text)


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
    same_on(sample(seed + 2000), load_delegate("opencl", {"device": "portable", "min_nodes_per_partition": 1}))


@pytest.mark.parametrize("seed", seeds(6))
def test_cuda_equals_the_cpu(seed: int) -> None:
    same_on(sample(seed + 3000), load_delegate("cuda", {"device": "emulator", "min_nodes_per_partition": 1}))


def same_on(of: Sample, delegate: Any) -> None:
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
