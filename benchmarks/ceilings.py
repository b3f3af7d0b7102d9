"""What an NVIDIA GPU reaches in a large copy and in large GEMMs, by its vendor's libraries."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any


def ceilings(device: int) -> dict[str, float]:
    """bytes_per_s of a large copy (read and written), <type>_flop_per_s of square GEMMs of 8192."""
    import cupy

    def seconds_of(run: Callable[[], Any]) -> float:
        run()
        events = [cupy.cuda.Event() for _ in range(2)]
        times = []
        for _ in range(7):
            events[0].record()
            run()
            events[1].record()
            events[1].synchronize()
            times.append(cupy.cuda.get_elapsed_time(*events) / 1e3)
        return statistics.median(times)

    with cupy.cuda.Device(device):
        found: dict[str, float] = {}
        source = cupy.random.random(1 << 27, dtype=cupy.float32)
        target = cupy.empty_like(source)
        found["bytes_per_s"] = 2 * source.nbytes / seconds_of(lambda: cupy.copyto(target, source))
        n = 8192
        for name, dtype in (("fp32", cupy.float32), ("fp16", cupy.float16)):
            a, b = (cupy.random.random((n, n), dtype=cupy.float32).astype(dtype) for _ in range(2))
            out = cupy.empty_like(a)
            found[f"{name}_flop_per_s"] = 2 * n**3 / seconds_of(lambda a=a, b=b, out=out: cupy.matmul(a, b, out=out))
        return found | torch_ceilings(device, n, seconds_of)


def torch_ceilings(device: int, n: int, seconds_of: Callable[[Callable[[], Any]], float]) -> dict[str, float]:
    """FLOP/s of GEMMs that PyTorch offers and CuPy does not; none without PyTorch."""
    try:
        import torch
    except ImportError:
        return {}
    found: dict[str, float] = {}
    with torch.cuda.device(device):  # whose current stream is the default one, as CuPy's is
        torch.backends.cuda.matmul.allow_tf32 = True
        a = torch.rand((n, n), device="cuda")
        integers = torch.randint(-127, 127, (n, n), dtype=torch.int8, device="cuda")
        gemms = {"tf32": lambda: torch.matmul(a, a), "int8": lambda: torch._int_mm(integers, integers.t())}
        for name, gemm in gemms.items():
            try:
                found[f"{name}_flop_per_s"] = 2 * n**3 / seconds_of(gemm)
            except RuntimeError:  # the card has no such gemm
                continue
        torch.cuda.empty_cache()
    return found
