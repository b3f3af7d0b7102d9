"""Barrier kernels give what their launches give one by one, on every runtime."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
from devices import cuda, cuda_in_blocks, intel
from kit import invokes, recurrent
from oracle import answers, assert_same, tflgpu_run

import tflgpu
from tflgpu.conformance.cases.case import Case
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import X
from tflgpu.delegates.fusion import join_launches, join_small_launches
from tflgpu.delegates.fusion.steps import PassContext, Step
from tflgpu.delegates.ir import Elementwise, Operand
from tflgpu.delegates.launch import Launch, Loop, Ref
from tflgpu.delegates.lowering.recurrent import sequence
from tflgpu.delegates.megakernel.barrier_kernel import MOST_BARRIERS, composed, fits, literal
from tflgpu.delegates.render import elementwise
from tflgpu.model.builder import ModelBuilder


@pytest.mark.parametrize(
    "value, text",
    [
        (np.int32(-5), "(-5)"),
        (np.int32(-(2**31)), "(-2147483647 - 1)"),
        (np.float32(0.1), "(0x1.99999a0000000p-4f)"),
        (np.float32(-np.inf), "(-INFINITY)"),
        (np.int64(-(2**40)), "((i64)((u64)4294967040u << 32 | 0u))"),
        (np.float64(0.5), "(0x1.0000000000000p-1)"),
    ],
)
def test_scalars_are_literals(value: Any, text: str) -> None:
    assert literal(value) == text


@pytest.fixture(scope="module", params=[intel, cuda, cuda_in_blocks], ids=lambda make: make.__name__)
def delegate(request: pytest.FixtureRequest) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield request.param(monkeypatch) if request.param is cuda_in_blocks else request.param()


@pytest.mark.parametrize(
    "case", recurrent("everything", "norm", "BIDIRECTIONAL.*RNN.*int8"), ids=lambda case: case.name
)
def test_a_loop_over_time_gives_what_its_launches_give(
    case: Case, delegate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, fed = invokes(case)
    looped = answers(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]), fed)
    monkeypatch.setattr(sequence, "SMALL_STEP", -1)
    monkeypatch.setattr(sequence, "SMALL_STEP_OF_A_GPU", -1)
    unrolled = answers(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]), fed)
    assert_same(looped, unrolled, rtol=1e-6, atol=1e-6)


def small_graph(seed: int) -> tuple[bytes, Any]:
    """Some dozen operators on small tensors, each reading one or two that are there already; all are outputs."""
    rng = random.Random(seed)
    m = ModelBuilder()
    g = m.graph()
    known = [g.input("x", "FLOAT32", [3, 5]), g.input("y", "FLOAT32", [3, 5])]
    none = {"fused_activation_function": "NONE"}
    for k in range(rng.randint(4, 14)):
        out = g.tensor(f"t{k}", "FLOAT32", [3, 5])
        a, b = rng.choice(known), rng.choice(known)
        kind = rng.randrange(7)
        if kind == 0:
            g.node(rng.choice(["ADD", "SUB", "MUL"]), [a, b], [out], **none)
        elif kind == 1:
            g.node(rng.choice(["TANH", "NEG", "ABS", "LOGISTIC"]), [a], [out])
        elif kind == 2:
            g.node("SOFTMAX", [a], [out], beta=1.0)
        elif kind == 3:
            sums = g.tensor(f"sums{k}", "FLOAT32", [3, 1])
            g.node("SUM", [a, g.constant(f"axis{k}", np.array([1], np.int32))], [sums], keep_dims=True)
            g.node("ADD", [b, sums], [out], **none)
        elif kind == 4:
            transposed = g.tensor(f"transposed{k}", "FLOAT32", [5, 3])
            g.node("TRANSPOSE", [a, g.constant(f"order{k}", np.array([1, 0], np.int32))], [transposed])
            g.node(
                "RESHAPE", [transposed, g.constant(f"shape{k}", np.array([3, 5], np.int32))], [out], new_shape=[3, 5]
            )
        elif kind == 5:
            rows = np.array([rng.randrange(3) for _ in range(3)], np.int32)
            g.node("GATHER", [a, g.constant(f"rows{k}", rows)], [out], axis=0)
        else:
            weights = np.random.default_rng(seed + k).normal(size=(5, 5)).astype(np.float32)
            g.node("BATCH_MATMUL", [a, g.constant(f"w{k}", weights)], [out], adj_x=False, adj_y=False)
        known.append(out)
    g.outputs(*known[2:])
    values = np.random.default_rng(seed)
    return m.build(), [values.uniform(-1, 1, (3, 5)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize("seed", range(12))
def test_small_launches_give_in_a_megakernel_what_they_give_one_by_one(
    seed: int, delegate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = small_graph(seed)
    made: list[int] = []

    def small(launch: Launch, node: int, context: PassContext) -> bool:
        return 0 not in launch.threads and fits(launch, context.limits)

    def counting(steps: Any, *rest: Any) -> Any:
        made.append(len(list(steps[0].launches())))
        return composed(steps, *rest)

    monkeypatch.setattr(join_small_launches, "is_small", lambda *given: False)
    alone = tflgpu_run(model, inputs, [delegate])
    monkeypatch.setattr(join_small_launches, "is_small", small)
    monkeypatch.setattr(join_launches, "composed", counting)
    together = tflgpu_run(model, inputs, [delegate])
    assert made and max(made) > 1
    assert_same(together, alone, rtol=1e-5, atol=1e-6)
    assert_same(together, tflgpu_run(model, inputs), rtol=1e-5, atol=1e-6)


def test_a_stage_waits_for_what_it_reads_under_another_name(delegate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [3, 40]), g.tensor("y", "FLOAT32", [40, 3])
    a, b = g.tensor("a", "FLOAT32", [3, 40]), g.tensor("b", "FLOAT32", [40, 3])
    g.node("SOFTMAX", [x], [a], beta=1.0)
    g.node("RESHAPE", [a, g.constant("shape", np.array([40, 3], np.int32))], [b], new_shape=[40, 3])
    g.node("SOFTMAX", [b], [y], beta=1.0)
    g.outputs(y)
    made: list[str] = []

    def noting(*given: Any) -> Any:
        launch = composed(*given)
        made.extend(launch.texts.values())
        return launch

    monkeypatch.setattr(join_small_launches, "is_small", lambda launch, *given: 0 not in launch.threads)
    monkeypatch.setattr(join_launches, "composed", noting)
    inputs = [np.linspace(-3, 3, 120, dtype=np.float32).reshape(3, 40)]
    got = tflgpu_run(m.build(), inputs, [delegate])
    (text,) = made
    assert text[text.index("BLOCK barrier_kernel") :].count("GRID_BARRIER;") == 2
    assert_same(got, tflgpu_run(m.build(), inputs), rtol=1e-5, atol=1e-6)


def test_stages_that_do_not_touch_one_anothers_memory_share_a_barrier(delegate: Any) -> None:
    steps = [_negated(x, y) for x, y in _PAIRS]
    limits, dialect = delegate.device.limits, delegate.device.dialect
    text = composed([Loop(tuple(steps), 1)], dialect, limits).texts[dialect.suffix]
    made = text[text.index("BLOCK barrier_kernel") :].split("GRID_BARRIER;")
    assert [text.count("elementwise_0(") for text in made] == [2, 1, 1, 0]


def test_the_next_test_is_not_made_before_all_have_read_the_last(delegate: Any) -> None:
    limits, dialect = delegate.device.limits, delegate.device.dialect
    ask = _negated(Ref(0), Ref(9))
    text = composed([Loop((), 0, (ask,), Ref(9))], dialect, limits).texts[dialect.suffix]
    (inside,) = re.findall(r"iteration0\+\+\) \{(.*)\}\n\}", text, re.S)
    assert re.findall(r"GRID_BARRIER|elementwise", inside) == ["GRID_BARRIER", "elementwise", "GRID_BARRIER"]


def _negated(x: Ref, y: Ref) -> Launch:
    return elementwise(Elementwise((Operand(x, "f32"),), -X, y, "f32", 5))


_PAIRS = [(Ref(0), Ref(1)), (Ref(0), Ref(2)), (Ref(1), Ref(3)), (Ref(4), Ref(1))]
"""The third reads what the first makes; the fourth writes what the third reads."""


def test_a_megakernel_has_no_more_barriers_than_compilers_support(monkeypatch: pytest.MonkeyPatch) -> None:
    launches = [Launch("softmax.softmax", (1,), defines={"LARGE": 1} if node == 3 else {}) for node in range(6)]

    def cost(launch: Launch, *given: Any) -> int:
        return MOST_BARRIERS + 1 if launch.defines else MOST_BARRIERS // 2

    monkeypatch.setattr(join_small_launches, "cost", cost)
    steps = tuple(Step(node, launch) for node, launch in enumerate(launches))
    joined = join_small_launches.join_small_launches(steps, PassContext(DeviceLimits(), (), {}, ()))
    kinds = [(step.node, type(step.op).__name__) for step in joined]
    assert kinds == [(1, "Loop"), (2, "Launch"), (3, "Launch"), (5, "Loop")]


def test_a_kernel_of_single_work_items_runs_as_one_of_several_launches(delegate: Any) -> None:
    m = ModelBuilder()
    g = m.graph()
    steps = {f"stride_{axis}": 2 for axis in "dhw"} | {f"dilation_{axis}_factor": 1 for axis in "dhw"}
    x = g.input("x", "FLOAT32", [1, 1, 2, 2, 3])
    y, z, out = (g.tensor(name, "FLOAT32", [1, 2, 4, 4, 2]) for name in ("y", "z", "out"))
    shape = g.constant("shape", np.array([1, 2, 4, 4, 2], np.int32))
    weights = g.constant("w", np.linspace(-1, 1, 2 * 2 * 2 * 2 * 3, dtype=np.float32).reshape(2, 2, 2, 2, 3))
    g.node("CONV_3D_TRANSPOSE", [shape, weights, x], [y], padding="SAME", **steps, fused_activation_function="NONE")
    g.node("COS", [y], [z])
    g.node("SIN", [z], [out])
    g.outputs(y, out)
    model, inputs = m.build(), [np.linspace(-2, 2, 12, dtype=np.float32).reshape(1, 1, 2, 2, 3)]
    assert_same(tflgpu_run(model, inputs, [delegate]), tflgpu_run(model, inputs), rtol=1e-5, atol=1e-6)
