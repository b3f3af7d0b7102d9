"""STRIDED_SLICE whose begin is known only at run time: on the CPU, on devices, and in their loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from devices import DEVICES, TestedDevice, cuda, intel, open_device
from loop_models import NONE, counted, loop
from oracle import assert_same, litert, tflgpu_run

import tflgpu
from tflgpu.model.builder import ModelBuilder


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[TestedDevice]:
    yield open_device(request.param)


def picking(
    shape: Sequence[int],
    out: Sequence[int],
    strides: Sequence[int],
    kind: str = "FLOAT32",
    ends: bool = True,
    **masks: int,
) -> bytes:
    """x read from `begin`, an input, on; its end is begin plus one, or the constant zero where not `ends`."""
    m = ModelBuilder()
    g = m.graph()
    x, begin = g.input("x", kind, list(shape)), g.input("begin", "INT32", [len(strides)])
    y = g.tensor("y", kind, list(out))
    if ends:
        end = g.tensor("end", "INT32", [len(strides)])
        g.node("ADD", [begin, g.constant("one", np.int32(1))], [end], **NONE)
    else:
        end = g.constant("end", np.zeros(len(strides), np.int32))
    g.node(
        "STRIDED_SLICE", [x, begin, end, g.constant("strides", np.array(strides, np.int32))], [y], version=4, **masks
    )
    g.outputs(y)
    return m.build()


CASES = {
    "a column": (((3, 5), (3,), (1, 1)), {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2}, [(0, 2), (0, -1)]),
    "a row": (((3, 5), (5,), (1,)), {"shrink_axis_mask": 1}, [(0,), (2,), (-3,)]),
    "below the first is the first": (((3, 5), (5,), (1,)), {"shrink_axis_mask": 1}, [(-4,), (-(2**31),)]),
    "one number": (((3, 5), (), (1, 1)), {"shrink_axis_mask": 3}, [(1, 4), (-1, -5)]),
    "the middle, reversed": (
        ((2, 3, 4), (2, 4), (-1, 1, -1)),
        {"begin_mask": 5, "end_mask": 5, "shrink_axis_mask": 2},
        [(7, 1, 9), (0, -1, 0)],
    ),
    "the last, with a new axis": (
        ((2, 3, 4), (1, 2, 3), (1, 1, 1)),
        {"new_axis_mask": 1, "ellipsis_mask": 2, "shrink_axis_mask": 4},
        [(0, 0, 3), (5, 5, -2)],
    ),
    "where begin is masked": (((3, 5), (), (1, 1)), {"begin_mask": 1, "shrink_axis_mask": 3}, [(2, 1)]),
}


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "INT64"])
@pytest.mark.parametrize("name", CASES)
def test_single_elements_and_whole_dimensions_are_picked_on_devices_as_by_litert(
    name: str, kind: str, device: TestedDevice
) -> None:
    (shape, out, strides), masks, begins = CASES[name]
    model = picking(shape, out, strides, kind, **masks)
    x = np.arange(np.prod(shape)).reshape(shape).astype(kind.lower())
    for begin in begins:
        inputs = [x, np.array(begin, np.int32)]
        want = litert(model, inputs)
        assert_same(tflgpu_run(model, inputs), want)
        assert_same(device.run(model, inputs), want)


def test_a_pick_outside_is_an_error_and_the_next_right_again(device: TestedDevice) -> None:
    model = picking((3, 5), (5,), (1,), shrink_axis_mask=1)
    for delegates in ([], [device.delegate]):
        interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=delegates)
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.arange(15, dtype=np.float32).reshape(3, 5))
        for begin in (3, 2**31 - 1):
            interpreter.set_tensor(1, np.array([begin], np.int32))
            with pytest.raises(RuntimeError, match="slice index.* is out of bounds"):
                interpreter.invoke()
        interpreter.set_tensor(1, np.array([1], np.int32))
        interpreter.invoke()
        out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(out, np.arange(5, 10))


def test_many_picks_of_one_node_are_each_right() -> None:
    interpreter = tflgpu.Interpreter(model_content=picking((2000,), (), (1,), "INT32", shrink_axis_mask=1))
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.arange(2000, dtype=np.int32))
    for at in [*range(1500), *range(1500)]:
        interpreter.set_tensor(1, np.array([at], np.int32))
        interpreter.invoke()
        assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]) == at


def column_sums(limit: int) -> bytes:
    """h = tanh(x[:, i] + h) for i from the start below the limit, as TensorFlow's converter writes it."""

    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        i, x, h = v
        after = counted(g, i)
        begin, end = g.tensor("begin", "INT32", [2]), g.tensor("end", "INT32", [2])
        zero = g.constant("zero", np.int32(0))
        g.node("PACK", [zero, i], [begin], values_count=2, axis=0)
        g.node("PACK", [zero, after], [end], values_count=2, axis=0)
        column, total, out = (g.tensor(name, "FLOAT32", [3]) for name in ("column", "total", "out"))
        ones = g.constant("ones", np.ones(2, np.int32))
        masks = {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2}
        g.node("STRIDED_SLICE", [x, begin, end, ones], [column], **masks)
        g.node("ADD", [column, h], [total], **NONE)
        g.node("TANH", [total], [out])
        return after, x, out

    return loop([("INT32", []), ("FLOAT32", [3, 5]), ("FLOAT32", [3])], body, limit)


@pytest.mark.parametrize("make", [intel, cuda])
def test_a_loop_over_columns_runs_on_the_device(make: Any) -> None:
    delegate = make()  # which raises where it does not take the loop whole
    rng = np.random.default_rng(4)
    inputs = [np.int32(1), rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=3).astype(np.float32)]
    want = litert(column_sums(5), inputs)
    assert_same(tflgpu_run(column_sums(5), inputs), want)
    assert_same(tflgpu_run(column_sums(5), inputs, [delegate]), want, rtol=1e-6, atol=1e-6)
    with pytest.raises(RuntimeError, match="slice index is out of bounds"):
        tflgpu_run(column_sums(6), inputs, [delegate])
