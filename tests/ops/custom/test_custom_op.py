"""Custom operators in Python: on the CPU, with kernels on both devices, and in Google's interpreter."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from oracle import assert_same, one_op, tflgpu_run

import tflgpu
from tflgpu.model.graph import Array, Node
from tflgpu.ops.custom.custom import custom_op
from tflgpu.ops.registry import OPS


@functools.cache
def device(name: str) -> Any:
    """A GPU delegate on a machine without a GPU; skips where that cannot be."""
    options = {"require_full": True} | ({"device": "emulator"} if name == "cuda" else {})
    try:
        return tflgpu.load_delegate(name, options)
    except (OSError, ValueError, ImportError) as error:
        pytest.skip(f"no {name} delegate here: {error}")


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Forgets what a test registers."""
    before = dict(OPS)
    yield
    for name in OPS.keys() - before.keys():
        del OPS[name]


def same_shape(node: Node) -> list[tuple[int, ...]]:
    return [node.input(0).shape]


def spec(type: str, *shape: int, **fields: Any) -> dict[str, Any]:
    return {"type": type, "shape": shape, **fields}


X = np.linspace(-3, 3, 35, dtype=np.float32).reshape(5, 7)


def test_a_numpy_function_is_enough() -> None:
    custom_op("Cube", cpu=lambda node, x: x**3, shapes=same_shape)
    assert_same(tflgpu_run(one_op("Cube", [spec("FLOAT32", 5, 7)], [spec("FLOAT32", 5, 7)], custom=b""), [X]), [X**3])


@pytest.mark.parametrize("name", ["cuda", "opencl"])
def test_a_body_runs_on_the_device(name: str) -> None:
    body = "out0[i] = in0[i] * in0[i] + in1[i % 7];"
    custom_op("SquarePlus", cpu=lambda node, x, y: x * x + y, shapes=same_shape, cuda=body, opencl=body)
    y = np.arange(7, dtype=np.float32)
    data = one_op("SquarePlus", [spec("FLOAT32", 5, 7), y], [spec("FLOAT32", 5, 7)], custom=b"")
    assert_same(tflgpu_run(data, [X], [device(name)]), tflgpu_run(data, [X]))


@pytest.mark.parametrize("name", ["cuda", "opencl"])
def test_a_body_may_follow_shapes_and_options_and_write_several_outputs(name: str) -> None:
    def shapes(node: Node) -> list[tuple[int, ...]]:
        rows, columns = node.input(0).shape
        return [(columns, rows), (columns, rows)]

    def cpu(node: Node, x: Array) -> tuple[Array, Array]:
        factor = flexbuffers.Loads(node.custom_options)["factor"]
        return x.T * np.int32(factor), (x.T > 0).astype(np.uint8)

    def body(node: Node) -> str:
        rows, columns = node.input(0).shape
        factor = flexbuffers.Loads(node.custom_options)["factor"]
        return f"""
            // A comment, and a local variable.
            const i32 from = (i % {rows}) * {columns} + i / {rows};
            out0[i] = in0[from] * {factor};
            out1[i] = in0[from] > 0;"""

    custom_op("Turned", cpu=cpu, shapes=shapes, cuda=body, opencl=body)
    x = np.arange(-6, 9, dtype=np.int32).reshape(3, 5)
    options = bytes(flexbuffers.Dumps({"factor": 7}))
    data = one_op("Turned", [spec("INT32", 3, 5)], [spec("INT32", 5, 3), spec("UINT8", 5, 3)], custom=options)
    want = tflgpu_run(data, [x])
    np.testing.assert_array_equal(want[0], 7 * x.T)
    assert_same(tflgpu_run(data, [x], [device(name)]), want)


def test_an_absent_input_has_no_pointer() -> None:
    def cpu(node: Node, x: Array, skipped: Array | None, y: Array) -> Array:
        assert skipped is None
        return x - y

    custom_op("Minus", cpu=cpu, shapes=same_shape, opencl="out0[i] = in0[i] - in2[i];")
    data = one_op("Minus", [spec("FLOAT32", 5, 7), None, X + 1], [spec("FLOAT32", 5, 7)], custom=b"")
    assert_same(tflgpu_run(data, [X], [device("opencl")]), tflgpu_run(data, [X]))


def test_a_device_without_a_body_leaves_it_to_the_cpu_and_says_why() -> None:
    custom_op("OnlyCuda", cpu=lambda node, x: -x, shapes=same_shape, cuda="out0[i] = -in0[i];")
    data = one_op("OnlyCuda", [spec("FLOAT32", 5, 7)], [spec("FLOAT32", 5, 7)], custom=b"")
    delegate = device("opencl") and tflgpu.load_delegate("opencl")
    it = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
    it.allocate_tensors()
    assert "no body of OnlyCuda in this device's language (.cl)" in it.delegation_report()


def test_a_body_that_does_not_compile_is_an_error_with_the_text() -> None:
    custom_op("Wrong", cpu=lambda node, x: x, shapes=same_shape, opencl="out0[i] = no_such_thing;")
    data = one_op("Wrong", [spec("FLOAT32", 5, 7)], [spec("FLOAT32", 5, 7)], custom=b"")
    with pytest.raises(RuntimeError, match="no_such_thing"):
        tflgpu_run(data, [X], [device("opencl")])


def test_bodies_need_shapes() -> None:
    with pytest.raises(ValueError, match="Late: kernels need to know the shapes"):
        custom_op("Late", cpu=lambda node, x: x, opencl="out0[i] = in0[i];")


def test_a_builtin_operators_name_is_refused() -> None:
    with pytest.raises(ValueError, match="ADD is a builtin operator"):
        custom_op("ADD", cpu=lambda node, x: x)


def test_one_interpreters_own_operator_is_unknown_to_others() -> None:
    own = custom_op("Mine", cpu=lambda node, x: x + 1, shapes=same_shape, register=False)
    data = one_op("Mine", [spec("FLOAT32", 5, 7)], [spec("FLOAT32", 5, 7)], custom=b"")
    it = tflgpu.InterpreterWithCustomOps(custom_op_registerers=[own], model_content=data)
    it.allocate_tensors()
    it.set_tensor(0, X)
    it.invoke()
    np.testing.assert_array_equal(it.get_tensor(1), X + 1)
    with pytest.raises(RuntimeError, match="Encountered unresolved custom op: Mine"):
        tflgpu_run(data, [X])


def test_a_device_runs_it_in_googles_interpreter_which_does_not_know_it() -> None:
    google = pytest.importorskip("ai_edge_litert.interpreter")
    device("opencl")
    custom_op("Halved", cpu=lambda node, x: x / 2, shapes=same_shape, opencl="out0[i] = in0[i] / 2;")
    data = one_op("Halved", [spec("FLOAT32", 5, 7)], [spec("FLOAT32", 5, 7)], custom=b"")
    guest = tflgpu.as_tflite_delegate("opencl", {"min_nodes_per_partition": 1})
    it = google.Interpreter(model_content=data, experimental_delegates=[guest])
    it.allocate_tensors()
    it.set_tensor(0, X)
    it.invoke()
    np.testing.assert_array_equal(it.get_tensor(1), X / 2)


@pytest.mark.parametrize("name", ["cuda", "opencl"])
@pytest.mark.parametrize("dimensions, scale", [(2, 1.0), (3, 1.0), (3, 192.0)])
def test_mediapipes_landmarks_move_on_the_device_too(name: str, dimensions: int, scale: float) -> None:
    rng = np.random.default_rng(dimensions)
    x = rng.normal(size=(1, 1, 1, 5 * dimensions)).astype(np.float32)
    matrix = rng.normal(size=(1, 4, 4)).astype(np.float32)
    options = bytes(flexbuffers.Dumps({"dimensions": dimensions, "scale": scale}))
    shape = spec("FLOAT32", *x.shape)
    data = one_op("TransformLandmarks", [shape, spec("FLOAT32", 1, 4, 4)], [shape], custom=options)
    assert_same(tflgpu_run(data, [x, matrix], [device(name)]), tflgpu_run(data, [x, matrix]))


@pytest.mark.parametrize(
    "given, text",
    [
        (lambda node, x: x[:1], r"gave the shape \[1, 7\] for tensor 1"),
        (lambda node, x: np.float32(1), r"gave the shape \[\] for tensor 1"),
        (lambda node, x: None, "gave NoneType for tensor 1"),
        (lambda node, x: [x], "gave list for tensor 1"),
        (lambda node, x: x.astype(np.complex64), "gave complex64 for tensor 1"),
        (lambda node, x: (x, x), "gave 2 outputs, the model has 1"),
    ],
)
def test_a_result_that_does_not_fit_is_refused(given: Any, text: str) -> None:
    custom_op("Misfit", cpu=given, shapes=same_shape)
    with pytest.raises(RuntimeError, match=text):
        tflgpu_run(one_op("Misfit", [spec("FLOAT32", 5, 7)], [spec("FLOAT32", 5, 7)], custom=b""), [X])


def test_shapes_and_types_that_do_not_fit_are_refused() -> None:
    custom_op("Misfit", cpu=lambda node, x: x, shapes=lambda node: [(5, 7), (1,)])
    with pytest.raises(RuntimeError, match="shapes gave 2, the model has 1 outputs"):
        tflgpu_run(one_op("Misfit", [spec("FLOAT32", 5, 7)], [spec("FLOAT32", 5, 7)], custom=b""), [X])
    with pytest.raises(ValueError, match="FLOT32 is no element type; those are FLOAT32"):
        custom_op("Misfit", cpu=lambda node, x: x, types="FLOT32")
