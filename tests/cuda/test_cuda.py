"""The CUDA delegate on the emulator: each operator and program gives the CPU's results, and breaks no rule of CUDA."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from devices import cuda_device
from kit import check, fed, kernels, of_family
from loop_models import large
from oracle import assert_same, one_op, tflgpu_run
from programs import one_of_each

import tflgpu
from tflgpu.conformance.cases.case import Case, OneOp, T
from tflgpu.conformance.cases.tiles import batched, conv, dense, depthwise, named
from tflgpu.conformance.cases.values import drawn
from tflgpu.delegates.cuda import cublas
from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

DEVICE = cuda_device()
"""On a GPU the same tests run without the emulator's checks."""

GPU = DeviceLimits(units=132, tensor_cores=True).plus("warps", "chains", "cublas")
ALONE = list(one_of_each(kernels(main=True), GPU, CudaDevice.dialect, operators=True))
"""A case of each operator and of each program."""
SOFTMAX = [case for case in of_family("gpu tiles") if "SOFTMAX" in case.op]
GEMMS = [case for case in of_family("gpu tiles") if "SOFTMAX" not in case.op]

on_emulator = pytest.mark.skipif(DEVICE != "emulator", reason="the arrays of this test are on the emulator's GPU")


@functools.cache
def emulated(**options: Any) -> Any:
    checks = {"check": DEVICE == "emulator"} if options.get("check") else {}
    return load_delegate("cuda", {"device": DEVICE, "require_full": True} | options | checks)


@pytest.fixture
def fast() -> Any:
    return emulated()


@pytest.fixture
def checking() -> Any:
    return emulated(check=True)


@pytest.mark.parametrize("case", [*ALONE, *SOFTMAX], ids=lambda case: case.name)
def test_a_delegated_operator_gives_the_cpus_results_and_breaks_no_rule(case: Case, checking: Any) -> None:
    check(case, checking)


IN_PRECISIONS = [
    (case, p)
    for case in GEMMS
    for p in ("fp32", "tf32", "fp16")
    if p == "fp32" or (case.type == "float32" and "hybrid" not in case.name)
]


@pytest.mark.parametrize(("case", "precision"), IN_PRECISIONS, ids=lambda value: getattr(value, "name", value))
def test_every_fast_kernel_is_exact_on_whole_numbers(case: Case, precision: str) -> None:
    model, values = fed(case)
    want = tflgpu_run(model, values)
    for checking in (False, True):
        delegate = emulated(precision=precision, check=checking)
        for got, expected in zip(tflgpu_run(model, values, [delegate]), want, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "case",
    [c for c in GEMMS if c.op == "BATCH_MATMUL" and (c.type == "int8" or "hybrid" in c.name)],
    ids=lambda c: c.name,
)
def test_batched_gemms_of_large_int8_matrices_are_made_on_tensor_cores(case: Case) -> None:
    delegate = emulated(profile=True)
    if not delegate.device.limits.tensor_cores:
        pytest.skip(delegate.device.notes[0])
    before = delegate.device.times().get("batched_gemm_mma", (0, 0.0))[0]
    tflgpu_run(*fed(case), [delegate])
    made = delegate.device.times().get("batched_gemm_mma", (0, 0.0))[0] - before
    assert made == ("tensor cores" in case.name)


class Always:
    """A tuner that takes the variant of that number, the launch itself being 0, where there are so many."""

    def __init__(self, number: int):
        self.number, self.most = number, 0

    def choose(self, device: Any, launch: Any, bind: Any) -> Any:
        ways = (launch, *launch.variants)
        self.most = max(self.most, len(ways))
        return ways[min(self.number, len(ways) - 1)]


@pytest.mark.parametrize(("case", "precision"), IN_PRECISIONS, ids=lambda value: getattr(value, "name", value))
def test_every_variant_of_a_fast_kernel_is_exact_on_whole_numbers(case: Case, precision: str) -> None:
    model, values = fed(case)
    want = tflgpu_run(model, values)
    delegate = load_delegate("cuda", {"device": DEVICE, "precision": precision, "autotune": True, "require_full": True})
    tuner = delegate.device.tuner = Always(1)
    while tuner.number < max(tuner.most, 2):
        try:
            results = tflgpu_run(model, values, [delegate])
        except RuntimeError as error:
            if "cublas" not in str(error):
                raise
            results = want  # a size that this cuBLAS does not take: the tuner would not choose it
        for got, expected in zip(results, want, strict=True):
            np.testing.assert_array_equal(got, expected, f"variant {tuner.number}")
        tuner.number += 1


@on_emulator
@pytest.mark.parametrize("cublas_is_fast", [True, False])
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "batched"])
def test_the_fastest_variant_is_taken_and_remembered(
    kind: str, cublas_is_fast: bool, monkeypatch: Any, tmp_path: Any
) -> None:
    from tflgpu.delegates.emulator import streams

    now, put_on_stream = [0.0], streams.Stream.do

    def do(self: Any, work: Any) -> None:
        def timed() -> None:
            work()
            slow = ("gemm", "gemm_mma", "batched_gemm") if cublas_is_fast else ("product",)
            now[0] += 1e-3 if getattr(work, "name", "") in slow else 1e-6

        put_on_stream(self, timed)

    gemm = batched("FLOAT32", (2, 5, 8), (2, 8, 7)) if kind == "batched" else dense(kind, 5, 36, 64)
    case = named("gemm", "tuned", gemm)
    model, values = fed(case)
    want = tflgpu_run(model, values)
    monkeypatch.setattr(streams.Stream, "do", do)
    monkeypatch.setattr(streams, "clock", lambda: now[0])
    options = {"device": DEVICE, "autotune": True, "profile": True, "cache_dir": str(tmp_path)}
    first = load_delegate("cuda", options)
    np.testing.assert_array_equal(tflgpu_run(model, values, [first])[0], want[0])
    assert ("product" in first.device.times()) == cublas_is_fast
    choices = dict(first.device.tuner._chosen)
    second = load_delegate("cuda", options)
    second.device.seconds_of = None  # nothing is timed any more
    np.testing.assert_array_equal(tflgpu_run(model, values, [second])[0], want[0])
    assert ("product" in second.device.times()) == cublas_is_fast
    assert second.device.tuner._chosen == choices != {}


@on_emulator
def test_a_variant_that_does_not_run_is_not_taken(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cublas.functions
    monkeypatch.setattr(cublas, "functions", lambda m: real(m) | {"cublasGemmStridedBatchedEx": lambda *args: 15})

    case = named("gemm", "tuned", dense("FLOAT32", 5, 36, 64))
    delegate = load_delegate("cuda", {"device": DEVICE, "autotune": True, "cache_dir": str(tmp_path)})
    model, values = fed(case)
    assert_same(tflgpu_run(model, values, [delegate]), tflgpu_run(model, values))


class OnDevice:
    """An array that says it lives on a GPU; the emulator's GPU is the CPU."""

    def __init__(self, array: Any):
        self.array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.array.__array_interface__, "version": 3}


def aligned(shape: tuple[int, ...], value: float = 0.0) -> Any:
    block = np.zeros(int(np.prod(shape)) + 8, np.float32)
    start = -block.ctypes.data % 32 // 4
    array = block[start : start + int(np.prod(shape))].reshape(shape)
    array[...] = value
    return array


def chain(ops: tuple[str, ...] = ("ABS", "EXP", "NEG")) -> bytes:
    """-exp(|x|) of x (2, 6), or other operators one after another."""
    m = ModelBuilder()
    g = m.graph()
    last = g.input("x", "FLOAT32", [2, 6])
    for op in ops:
        last, before = g.tensor(op, "FLOAT32", [2, 6]), last
        g.node(op, [before], [last])
    g.outputs(last)
    return m.build()


def interpreter_of(model: bytes, delegate: Any) -> Any:
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    return interpreter


def ends(interpreter: Any) -> tuple[int, int]:
    return interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]


@on_emulator
@pytest.mark.parametrize("limits", [{}, {"skip_nodes": "0"}, {"skip_nodes": "2"}, {"skip_nodes": "1"}])
def test_bound_arrays_are_read_and_written_where_they_are(limits: dict[str, str]) -> None:
    delegate = load_delegate("cuda", {"device": DEVICE, "min_nodes_per_partition": 1} | limits)
    interpreter = interpreter_of(chain(), delegate)
    x, y = aligned((2, 6)), aligned((2, 6))
    first, last = ends(interpreter)
    interpreter.bind_input(first, OnDevice(x))
    interpreter.bind_output(last, OnDevice(y))
    for value in (1.0, -2.0):
        x[...] = value
        interpreter.invoke()
        np.testing.assert_allclose(y, -np.exp(np.abs(x)), rtol=1e-6)
        np.testing.assert_array_equal(interpreter.get_tensor(last), y)
    with pytest.raises(ValueError, match="is bound to an array"):
        interpreter.set_tensor(first, x)
    interpreter.bind_input(first, None)
    interpreter.bind_output(last, None)
    interpreter.set_tensor(first, np.zeros((2, 6), np.float32))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(last), np.full((2, 6), -1, np.float32))
    np.testing.assert_allclose(y, -np.exp(np.float32(2)), rtol=1e-6)


@on_emulator
def test_an_array_that_does_not_fit_is_not_bound() -> None:
    interpreter = interpreter_of(chain(), emulated())
    first, last = ends(interpreter)
    with pytest.raises(ValueError, match=r"the array is float32 \[3, 6\]"):
        interpreter.bind_input(first, OnDevice(aligned((3, 6))))
    with pytest.raises(ValueError, match="must be C-contiguous"):
        interpreter.bind_input(first, OnDevice(aligned((6, 2)).T))
    with pytest.raises(ValueError, match="neither __cuda_array_interface__ nor __dlpack__"):
        interpreter.bind_input(first, [1.0])
    with pytest.raises(ValueError, match=f"Tensor {last} is no input"):
        interpreter.bind_input(last, OnDevice(aligned((2, 6))))
    interpreter.bind_input(first, OnDevice(aligned((2, 6))))
    interpreter.resize_tensor_input(first, [4, 6])
    with pytest.raises(RuntimeError, match="is bound to an array of shape"):
        interpreter.allocate_tensors()


def test_the_cpu_has_no_arrays_to_bind() -> None:
    interpreter = tflgpu.Interpreter(model_content=chain())
    with pytest.raises(ValueError, match="no delegate of this interpreter has arrays of its own"):
        interpreter.bind_input(0, OnDevice(aligned((2, 6))))


def test_a_partition_is_recorded_once_and_replayed_with_its_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    delegate = load_delegate("cuda", {"device": DEVICE})
    recordings: list[Any] = []
    recorded = CudaDevice.recorded
    monkeypatch.setattr(CudaDevice, "recorded", lambda self, run: recordings.append(run) or recorded(self, run))
    interpreter = interpreter_of(chain(), delegate)
    first, last = ends(interpreter)
    for value in (1.0, 2.0, 3.0):
        interpreter.set_tensor(first, np.full((2, 6), value, np.float32))
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(last), -np.exp(np.full((2, 6), value)), rtol=1e-6)
    assert len(recordings) == 1
    interpreter.invoke()  # the input is on the device already: a graph without its copy
    assert len(recordings) == 2
    interpreter.resize_tensor_input(first, [5, 6])
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert len(recordings) == 3


def test_a_partition_that_cannot_be_recorded_runs_as_plain_launches_and_the_report_says_so() -> None:
    delegate = load_delegate("cuda", {"device": DEVICE})

    def refuse(run: Any) -> Any:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    delegate.device.recorded = refuse
    interpreter = interpreter_of(chain(), delegate)
    first, last = ends(interpreter)
    for value in (1.0, 2.0, 3.0):
        interpreter.set_tensor(first, np.full((2, 6), value, np.float32))
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(last), np.full((2, 6), -np.exp(value)), rtol=1e-6)
    assert interpreter.delegation_report().count("plain launches") == 1
    assert "plain launches, since no graph was recorded: cudaErrorStreamCaptureUnsupported" in (
        interpreter.delegation_report()
    )


def test_a_failed_invoke_leaves_the_interpreter_usable(checking: Any) -> None:
    model = one_op(
        "GATHER",
        [np.arange(5, dtype=np.float32), {"type": "INT32", "shape": [3]}],
        [{"type": "FLOAT32", "shape": [3]}],
        axis=0,
    )
    interpreter = interpreter_of(model, checking)
    first, last = ends(interpreter)
    interpreter.set_tensor(first, np.array([0, 9, 1], np.int32))
    with pytest.raises(RuntimeError, match="gather index out of bounds"):
        interpreter.invoke()
    interpreter.set_tensor(first, np.array([4, 0, 1], np.int32))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(last), np.float32([4, 0, 1]))


def test_an_error_of_unavailable_memory_says_how_much_is_free() -> None:
    with pytest.raises(MemoryError, match=r"10,000,000,000,000 bytes for .* are wanted on .*; .* bytes are free"):
        emulated().device.allocate(10**13)


def test_a_text_that_does_not_compile_is_shown_with_its_line_numbers() -> None:
    from tflgpu.delegates.device import CompileError

    with pytest.raises(CompileError, match=r"broken for .*(\n.*)* 2 extern .*broken"):
        emulated().device.kernel('// fine\nextern "C" __global__ void broken(', "broken")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "first"}, "expected the number of a GPU"),
        ({"precision": "int3"}, "expected one of fp32, tf32, fp16"),
        ({"check": True}, "is for device=emulator"),
        ({"nonsense": 1}, "unknown option 'nonsense'. Legal options: .*device"),
    ],
)
def test_wrong_options_are_refused_with_the_right_ones(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_delegate("cuda", options)


def test_without_cupy_or_driver_it_says_what_to_install() -> None:
    try:
        load_delegate("cuda")
    except ValueError as error:
        assert any(hint in str(error) for hint in ("pip install 'tflgpu[cuda12]'", "update the driver", "no GPU"))
    else:
        pytest.skip("this machine has a GPU")


def test_a_profile_has_the_time_of_each_kernel() -> None:
    delegate = load_delegate("cuda", {"device": DEVICE, "profile": True})
    model = one_op("SOFTMAX", [{"type": "FLOAT32", "shape": [3, 5]}], [{"type": "FLOAT32", "shape": [3, 5]}], beta=1.0)
    for _ in range(2):
        tflgpu_run(model, [np.ones((3, 5), np.float32)], [delegate])
    runs, milliseconds = delegate.device.times()["softmax"]
    assert runs == 2 and milliseconds > 0
    assert delegate.device.traffic() == {"softmax": 2 * (60 + 60)}, "two runs, each given 3 x 5 floats in and out"


def test_an_iteration_of_more_work_than_one_block_does_runs_on_several_blocks() -> None:
    delegate = load_delegate("cuda", {"device": DEVICE, "check": DEVICE == "emulator", "require_full": True})
    made: list[tuple[int, ...]] = []
    bind = delegate.device.bind

    def noting(kernel: Any, args: Any, grid: Any, block: Any) -> Any:
        made.append((*grid, kernel.enable_cooperative_groups))
        return bind(kernel, args, grid, block)

    delegate.device.bind = noting
    model = large()
    inputs = [np.int32(0), np.random.default_rng(2).normal(size=(1, 300)).astype(np.float32)]
    assert_same(tflgpu_run(model, inputs, [delegate]), tflgpu_run(model, inputs), rtol=1e-5, atol=1e-6)
    assert made == [(6, True)]
    delegate.device.limits = replace(delegate.device.limits, blocks=1)
    made.clear()
    assert_same(tflgpu_run(model, inputs, [delegate]), tflgpu_run(model, inputs), rtol=1e-5, atol=1e-6)
    assert len(made) > 1 and (6, True) not in made  # the host drives the loop: 91,506 operations an iteration


def constants_of(layer: OneOp, g: Any) -> list[int]:
    """Weights and bias of a model of one operator, in another graph."""
    rng = np.random.default_rng(3)
    tensors = [t for t in layer.inputs[1:] if isinstance(t, T)]
    drawings = [drawn(t.values, t.type, t.shape, rng) for t in tensors]
    return [
        g.constant(f"c{k}", value, type=t.type, **t.quantization())
        for k, (t, value) in enumerate(zip(tensors, drawings, strict=True))
    ]


RESIDUAL_SHAPES = {"gemm": (1, 9, 9, 8), "pointwise": (1, 9, 9, 8), "split": (1, 2, 2, 160), "depthwise": (1, 9, 9, 8)}


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("maker", RESIDUAL_SHAPES)
def test_a_residual_sum_is_made_by_the_kernel_before_it(maker: str, kind: str, checking: Any) -> None:
    shape, k = RESIDUAL_SHAPES[maker], 1 if maker == "pointwise" else 3
    layer = depthwise(kind, shape) if maker == "depthwise" else conv(kind, shape, shape[-1], k)
    m = ModelBuilder()
    g = m.graph()
    fields = {} if kind == "FLOAT32" else {"scale": 0.07, "zero_point": -11}
    x = g.input("x", kind, list(shape), **fields)
    constants = constants_of(layer, g)
    y, z = (g.tensor(name, kind, list(shape), **fields) for name in "yz")
    g.node(layer.op, [x, *constants], [y], version=3, **layer.options)
    g.node("ADD", [y, x], [z], version=2, fused_activation_function="NONE")
    g.outputs(z)
    values = [np.rint(np.random.default_rng(1).uniform(-9, 9, shape)).astype(kind.lower())]
    want = tflgpu_run(m.build(), values)
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [checking]), want)
    profiled = load_delegate("cuda", {"device": DEVICE, "profile": True})
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [profiled]), want)
    names = set(profiled.device.times())
    assert not names & {"elementwise", "sum"}, f"the sum is a kernel of its own: {names}"
    tuned = load_delegate("cuda", {"device": DEVICE, "autotune": True})
    for number in range(1, 6):
        tuned.device.tuner = Always(number)
        np.testing.assert_array_equal(tflgpu_run(m.build(), values, [tuned]), want)


@pytest.mark.parametrize("maker", ["gemm", "pointwise", "depthwise"])
@pytest.mark.parametrize("plain_first", [True, False])
def test_quantized_swish_is_a_lookup_in_the_kernel_before_it(maker: str, plain_first: bool, checking: Any) -> None:
    shape = (1, 9, 9, 8)
    k = 1 if maker == "pointwise" else 3
    layer = depthwise("INT8", shape) if maker == "depthwise" else conv("INT8", shape, 8, k)
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "INT8", list(shape), scale=0.07, zero_point=-11)
    constants = constants_of(layer, g)
    y = g.tensor("y", "INT8", list(shape), scale=0.04, zero_point=-3)
    z = g.tensor("z", "INT8", list(shape), scale=1 / 256, zero_point=-128)
    out = g.tensor("out", "INT8", list(shape), scale=0.03, zero_point=-100)
    g.node(layer.op, [x, *constants], [y], version=3, **layer.options)
    g.node("LOGISTIC", [y], [z], version=2)
    g.node("MUL", [y, z] if plain_first else [z, y], [out], version=2, fused_activation_function="NONE")
    g.outputs(out)
    values = [np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)]
    want = tflgpu_run(m.build(), values)
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [checking]), want)
    profiled = load_delegate("cuda", {"device": DEVICE, "profile": True})
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [profiled]), want)
    assert not set(profiled.device.times()) & {"lut", "product"}
