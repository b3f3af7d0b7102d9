"""Medians of many runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def measured(run: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Median and least milliseconds of run, for about so many seconds after a warm-up; of one run where it is slow."""
    begin, warm = time.perf_counter(), 0
    while warm < 3 and time.perf_counter() - begin <= 5 * seconds:
        run()
        warm += 1
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < (5 if warm == 3 else 1) or (time.perf_counter() < end and len(times) < 2000):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return {"median_ms": statistics.median(times), "least_ms": min(times), "runs": len(times)}
