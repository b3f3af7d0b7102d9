"""Passes are functions of steps: what they are given stays as it was, and what they return computes the same."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import IDENTITY, IndexMap, Term, X, Y, c_text, call, cast, suits_vectors, where
from tflgpu.delegates.fusion.fuse_elementwise import fuse_elementwise
from tflgpu.delegates.fusion.fuse_epilogues import fuse_epilogues
from tflgpu.delegates.fusion.fuse_lookups import fuse_lookups
from tflgpu.delegates.fusion.steps import PassContext, Step, Steps
from tflgpu.delegates.fusion.vectorize_rows import by_rows
from tflgpu.delegates.ir import Alias, Elementwise, Lookup, Operand, Rescaled, entries_of
from tflgpu.delegates.launch import Launch, Ref
from tflgpu.delegates.lowering.gemm import problem as gemm
from tflgpu.delegates.lowering.strided_index import index_map
from tflgpu.model.graph import TensorSpec

GPU = PassContext(DeviceLimits().plus("chains"), (), {}, live=(0, 9))
"""Of a partition that reads tensor 0 and makes tensor 9."""


def steps(*ops: Any) -> Steps:
    return tuple(Step(node, op) for node, op in enumerate(ops))


def unary(expression: Any, x: int, out: int) -> Elementwise:
    return Elementwise((Operand(Ref(x), "f32"),), expression, Ref(out), "f32", 12)


def test_an_operator_moves_into_the_only_one_that_reads_it() -> None:
    given = steps(unary(-X, 0, 1), Alias(2, 1), unary(call("exp", X), 2, 9))
    _, joined = fuse_elementwise(given, GPU)
    assert isinstance(joined.op, Elementwise) and joined.node == 2
    assert [operand.buffer for operand in joined.op.inputs] == [Ref(0)]
    assert [c_text(value, "v{}".format) for value in joined.op.expressions()] == ["(-v0)", "exp(t0)"]
    assert isinstance(given[0].op, Elementwise) and given[0].op.out == Ref(1)


def test_an_operator_stays_where_another_reads_it_too_or_its_value_is_wanted_outside() -> None:
    twice = steps(unary(-X, 0, 1), unary(call("exp", X), 1, 2), unary(call("log", X), 1, 9))
    assert fuse_elementwise(twice, GPU) == twice
    wanted = steps(unary(-X, 0, 9), unary(call("exp", X), 9, 1))
    assert fuse_elementwise(wanted, GPU) == wanted


NUMBERS = {"x_zero": 3, "y_zero": -5, "multiplier": 1 << 30, "exponent": -6, "out_zero": 1, "low": -128, "high": 127}


def product(x: int, y: int, out: int) -> Rescaled:
    numbers = {name: np.int32(value) for name, value in NUMBERS.items()}
    return Rescaled("*", Ref(x), Ref(y), Ref(out), "i8", ((3, 4), (3, 4)), (3, 4), numbers)


def test_a_product_of_a_value_and_its_lookup_is_a_lookup_by_the_value() -> None:
    table = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    given = steps(Lookup(Ref(0), table, Ref(1), 12, ("i8", "i8")), product(0, 1, 9))
    (joined,) = fuse_lookups(given, GPU)
    assert isinstance(joined.op, Lookup) and joined.op.x == Ref(0) and joined.op.out == Ref(9)
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
    exact = (values - 3) * (table.astype(np.int64) + 5) / 2**7
    np.testing.assert_allclose(entries_of(joined.op.table), np.clip(exact + 1, -128, 127), atol=0.51)


def test_a_product_of_two_tensors_is_no_lookup() -> None:
    table = np.zeros(256, np.int8)
    context = PassContext(GPU.limits, (), {}, live=(0, 3, 9))
    given = steps(Lookup(Ref(0), table, Ref(1), 12, ("i8", "i8")), product(3, 1, 9))
    assert fuse_lookups(given, context) == given


def test_an_epilogue_is_data_on_the_launch_and_on_all_its_variants() -> None:
    shapes = (3, 2), (2, 4), (3, 4)
    x, y, out = (gemm.Operand.of(TensorSpec(k, "", "FLOAT32", shape)) for k, shape in enumerate(shapes))
    g = gemm.Gemm("batched", x, y, out, 3, 4, 2, gemm.Gather.plain_rows(3, 2), gemm.GemmEpilogue(-np.inf, np.inf))
    variant = Launch("gemm.gemm", (1,), outputs={"out": Ref(1)}, computes=g)
    maker = replace(variant, variants=(variant,))
    op = Elementwise((Operand(Ref(1), "f32"), Operand(Ref(0), "f32")), X + Y, Ref(9), "f32", 12)
    (joined,) = fuse_epilogues(steps(maker, op), GPU)
    assert isinstance(joined.op, Launch) and joined.op.reads == [Ref(0)] and not maker.epilogues
    assert all(way.outputs["out"] == Ref(9) and len(way.epilogues) == 1 for way in (joined.op, *joined.op.variants))


@pytest.mark.parametrize(
    ("expression", "functions", "suits"),
    [
        (where(X > 0.0, X, X * 0.5), False, True),
        (call("clamp_f32", cast("f32", X), 0.0, 6.0), False, True),
        (call("exp", X), False, False),
        (call("exp", X), True, True),
        (call("floor", cast("f64", X)), True, False),
        (X % 2, True, False),
    ],
)
def test_what_means_the_same_of_vectors(expression: Any, functions: bool, suits: bool) -> None:
    assert suits_vectors(expression, functions) == suits


def value(at: IndexMap, counter: int) -> int:
    """What the map's C computes."""
    return int(eval(str(at).replace("/", "//"), {at.counter: counter}))


@pytest.mark.parametrize("seed", range(20))
def test_an_index_map_says_where_a_views_elements_lie(seed: int) -> None:
    rng = random.Random(seed)
    base = np.arange(np.prod(shape := [rng.randint(1, 4) for _ in range(rng.randint(1, 4))])).reshape(shape)
    view = base[tuple(slice(rng.randint(0, n - 1), None, rng.choice((1, 2))) for n in shape)]
    view = view.transpose(rng.sample(range(view.ndim), view.ndim))
    view = np.broadcast_to(view, (rng.randint(1, 3), *view.shape))
    at = index_map(view, base)
    assert [value(at, i) for i in range(view.size)] == view.reshape(-1).tolist()


@pytest.mark.parametrize("c", [4, 8, 16])
def test_within_a_row_an_index_counts_on_or_stands_still(c: int) -> None:
    base = np.arange(2 * 16 * 5 * 16).reshape(2, 16, 5, 16)
    views = [base, base[:, 3:9], base[:, :, 2:, :], np.broadcast_to(base[:, :1], base.shape), base[..., :1]]
    for view in (*views, np.broadcast_to(base[..., :1], base.shape)):
        found = by_rows(index_map(view, base), c)
        if view.shape[-1] % c:
            continue
        assert found is not None
        row, across = found
        assert [value(row, i // c) + across * (i % c) for i in range(view.size)] == view.reshape(-1).tolist()
    assert by_rows(IDENTITY, c) == (IndexMap(terms=(Term(stride=c),), counter="r"), True)
