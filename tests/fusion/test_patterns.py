"""Patterns that one CUDA kernel computes: found where they are, not where they only seem to be, and right."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from attention_models import ATTENTIONS, NO_ATTENTIONS
from convolution_models import EPILOGUES, NO_SEPARABLES, SEPARABLES
from devices import cuda_device
from norm_models import NO_NORMS, NORMS
from oracle import assert_same, tflgpu_run
from pattern_models import Pattern, Writer, inputs_of

from tflgpu.delegation.discovery import load_delegate

DEVICE = cuda_device()

TOLERANCE = {"rtol": 2e-6, "atol": 2e-6} if DEVICE == "emulator" else {"rtol": 1e-5, "atol": 5e-6}
"""Sums over keys and rows in another order than the CPU's; on a GPU, of functions that differ by some ULP too."""


@functools.cache
def cuda(**options: Any) -> Any:
    checks = {"check": DEVICE == "emulator"} if options.pop("check", False) else {}
    return load_delegate("cuda", {"device": DEVICE, "require_full": True} | options | checks)


def runs(model: bytes, values: list[Any]) -> tuple[list[Any], dict[str, int]]:
    """The outputs, and how often each kernel ran."""
    delegate = load_delegate("cuda", {"device": DEVICE, "require_full": True, "profile": True})
    outputs = tflgpu_run(model, values, [delegate])
    return outputs, {name: count for name, (count, _) in delegate.device.times().items()}


class Fused:
    """A tuner that takes the variant of that number among those in which a kernel has a macro, the first by default."""

    def __init__(self, macro: str, number: int = 0):
        self.macro, self.number, self.most, self.found = macro, number, 0, 0

    def choose(self, device: Any, launch: Any, bind: Any) -> Any:
        ways = [w for w in launch.variants if any(self.macro in one.defines for one in w.sequence)]
        self.most = max(self.most, len(ways))
        self.found += bool(ways)
        return ways[min(self.number, len(ways) - 1)] if ways and self.number >= 0 else launch


@pytest.mark.parametrize("pattern", [*ATTENTIONS, *NORMS, *EPILOGUES], ids=lambda p: p.name)
def test_a_pattern_is_one_launch_and_the_cpus_result(pattern: Pattern) -> None:
    model = pattern.model()
    values = inputs_of(model)
    got, launches = runs(model, values)
    assert_same(got, tflgpu_run(model, values), **TOLERANCE)
    assert launches == pattern.launches


def as_composite(pattern: Pattern) -> bytes:
    """A model of one composite, whose decomposition is the pattern."""
    w = Writer()
    f = w.g
    f.outputs(*pattern.write(w))
    main = w.builder.graph("main")
    ends = [f.tensors[k] for side in f.interface.values() for k in side]
    new = [main.tensor(end["name"], end["type"], end["shape"]) for end in ends]
    count = len(f.interface["inputs"])
    main.interface = {"inputs": new[:count], "outputs": new[count:]}
    options = {"name": "odml.f", "decomposition_subgraph_index": 1, "composite_attributes": b"\0"}
    main.node("STABLEHLO_COMPOSITE", new[:count], new[count:], **options)
    w.builder.graphs.reverse()  # an interpreter runs the first
    return w.builder.build()


@pytest.mark.parametrize("pattern", [*ATTENTIONS[:5], *NORMS[:3]], ids=lambda p: p.name)
def test_a_pattern_in_a_composite_is_found_too(pattern: Pattern) -> None:
    model = as_composite(pattern)
    values = inputs_of(model)
    got, launches = runs(model, values)
    assert_same(got, tflgpu_run(model, values), **TOLERANCE)
    assert launches == pattern.launches


@pytest.mark.parametrize("pattern", [*ATTENTIONS, *NORMS, *EPILOGUES], ids=lambda p: p.name)
def test_a_pattern_breaks_no_rule_of_cuda(pattern: Pattern) -> None:
    model = pattern.model()
    values = inputs_of(model)
    assert_same(tflgpu_run(model, values, [cuda(check=True)]), tflgpu_run(model, values), **TOLERANCE)


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
@pytest.mark.parametrize("pattern", ATTENTIONS[:9:4], ids=lambda p: p.name)
def test_attention_on_tensor_cores_rounds_its_operands_and_breaks_no_rule(pattern: Pattern, precision: str) -> None:
    model = pattern.model()
    values = inputs_of(model)
    options = {"device": DEVICE, "autotune": True, "precision": precision, "cache_dir": "none"}
    delegate = load_delegate("cuda", options | ({"check": True} if DEVICE == "emulator" else {}))
    tuner = delegate.device.tuner = Fused("MMA", -1)  # the launch itself first
    want = tflgpu_run(model, values)
    while tuner.number < tuner.most:
        assert_same(tflgpu_run(model, values, [delegate]), want, rtol=1e-2, atol=1e-2)
        tuner.number += 1


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
@pytest.mark.parametrize("name", ["a row without keys", "a row of minus infinity", "not a number", "growing"])
def test_masked_rows_on_tensor_cores_are_those_of_the_single_kernels(name: str, precision: str) -> None:
    rows = np.arange(70, dtype=np.float32)[None] * np.float32([[0.0], [1.0], [-1.0]])  # weights leave their scale
    mask = rows if name == "growing" else MASKS[name].astype(np.float32)
    model = masked(np.repeat(mask if mask.ndim == 2 else mask[None], 6, 0), queries=mask.shape[0] * 6)
    values = inputs_of(model)
    delegate = load_delegate("cuda", {"device": DEVICE, "precision": precision, "profile": True})
    got = tflgpu_run(model, values, [delegate])
    assert delegate.device.times().keys() == {"attention_mma"}
    assert_same(got, tflgpu_run(model, values), rtol=1e-2, atol=1e-2)


ONLY_ALIKE = [("attention", p, ("batched_gemm", 2)) for p in NO_ATTENTIONS]
ONLY_ALIKE += [("row_chain", p, ("reduce", 1)) for p in NO_NORMS]


@pytest.mark.parametrize("kernel, pattern, instead", ONLY_ALIKE, ids=[p.name for _, p, _ in ONLY_ALIKE])
def test_what_only_looks_like_a_pattern_runs_as_it_is(kernel: str, pattern: Pattern, instead: tuple[str, int]) -> None:
    model = pattern.model()
    values = inputs_of(model)
    got, launches = runs(model, values)
    assert_same(got, tflgpu_run(model, values), **TOLERANCE)
    assert kernel not in launches and launches[instead[0]] == instead[1]


def test_a_mean_that_others_read_is_made_and_the_rest_is_one_launch() -> None:
    w = Writer()
    x = w.input(4, 32)
    mean = w.mean(x)
    variance = w.mean(w.binary("SQUARED_DIFFERENCE", x, mean))
    unit = w.binary("MUL", w.binary("SUB", x, mean), w.unary("RSQRT", variance))
    model = w.model(unit, mean)
    values = inputs_of(model)
    got, launches = runs(model, values)
    assert_same(got, tflgpu_run(model, values), **TOLERANCE)
    assert launches == {"reduce": 1, "elementwise": 1, "row_chain": 1}


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_normalization_of_what_is_no_number_is_the_cpus(value: float) -> None:
    model = NORMS[0].model()
    values = inputs_of(model)
    values[0][0, 3, 5] = value
    got, _ = runs(model, values)
    with np.errstate(all="ignore"):
        assert_same(got, tflgpu_run(model, values), **TOLERANCE)


def masked(mask: Any, n: int = 70, queries: int = 3) -> bytes:
    w = Writer()
    q, k, v = w.input(1, queries, 8), w.input(1, n, 8), w.input(1, n, 8)
    scores = w.binary("ADD", w.matmul(q, k, adj_y=True), w.constant(mask))
    return w.model(w.matmul(w.softmax(scores), v))


MASKS = {
    "a row without keys": np.repeat(np.float32([[0], [-3.4028235e38], [0]]), 70, 1),
    "a row of minus infinity": np.repeat(np.float32([[0], [-np.inf], [0]]), 70, 1),
    "the first keys masked": np.where(np.arange(70) < 66, np.float32(-np.inf), np.float32(0)),
    "not a number": np.where(np.arange(70) == 68, np.float32(np.nan), np.float32(0)) * np.float32([[0], [1], [0]]),
    "plus infinity": np.where(np.arange(70) == 3, np.float32(np.inf), np.float32(0)),
}


@pytest.mark.parametrize("name", MASKS)
def test_masked_rows_are_those_of_the_single_kernels(name: str) -> None:
    model = masked(MASKS[name].astype(np.float32))
    values = inputs_of(model)
    got, launches = runs(model, values)
    assert launches == {"attention": 1}
    assert_same(got, tflgpu_run(model, values), **TOLERANCE)


SPECIAL = {
    "a query that is not a number": (0, (0, 1, 3), np.nan),
    "a key that is not a number": (1, (0, 69, 3), np.nan),
    "an infinite query": (0, (0, 1, 3), np.inf),
    "keys of minus infinity": (1, (0, slice(0, 66), 0), -np.inf),
    "all keys of minus infinity": (1, (0, slice(0, 70), 0), -np.inf),
    "a value that is not a number": (2, (0, 5, 3), np.nan),
    "an infinite value": (2, (0, 5, 3), -np.inf),
    "values near the largest": (2, (0, slice(0, 70), 3), 3.4e38),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_numbers_that_are_none_go_where_the_cpu_lets_them(name: str) -> None:
    which, where, value = SPECIAL[name]
    w = Writer()
    q, k, v = w.input(1, 3, 8), w.input(1, 70, 8), w.input(1, 70, 8)
    model = w.model(w.matmul(w.softmax(w.matmul(q, k, adj_y=True)), v))
    values = inputs_of(model)
    values[which][where] = value
    if name.startswith(("keys of", "all keys")):
        values[0][..., 0] = np.abs(values[0][..., 0])
    got, launches = runs(model, values)
    assert launches == {"attention": 1}
    with np.errstate(all="ignore"):
        want = tflgpu_run(model, values)
    assert_same(got, want, **TOLERANCE)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("pattern", SEPARABLES, ids=lambda p: p.name)
def test_a_depthwise_convolution_is_fused_into_the_pointwise_one_after_it(pattern: Pattern, check: bool) -> None:
    model = pattern.model()
    values = inputs_of(model)
    want = tflgpu_run(model, values)
    options = {"check": True} if check and DEVICE == "emulator" else {"profile": True}
    delegate = load_delegate("cuda", {"device": DEVICE, "autotune": True, "cache_dir": "none"} | options)
    tuner = delegate.device.tuner = Fused("SEPARABLE")
    while tuner.number < max(tuner.most, 1):
        assert_same(tflgpu_run(model, values, [delegate]), want, rtol=1e-5, atol=1e-5)
        tuner.number += 1
    assert tuner.found == tuner.number
    assert check or not delegate.device.times().keys() & {"depthwise_strips", "elementwise"}


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_depthwise_convolution_fused_into_a_tensor_core_gemm_is_rounded_alike(precision: str) -> None:
    model = SEPARABLES[0].model()
    values = inputs_of(model)
    want = tflgpu_run(model, values, [cuda(precision=precision)])
    delegate = load_delegate("cuda", {"device": DEVICE, "autotune": True, "precision": precision, "cache_dir": "none"})
    tuner = delegate.device.tuner = Fused("SEPARABLE")
    assert_same(tflgpu_run(model, values, [delegate]), want, rtol=1e-5, atol=1e-5)
    assert tuner.found


@pytest.mark.parametrize("pattern", NO_SEPARABLES, ids=lambda p: p.name)
def test_a_depthwise_convolution_that_others_want_is_a_kernel_of_its_own(pattern: Pattern) -> None:
    model = pattern.model()
    values = inputs_of(model)
    delegate = load_delegate("cuda", {"device": DEVICE, "autotune": True, "profile": True, "cache_dir": "none"})
    tuner = delegate.device.tuner = Fused("SEPARABLE")
    assert_same(tflgpu_run(model, values, [delegate]), tflgpu_run(model, values), rtol=1e-5, atol=1e-5)
    assert not tuner.found and delegate.device.times()["depthwise_strips"][0] == 1


@pytest.mark.parametrize("pattern", [p for p in ATTENTIONS if p.compiled], ids=lambda p: p.name)
def test_attention_in_blocks_of_any_size_is_the_same(pattern: Pattern) -> None:
    model = pattern.model()
    values = inputs_of(model)
    want = tflgpu_run(model, values)
    delegate = load_delegate("cuda", {"device": DEVICE, "autotune": True, "cache_dir": "none"})
    tuner = delegate.device.tuner = Fused("THREAD_ROWS")
    while tuner.number < max(tuner.most, 1):
        assert_same(tflgpu_run(model, values, [delegate]), want, **TOLERANCE)
        tuner.number += 1
