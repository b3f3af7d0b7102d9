"""Persistent kernels give what their launches give one by one, in whatever order work-groups start."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from megakernel_models import NONE, network
from opencl_runtimes import require_intel
from oracle import assert_same, tflgpu_run

import tflgpu
from tflgpu.delegation.delegate import Limits
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")


def delegate(*without: str, **limits: Any) -> tuple[Any, list[str]]:
    """A delegate on Intel's runtime, with guards, and the list that its kernels' names come to be in."""
    runtime = require_intel()
    from guarded_device import GuardedDevice

    from tflgpu.delegates.gpu import GpuDelegate

    device = GuardedDevice(runtime)
    device.limits = replace(device.limits.minus(*without), **limits)
    names, make = list[str](), device.kernel

    def kernel(text: str, name: str) -> Any:
        names.append(name)
        return make(text, name)

    device.kernel = kernel  # type: ignore[method-assign]
    return GpuDelegate("opencl", device, Limits(require_full=True)), names


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("seed", range(8))
def test_a_persistent_kernel_gives_what_its_launches_give_one_by_one(seed: int, kind: str) -> None:
    model, inputs = network(seed, kind)
    together, names = delegate()
    alone, others = delegate("persistent")
    want = tflgpu_run(model, inputs, [alone])
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[together])
    interpreter.allocate_tensors()
    assert "persistent_kernel" in names and "persistent_kernel" not in others
    for _ in range(20):  # the counters count on
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs[0])
        interpreter.invoke()
        assert_same(
            [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()], want, rtol=0, atol=0
        )
    together.device.check_guards()
    assert_same(want, tflgpu_run(model, inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("units", [1, 3, 16])
def test_more_groups_than_processors_or_fewer_end_and_give_the_same(units: int) -> None:
    model, inputs = network(0, "INT8")
    made, names = delegate(units=units)
    assert_same(tflgpu_run(model, inputs, [made]), tflgpu_run(model, inputs))
    assert "persistent_kernel" in names


def test_groups_that_sleep_as_soon_as_they_wait_are_woken() -> None:
    model, inputs = network(0, "INT8")
    made, names = delegate()
    from tflgpu.delegates.opencl.device import FUTEX

    if FUTEX not in made.device.programs.options:
        pytest.skip("threads do not sleep on this system")
    made.device.programs.options.append("-DSPINS=0")
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[made])
    interpreter.allocate_tensors()
    want = tflgpu_run(model, inputs)
    for _ in range(300):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs[0])
        interpreter.invoke()
        assert_same([interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()], want)
    assert "persistent_kernel" in names


@pytest.mark.parametrize("asymmetric", [False, True])
def test_layers_of_dynamic_range_are_one_persistent_kernel(asymmetric: bool) -> None:
    rng = np.random.default_rng(3)
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [3, 40])
    for k, (depth, units) in enumerate([(40, 24), (24, 17)]):
        values = rng.integers(-127, 128, (units, depth), np.int8)
        w = g.constant(f"w{k}", values, type="INT8", scale=0.02, zero_point=0)
        out = g.tensor(f"t{k}", "FLOAT32", [3, units])
        bias = g.constant(f"b{k}", rng.normal(size=units).astype(np.float32))
        options = {"fused_activation_function": "RELU", "asymmetric_quantize_inputs": asymmetric}
        g.node("FULLY_CONNECTED", [x, w, bias], [out], version=9, **options)
        x = out
    g.outputs(x)
    model, inputs = m.build(), [rng.normal(size=(3, 40)).astype(np.float32)]
    (together, names), (alone, others) = delegate(), delegate("persistent")
    got = tflgpu_run(model, inputs, [together])
    assert_same(got, tflgpu_run(model, inputs, [alone]), rtol=0, atol=0)
    assert set(names) == {"persistent_kernel"} and "persistent_kernel" not in others
    assert_same(got, tflgpu_run(model, inputs), rtol=1e-5, atol=1e-5)


def test_reductions_are_not_split_in_a_persistent_kernel() -> None:
    m = ModelBuilder()
    g = m.graph()
    x, square = g.input("x", "FLOAT32", [5, 16]), g.tensor("square", "FLOAT32", [5, 16])
    flat, mean, out = (g.tensor(name, "FLOAT32", [5]) for name in ("sum", "mean", "out"))
    g.node("MUL", [x, x], [square], **NONE)
    for op, made in (("MEAN", mean), ("SUM", flat)):
        g.node(op, [square, g.constant(f"axis of {op}", np.array([1], np.int32))], [made], keep_dims=False)
    g.node("MUL", [mean, flat], [out], **NONE)
    g.outputs(out)
    model, inputs = m.build(), [np.random.default_rng(1).uniform(1, 2, (5, 16)).astype(np.float32)]
    made_of, names = delegate()
    assert_same(tflgpu_run(model, inputs, [made_of]), tflgpu_run(model, inputs), rtol=1e-5, atol=0)
    assert "persistent_kernel" in names


def test_small_launches_of_several_nodes_use_again_what_is_done_with_only_then() -> None:
    m = ModelBuilder()
    g = m.graph()
    x, outs = g.input("x", "FLOAT32", [3, 5]), []
    axis = g.constant("axis", np.array(0, np.int32))
    for k, reverse in enumerate([False, True]):  # the second's sums lie in the arena where the first's were
        sums, out = g.tensor(f"sums{k}", "FLOAT32", [3, 5]), g.tensor(f"out{k}", "FLOAT32", [3, 5])
        g.node("CUMSUM", [x, axis], [sums], reverse=reverse)
        g.node("CUMSUM", [sums, axis], [out], exclusive=reverse)
        outs.append(out)
    g.outputs(*outs)
    model, inputs = m.build(), [np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)]
    made_of, names = delegate()
    assert_same(tflgpu_run(model, inputs, [made_of]), tflgpu_run(model, inputs), rtol=1e-5, atol=1e-5)
    assert names == ["barrier_kernel"]


COUNTING = """
ONE_WORK_ITEM kernel void count(global u32* cells, global i32* out) {
    JOIN
    STAGE(5u, out[claim]++;)
    STAGE(1u, for (i32 k = 0; k < 5; k++) out[k] *= 2;)
    LEAVE
}
"""


def test_the_number_of_the_run_wraps_around() -> None:
    made, _ = delegate()
    device, package = made.device, files("tflgpu.kernels_cl")
    text = "\n".join(
        [*(package.joinpath(name).read_text() for name in ("prelude.clh", "persistent_kernel.clh")), COUNTING]
    )
    # Of two groups: the run, then claims made of each share and claims done, of two stages.
    claims = np.zeros((7, 16), np.uint32)
    claims[0, 0] = 2**32 - 1
    claims[1:, 0] = np.uint32(0) - np.array([2, 3, 5, 0, 1, 1], np.uint32)
    cells, out = device.allocate(claims.nbytes), device.allocate(5 * 4)
    device.upload(cells, claims)
    device.upload(out, np.zeros(5, np.int32))
    call = device.bind(device.kernel(text, "count"), [cells, out], (2,), (1,))
    for _ in range(3):
        call()
    got = np.zeros(5, np.int32)
    device.download(out, got)
    assert got.tolist() == [14] * 5


def test_what_is_copied_to_and_from_intels_runtime_is_memory_of_the_host() -> None:
    require_intel()
    from tflgpu.delegates.opencl.delegate import load
    from tflgpu.delegates.opencl.device import SharedBuffer

    device = load({"device": "intel"}).device
    buffer, values = device.exchange(24), np.arange(6, dtype=np.float32).reshape(2, 3)
    assert isinstance(buffer, SharedBuffer)
    device.upload(buffer, values)
    text = "kernel void add(global float* x) { x[get_global_id(0)] += 1; }"
    device.bind(device.kernel(text, "add"), [buffer], (6,), (1,))()
    got = np.zeros_like(values)
    device.download(buffer, got)
    assert (got == values + 1).all()


def test_volumes_and_spectra_are_one_persistent_kernel() -> None:
    rng = np.random.default_rng(4)
    m = ModelBuilder()
    g = m.graph()
    steps = {f"stride_{axis}": 1 for axis in "dhw"} | {f"dilation_{axis}_factor": 1 for axis in "dhw"}
    x = g.input("x", "FLOAT32", [1, 3, 4, 8, 2])
    y, z = g.tensor("y", "FLOAT32", [1, 3, 4, 8, 3]), g.tensor("z", "FLOAT32", [1, 3, 4, 8, 2])
    weights = g.constant("w", rng.normal(size=(2, 3, 3, 2, 3)).astype(np.float32))
    g.node("CONV_3D", [x, weights], [y], padding="SAME", **steps, **NONE)
    shape = g.constant("shape", np.array([1, 3, 4, 8, 2], np.int32))
    g.node("CONV_3D_TRANSPOSE", [shape, weights, y], [z], padding="SAME", **steps, **NONE)
    rows, spectra = g.tensor("rows", "FLOAT32", [12, 1, 16]), g.tensor("spectra", "COMPLEX64", [12, 1, 9])
    real = g.tensor("real", "FLOAT32", [12, 1, 9])
    g.node("RESHAPE", [z, g.constant("to", np.array([12, 1, 16], np.int32))], [rows])
    g.node("RFFT2D", [rows, g.constant("size", np.array([1, 16], np.int32))], [spectra])
    g.node("REAL", [spectra], [real])
    g.outputs(real)
    model, inputs = m.build(), [rng.normal(size=(1, 3, 4, 8, 2)).astype(np.float32)]
    (together, names), (alone, others) = delegate(), delegate("persistent")
    want = tflgpu_run(model, inputs, [alone])
    assert {"depth_windows", "sum_taps", "fft"} <= set(others)
    assert_same(tflgpu_run(model, inputs, [together]), want, rtol=0, atol=0)
    assert "persistent_kernel" in names and not {"depth_windows", "sum_taps", "fft"} & set(names)
    together.device.check_guards()
    assert_same(want, tflgpu_run(model, inputs), rtol=1e-5, atol=1e-4)
