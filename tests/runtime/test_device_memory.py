"""What a delegate holds of its device's memory: weights once, nothing after the last user, and no more than a limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from opencl_runtimes import require

import tflgpu
from tflgpu.delegates.device_memory import WEIGHTS
from tflgpu.delegates.emulator.programs import compiler
from tflgpu.delegation.discovery import load_delegate
from tflgpu.limits import Meter
from tflgpu.model.builder import ModelBuilder
from tflgpu.runtime.plan_cache import PLANS, PLANS_NBYTES, PlanBudget, PlanCache

DEPTH = 128
WEIGHTS_NBYTES = 4 * DEPTH * DEPTH


def delegate(device: str, **options: Any) -> Any:
    options = {"min_nodes_per_partition": 1, "require_full": True, **options}
    if device != "emulator":
        return load_delegate("opencl", {"device": require(device), **options})
    try:
        compiler()
    except ValueError as error:
        pytest.skip(str(error))
    return load_delegate("cuda", {"device": "emulator", **options})


def two_signatures() -> bytes:
    """exp(x @ w) as the signature "exp" and -(x @ w) as "neg", each with a constant w of its own of the same values."""
    m = ModelBuilder()
    weights = np.random.default_rng(0).normal(size=(DEPTH, DEPTH)).astype(np.float32) / DEPTH
    for op in ("EXP", "NEG"):
        g = m.graph(op)
        x = g.input("x", "FLOAT32", [4, DEPTH], shape_signature=[-1, DEPTH])
        wide, y = (g.tensor(n, "FLOAT32", [4, DEPTH], shape_signature=[-1, DEPTH]) for n in ("wide", "y"))
        g.node("FULLY_CONNECTED", [x, g.constant("w", weights)], [wide])
        g.node(op, [wide], [y])
        g.outputs(y)
        m.signature(op.lower(), g, {"x": x}, {"y": y})
    return m.build()


def run(interpreter: tflgpu.Interpreter, key: str = "exp", rows: int = 4) -> np.ndarray:
    x = np.linspace(-1, 1, rows * DEPTH, dtype=np.float32).reshape(rows, DEPTH)
    return interpreter.get_signature_runner(key)(x=x)["y"]


def interpreter_of(delegates: list[Any]) -> tflgpu.Interpreter:
    return tflgpu.Interpreter(model_content=two_signatures(), experimental_delegates=delegates)


DEVICES = pytest.mark.parametrize("device", ["PoCL", "Intel", "emulator"])


@DEVICES
def test_weights_are_uploaded_once_for_all_signatures_shapes_and_interpreters(device: str) -> None:
    shared = delegate(device)
    first, second, cpu = interpreter_of([shared]), interpreter_of([shared]), interpreter_of([])
    run(first)
    uploads = shared.device.memory.made[WEIGHTS]
    for interpreter in (first, second):
        for key, rows in (("exp", 4), ("neg", 4), ("exp", 7), ("neg", 7)):
            np.testing.assert_allclose(run(interpreter, key, rows), run(cpu, key, rows), rtol=1e-5, atol=1e-6)

    assert shared.device.memory.made[WEIGHTS] == uploads
    (weights,) = (row for row in shared.memory().rows if row.what == WEIGHTS)
    assert WEIGHTS_NBYTES <= weights.nbytes < 1.1 * WEIGHTS_NBYTES


@DEVICES
def test_interpreters_made_by_several_threads_at_once_upload_weights_once(device: str) -> None:
    alone, shared = delegate(device), delegate(device)
    wanted = run(interpreter_of([alone]))
    with ThreadPoolExecutor(4) as pool:
        interpreters = list(pool.map(lambda _: interpreter_of([shared]), range(8)))
        for got in pool.map(run, interpreters):
            np.testing.assert_array_equal(got, wanted)
    assert shared.device.memory.made[WEIGHTS] == alone.device.memory.made[WEIGHTS]


@DEVICES
def test_memory_is_held_for_as_long_as_an_interpreter_needs_it(device: str) -> None:
    shared = delegate(device)
    first, second = interpreter_of([shared]), interpreter_of([shared])
    run(first)
    alone = shared.memory().nbytes
    run(second)
    assert alone < shared.memory().nbytes < alone + WEIGHTS_NBYTES
    del first
    assert shared.memory().nbytes == alone
    run(second)
    del second
    assert shared.memory().nbytes == 0
    assert shared.memory().rows == ()


@DEVICES
def test_the_report_names_what_is_held_how_much_and_why(device: str) -> None:
    shared = delegate(device, memory_limit=10**7)
    interpreter = interpreter_of([shared])
    run(interpreter)
    report = shared.memory()
    assert report.limit == 10**7
    assert report.nbytes == sum(row.nbytes for row in report.rows) == shared.device.memory.nbytes
    said = repr(report)
    assert said.startswith(f"{report.nbytes:,} bytes of at most 10,000,000 on {shared.device.name}")
    for row in report.rows:
        assert row.what in said and f"{row.nbytes:,} bytes" in said and row.why in said
    assert {WEIGHTS, "boundary tensors"} <= {row.what for row in report.rows}


@DEVICES
def test_beyond_the_limit_an_error_says_what_is_asked_held_and_allowed_and_smaller_shapes_run(device: str) -> None:
    limited = delegate(device, memory_limit=WEIGHTS_NBYTES + 40_000)
    interpreter, cpu = interpreter_of([limited]), interpreter_of([])
    run(interpreter, rows=4)
    with pytest.raises(
        RuntimeError, match=r"bytes for .* are wanted on .* holds [\d,]+ bytes.*memory_limit is 105,536"
    ):
        run(interpreter, rows=1000)
    assert limited.memory().nbytes <= limited.memory().limit
    np.testing.assert_allclose(run(interpreter, rows=5), run(cpu, rows=5), rtol=1e-5, atol=1e-6)
    other = interpreter_of([limited])
    np.testing.assert_allclose(run(other, rows=3), run(cpu, rows=3), rtol=1e-5, atol=1e-6)


@DEVICES
def test_an_error_that_somebody_keeps_keeps_no_device_memory(device: str) -> None:
    limited = delegate(device, memory_limit=WEIGHTS_NBYTES // 2)
    try:
        run(interpreter_of([limited]))
    except RuntimeError as error:
        kept = error
    assert "for weights" in str(kept)
    assert limited.memory().nbytes == 0


@DEVICES
def test_plans_of_other_shapes_give_way_where_the_limit_leaves_no_room_for_both(device: str) -> None:
    rows = 200
    one_plan = 2 * rows * DEPTH * 4
    limited = delegate(device, memory_limit=WEIGHTS_NBYTES + 2 * one_plan)
    interpreter, cpu = interpreter_of([limited]), interpreter_of([])
    for add in (0, 1, 2, 0, 1):
        np.testing.assert_allclose(run(interpreter, rows=rows + add), run(cpu, rows=rows + add), rtol=1e-5, atol=1e-6)


class Sized:
    """A plan of so many bytes."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes


def kept(cache: PlanCache[Sized]) -> list[int]:
    return [key[0][0] for key in cache.kept]


def add(cache: PlanCache[Sized], number: int, nbytes: int = PLANS_NBYTES // PLANS + 1) -> Sized:
    return cache.plan(((number,),), lambda: Sized(nbytes))


def test_all_graphs_of_an_interpreter_have_one_budget_and_the_least_recently_used_plan_goes() -> None:
    budget = PlanBudget(False, Meter())
    first, second = PlanCache[Sized](budget), PlanCache[Sized](budget)
    for number in range(PLANS):
        add(first, number)
    used = add(first, 0)
    add(second, 10)
    assert (kept(first), kept(second)) == ([2, 3, 0], [10])
    assert add(first, 0) is used
    add(second, 11)
    add(second, 12)
    assert (kept(first), kept(second)) == ([0], [10, 11, 12])


def test_the_plan_in_use_of_each_graph_stays_while_others_go() -> None:
    budget = PlanBudget(False, Meter())
    caches = [PlanCache[Sized](budget) for _ in range(PLANS + 2)]
    for number, cache in enumerate(caches):
        add(cache, number)
    assert [kept(cache) for cache in caches] == [[number] for number in range(PLANS + 2)]


def test_a_plan_counts_with_what_it_has_come_to_hold_in_use() -> None:
    budget = PlanBudget(False, Meter())
    cache = PlanCache[Sized](budget)
    for number in range(2 * PLANS):
        add(cache, number, 1)
    cache.plan(((0,),), lambda: Sized(1)).nbytes = PLANS_NBYTES + 1
    add(cache, 100, 1)
    assert kept(cache) == [6, 7, 0, 100]


def test_small_plans_are_kept_beyond_the_number() -> None:
    cache = PlanCache[Sized](PlanBudget(False, Meter()))
    for number in range(20):
        add(cache, number, 1)
    assert len(kept(cache)) == 20


def test_a_plan_for_which_memory_is_short_is_prepared_again_once_others_have_gone() -> None:
    budget = PlanBudget(False, Meter())
    cache, other = PlanCache[Sized](budget), PlanCache[Sized](budget)
    add(cache, 0), add(other, 1), add(other, 2)
    tries = []

    def prepare() -> Sized:
        tries.append((kept(cache), kept(other)))
        if len(tries) == 1:
            raise RuntimeError("node 3") from MemoryError("too much")
        return Sized(1)

    cache.plan(((5,),), prepare)
    assert tries == [([0], [1, 2]), ([], [2])]
    with pytest.raises(RuntimeError, match="node 4"):
        cache.plan(((6,),), lambda: (_ for _ in ()).throw(RuntimeError("node 4")))
    assert kept(cache) == [5]


def resident_kb() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4


@pytest.mark.parametrize(
    "device, step, budget",
    [("PoCL", 1, PLANS_NBYTES), ("Intel", 25, PLANS_NBYTES >> 4), ("emulator", 25, PLANS_NBYTES >> 4)],
)
def test_memory_stays_flat_over_sequences_of_a_thousand_lengths(device: str, step: int, budget: int) -> None:
    shared = delegate(device)
    interpreter = interpreter_of([shared])
    interpreter._session.plans.nbytes = budget
    held, resident, programs = [], [], []
    for rows in range(7, 1007, step):
        interpreter.resize_tensor_input(0, [rows, DEPTH])
        interpreter.allocate_tensors()
        interpreter.invoke()
        held.append(shared.memory().nbytes)
        resident.append(resident_kb())
        programs.append(shared.device.memory.programs)
    half = len(held) // 2
    largest = 3 * rows * DEPTH * 4
    assert max(held) < budget + 2 * WEIGHTS_NBYTES + (PLANS + 1) * largest
    assert max(resident[half:]) - max(resident[:half]) < 40_000
    assert programs[-1] <= programs[half] + 1


@pytest.mark.parametrize("device", ["PoCL", "Intel"])
def test_programs_stay_as_long_as_a_kernel_of_theirs_is_used_or_they_are_among_the_latest(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyopencl")
    monkeypatch.setattr("tflgpu.delegates.opencl.programs.LATEST_PROGRAMS", 2)
    opened = delegate(device).device
    texts = [f"kernel void one(global int* x) {{ x[0] = {number}; }}" for number in range(5)]
    used = opened.kernel(texts[0], "one")
    for text in texts[1:]:
        opened.kernel(text, "one")
    built = opened.memory.programs
    for text in (texts[0], texts[3], texts[4]):
        opened.kernel(text, "one")
    assert opened.memory.programs == built
    del used
    for text in (texts[1], texts[2], texts[0]):
        opened.kernel(text, "one")
    assert opened.memory.programs == built + 3
