"""NVRTC's PTX on the CPU: what its checks find, and the CPU's results from kernels of every kind on small shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention_models import ATTENTIONS
from convolution_models import SEPARABLES
from devices import ptx, require_emulator
from kit import check, fed, recurrent
from loop_models import large
from norm_models import NORMS
from oracle import assert_same, one_op, tflgpu_run
from pattern_models import Pattern

from tflgpu.conformance.cases.case import Case
from tflgpu.conformance.cases.tiles import dense, named
from tflgpu.delegates.emulator.ptx import UnknownInstruction, translated
from tflgpu.delegation.discovery import load_delegate

require_emulator()


def run(text: str, *sizes: int) -> None:
    """A kernel k of a block of 32 threads, on one buffer of each size; a size of 0 is the buffer before it again."""
    device = ptx().device
    buffers: list[Any] = []
    for size in sizes:
        buffers.append(device.allocate(size) if size else buffers[-1])
    kernel = device.kernel(f'extern "C" __global__ void k{text}', "k")
    device.sequence([device.bind(kernel, buffers, (1,), (32,))])()


PLANTED = {
    "outside of all buffers": ("(float* x) { x[threadIdx.x + 1] = 1; }", 128),
    "16 bytes at a multiple of 4": ("(float* x) { *(float4*)x = *(float4*)(x + 1); }", 128),
    "written and read by ld.global.nc": (
        "(const float* __restrict__ x, float* __restrict__ y) { y[threadIdx.x] = x[threadIdx.x ^ 1] + 1; }",
        *(128, 0),
    ),
}


@pytest.mark.parametrize("message", PLANTED)
def test_what_a_kernel_may_not_do_is_found(message: str) -> None:
    text, *sizes = PLANTED[message]
    with pytest.raises(RuntimeError, match=message):
        run(str(text), *map(int, sizes))


def test_what_a_kernel_may_do_is_not() -> None:
    run("(float* x) { x[threadIdx.x] = 1; }", 128)
    run("(const float* __restrict__ x, float* __restrict__ y) { y[threadIdx.x] = x[threadIdx.x ^ 1] + 1; }", 128, 128)


def test_an_unknown_instruction_is_named() -> None:
    program = ".visible .entry k(\n.param .u64 p\n)\n{\n.reg .b32 %r<3>;\nfrob.b32 %r1, %r2;\nret;\n}\n"
    with pytest.raises(UnknownInstruction, match="frob.b32 %r1, %r2"):
        translated(program)


@pytest.mark.parametrize("op", ["EXP", "TANH", "SIN", "LOGISTIC", "FLOOR", "SQRT", "RSQRT", "ELU"])
def test_functions_are_the_cpus_for_numbers_of_every_kind(op: str) -> None:
    x = np.float32([0, -0.0, 1, -1, 0.5, 2.5, 88, -104, 1e-40, 3e38, np.inf, -np.inf, np.nan, 1e5])
    model = one_op(op, [{"type": "FLOAT32", "shape": x.shape}], [{"type": "FLOAT32", "shape": x.shape}])
    with np.errstate(all="ignore"):
        assert_same(tflgpu_run(model, [x], [ptx()]), tflgpu_run(model, [x]), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("out", ["INT32", "INT8", "UINT8", "INT16"])
def test_what_no_integer_holds_is_converted_as_by_the_cpu_and_the_emulator(out: str) -> None:
    x = np.float32([np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31), 3e9, -3e9, 1.9, -1.9, 0])
    model = one_op("CAST", [{"type": "FLOAT32", "shape": x.shape}], [{"type": out, "shape": x.shape}])
    with np.errstate(all="ignore"):
        want = tflgpu_run(model, [x])
    emulator = load_delegate("cuda", {"device": "emulator", "require_full": True})
    assert_same(tflgpu_run(model, [x], [ptx()]), want)
    assert_same(tflgpu_run(model, [x], [emulator]), want)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("FLOAT32", "fp32"), ("FLOAT32", "tf32"), ("FLOAT32", "fp16"), ("INT8", "fp32"), ("UINT8", "fp32")],
)
def test_a_gemm_is_exact_on_whole_numbers(kind: str, precision: str) -> None:
    model, values = fed(named("gemm", "small", dense(kind, 33, 64, 128)))
    assert_same(tflgpu_run(model, values, [ptx(precision)]), tflgpu_run(model, values))


@pytest.mark.parametrize("case", recurrent("^SVDF"), ids=lambda case: case.name)
def test_a_state_is_not_read_through_the_cache_of_constants(case: Case) -> None:
    check(case, ptx())


SHARED = [ATTENTIONS[0], NORMS[0], SEPARABLES[0], SEPARABLES[5]]


@pytest.mark.parametrize("pattern", SHARED, ids=lambda pattern: pattern.name)
def test_a_fused_pattern_is_the_cpus(pattern: Pattern) -> None:
    from tflgpu import Interpreter

    model, rng = pattern.model(), np.random.default_rng(0)
    values = [
        rng.integers(-99, 99, detail["shape"]).astype(detail["dtype"])
        if detail["dtype"] == np.int8
        else rng.normal(size=detail["shape"]).astype(np.float32)
        for detail in Interpreter(model_content=model).get_input_details()
    ]
    assert_same(tflgpu_run(model, values, [ptx()]), tflgpu_run(model, values), rtol=1e-5, atol=1e-5)


def test_blocks_of_a_cooperative_launch_wait_for_one_another() -> None:
    values = [np.int32(0), np.random.default_rng(0).normal(size=(1, 300)).astype(np.float32)]
    assert_same(tflgpu_run(large(), values, [ptx()]), tflgpu_run(large(), values), rtol=1e-5, atol=1e-5)


def test_a_float_beyond_an_integer_is_the_nearest_one_and_nan_is_zero() -> None:
    x = np.float32([np.nan, np.inf, -np.inf, 3e9, -3e9, -1.9])
    device = ptx().device
    buffers = [device.allocate(x.nbytes) for _ in range(2)]
    device.upload(buffers[0], x)
    text = 'extern "C" __global__ void k(const float* x, int* y) { y[threadIdx.x] = (int)x[threadIdx.x]; }'
    device.sequence([device.bind(device.kernel(text, "k"), buffers, (1,), (x.size,))])()
    y = np.zeros(x.size, np.int32)
    device.download(buffers[1], y)
    assert y.tolist() == [0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31), -1]
