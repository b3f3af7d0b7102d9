"""The emulator: CUDA's words mean what they mean on a GPU, and check mode finds planted mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import require_emulator

from tflgpu.delegates.emulator.device import Emulator
from tflgpu.delegates.emulator.memory import ndarray
from tflgpu.delegates.emulator.streams import Stream

require_emulator()

LAST_BLOCK = (
    "__shared__ int last; int t = threadIdx.x; if (t < 32) y[blockIdx.x * 32 + t] = t;",
    "__threadfence();",
    "__syncthreads();",
    "if (t == 0) { last = atomicInc((unsigned*)y + 127, 1u);",
    "__threadfence();",
    "} __syncthreads(); if (last && t < 32) y[64 + t] = y[t] + y[32 + t];",
)
"""The last of two blocks to finish adds what both have made. Fences order its reads after the other's writes."""


def last_block_without(line: int) -> str:
    return " ".join(text for k, text in enumerate(LAST_BLOCK) if k != line)


KERNELS = {
    "last_block": last_block_without(-1),
    "last_block_without_release": last_block_without(1),
    "last_block_without_barrier": last_block_without(2),
    "last_block_without_acquire": last_block_without(4),
    "ok": "__shared__ float s[64]; int t = threadIdx.x; s[t] = t; __syncthreads(); y[blockIdx.x * 64 + t] = s[63 - t];",
    "warp": "__shared__ float s[64]; int t = threadIdx.x; s[t] = t; __syncwarp(); y[blockIdx.x * 64 + t] = s[t ^ 1];",
    "warp_rereads": "__shared__ float s[64]; int t = threadIdx.x; s[t] = t; __syncwarp(); float a = s[t / 32 * 32] +"
    "s[t ^ 1]; __syncwarp(); s[t] = a; __syncwarp(); y[blockIdx.x * 64 + t] = s[t ^ 2];",
    "race_of_readers": "__shared__ float s[64]; int t = threadIdx.x; s[t] = t; __syncwarp(); float a = s[t / 32 * 32];"
    "s[t] = a; __syncwarp(); y[blockIdx.x * 64 + t] = s[t ^ 2];",
    "outside": "y[blockIdx.x * 64 + threadIdx.x + 1] = 1;",
    "outside_shared": "__shared__ float s[64]; int t = threadIdx.x; s[t + 1] = 1; __syncthreads();"
    "y[blockIdx.x * 64 + t] = s[t + 1];",
    "race": "__shared__ float s[64]; int t = threadIdx.x; s[t] = t; y[blockIdx.x * 64 + t] = s[63 - t];",
    "late_barrier": "__shared__ float s[64]; int t = threadIdx.x; float a = 0; for (int i = 0; i < 3; i++) {"
    "s[t] = t + i; __syncthreads(); a += s[63 - t]; } y[blockIdx.x * 64 + t] = a;",
    "race_of_blocks": "y[threadIdx.x] = blockIdx.x;",
    "uninitialised": "__shared__ float s[64]; int t = threadIdx.x; if (t < 32) s[t] = t; __syncthreads();"
    "y[blockIdx.x * 64 + t] = s[t];",
    "deadlock": "int t = threadIdx.x; if (t != 5) __shfl_sync(0xffffffffu, t, 0); else __syncthreads(); y[t] = t;",
    "divergent": "int t = threadIdx.x; if (t < 32) __syncthreads(); else { y[t] = 0; __syncthreads(); } y[t] = t;",
    "misaligned": "if (threadIdx.x < 8) *(float4*)(y + 1 + 4 * threadIdx.x) = float4{0, 1, 2, 3};",
    "writes_const": "((float*)c)[threadIdx.x] = y[threadIdx.x];",
}
FOUND = {
    "outside": "out of bounds: write of 4 bytes at byte 512 of buffer 0",
    "outside_shared": "out of bounds: write of 4 bytes at byte 256 of s",
    "race": "race: ",
    "race_of_readers": "race: ",
    "late_barrier": "race: ",
    "race_of_blocks": "race: a write of byte 0 of buffer 0",
    "last_block_without_release": "race: a read of byte 0 of buffer 0",
    "last_block_without_barrier": "race: a read of byte",
    "last_block_without_acquire": "race: a read of byte 0 of buffer 0",
    "uninitialised": "uninitialised: a read of byte 128 of shared s",
    "deadlock": "deadlock: 1 threads at __syncthreads, 31 in a warp operation",
    "divergent": "wait at different __syncthreads",
    "misaligned": "misaligned",
    "writes_const": "a write to buffer 1 of writes_const, which is const",
}
TEXT = "\n".join(
    f'extern "C" __global__ void {name}(float* y, const float* c) {{ {body} }}' for name, body in KERNELS.items()
)


def run(emulator: Any, text: str, name: str, args: tuple[Any, ...], grid: int = 2, block: int = 64) -> None:
    with Stream():
        emulator.RawModule(text).get_function(name)((grid,), (block,), args)


def buffer(emulator: Any, array: Any) -> Any:
    memory = emulator.cuda.Memory(array.nbytes)
    memory.array[:] = np.frombuffer(array.tobytes(), np.uint8)
    return ndarray((array.nbytes,), "u1", memory)


def floats(b: Any) -> Any:
    return b.data.array.view(np.float32)


@pytest.fixture(scope="module")
def checking() -> Emulator:
    return Emulator(check=True)


@pytest.mark.parametrize("name", KERNELS)
def test_check_mode_finds_what_was_planted_and_nothing_else(name: str, checking: Emulator) -> None:
    args = tuple(buffer(checking, np.zeros(128, np.float32)) for _ in range(2))
    if name not in FOUND:
        run(checking, TEXT, name, args)
        return
    with pytest.raises(RuntimeError, match=FOUND[name]):
        run(checking, TEXT, name, args)


@pytest.mark.parametrize("check", [False, True])
def test_warps_blocks_and_atomics(check: bool) -> None:
    emulator = Emulator(check=check)
    text = """
    extern "C" __global__ void sums(const float* x, float* total, float* swapped, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        float v = i < n ? x[i] : 0;
        float s = v;
        for (int by = 16; by > 0; by /= 2) s += __shfl_down_sync(0xffffffffu, s, by);
        if (threadIdx.x % 32 == 0) atomicAdd(total, s);
        float other = __shfl_xor_sync(0xffffffffu, v, 1);
        if (i < n) swapped[i] = __ballot_sync(0xffffffffu, v > 2) & 1 ? other : -other;
    }"""
    x = np.arange(96, dtype=np.float32)
    total, swapped = buffer(emulator, np.zeros(1, np.float32)), buffer(emulator, x)
    run(emulator, text, "sums", (buffer(emulator, x), total, swapped, np.int32(96)), 3, 32)
    assert floats(total)[0] == x.sum()
    other = np.arange(96).reshape(-1, 2)[:, ::-1].reshape(-1)
    np.testing.assert_array_equal(floats(swapped), np.where(np.arange(96) < 32, -other, other))


MEETING = """
typedef unsigned u32;
__device__ void meet(u32* arrived, bool fenced, bool waits) {
    __syncthreads();
    if (threadIdx.x == 0) {
        if (fenced) __threadfence();
        u32 before = atomicAdd(arrived, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1u);
        while (waits && ((before ^ *(volatile u32*)arrived) & 0x80000000u) == 0) __nanosleep(20);
        if (fenced) __threadfence();
    }
    __syncthreads();
}
extern "C" __global__ void handed_on(float* y, u32* arrived, int fenced, int waits, int meets_twice, int missing) {
    __shared__ float s[64];
    int t = threadIdx.x, blocks = gridDim.x;
    if (blockIdx.x == missing) return;
    for (int turn = 0; turn < 4; turn++) {
        float v = y[((blockIdx.x + 1) % blocks) * 64 + t];
        s[63 - t] = v + 1;
        if (meets_twice) meet(arrived, fenced, waits); else __syncthreads();
        y[blockIdx.x * 64 + t] = s[63 - t];
        meet(arrived, fenced, waits);
    }
}"""
"""Every block hands its row of y to the one before it, adding 1, four times."""


def handed_on(emulator: Emulator, cooperative: bool = True, blocks: int = 3, **plan: int) -> Any:
    y = buffer(emulator, np.repeat(np.arange(blocks, dtype=np.float32), 64))
    words = {"fenced": 1, "waits": 1, "meets_twice": 1, "missing": -1} | plan
    args = (y, buffer(emulator, np.zeros(1, np.uint32)), *map(np.int32, words.values()))
    kernel = emulator.RawModule(MEETING, enable_cooperative_groups=cooperative).get_function("handed_on")
    with Stream():
        kernel((blocks,), (64,), args)
    return floats(y)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("blocks", [1, 3, 16])
def test_blocks_of_a_cooperative_launch_wait_for_one_another(blocks: int, check: bool) -> None:
    want = np.repeat((np.arange(blocks) + 4) % blocks + 4, 64)
    np.testing.assert_array_equal(handed_on(Emulator(check=check), blocks=blocks), want)


@pytest.mark.parametrize(
    "plan, message",
    [
        ({"fenced": 0}, "race: "),
        ({"waits": 0}, "race: "),
        ({"meets_twice": 0}, "race: "),
        ({"missing": 1}, "deadlock: every block waits for another"),
        ({"cooperative": False}, "which only a cooperative launch is sure to run"),
        ({"blocks": 132 * 32 + 1}, "cudaErrorCooperativeLaunchTooLarge"),
    ],
)
def test_check_mode_finds_what_is_wrong_between_blocks(plan: Any, message: str, checking: Emulator) -> None:
    with pytest.raises(RuntimeError, match=message):
        handed_on(checking, **plan)


def test_half_rounds_as_numpy_does() -> None:
    emulator = Emulator()
    text = """#include <cuda_fp16.h>
    extern "C" __global__ void rounded(const float* x, half* y, float* back, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i >= n) return;
        y[i] = __float2half(x[i]);
        back[i] = __half2float(y[i]);
    }"""
    rng = np.random.default_rng(0)
    groups = (
        rng.normal(size=400) * 10.0 ** rng.integers(-9, 6, 400),
        np.arange(65536, dtype=np.uint16).view(np.float16)[::7],
        [np.inf, -np.inf, np.nan, 65519, 65520, 2.0**-25, 2.0**-24 * 1.5, -0.0],
    )
    with np.errstate(invalid="ignore"):
        x = np.concatenate([np.asarray(group, np.float32) for group in groups])
    y, back = buffer(emulator, np.zeros(x.size, np.float16)), buffer(emulator, x)
    run(emulator, text, "rounded", (buffer(emulator, x), y, back, np.int32(x.size)), -(-x.size // 64))
    with np.errstate(over="ignore"):
        want = x.astype(np.float16)
    np.testing.assert_array_equal(y.data.array.view(np.float16), want)
    np.testing.assert_array_equal(floats(back), want.astype(np.float32))


def test_wrong_arguments_are_refused() -> None:
    emulator = Emulator()
    text = 'extern "C" __global__ void one(float* y, int n) { y[0] = n; }'
    y = buffer(emulator, np.zeros(4, np.float32))
    for args in ((y,), (y, np.float64(1)), (np.int32(1), np.int32(1)), (y, 1), (y, y)):
        with pytest.raises(TypeError, match="one"):
            run(emulator, text, "one", args)
    with pytest.raises(RuntimeError, match="no GPU launches a grid"):
        run(emulator, text, "one", (y, np.int32(1)), 1, 2000)
