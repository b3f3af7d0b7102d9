"""Makes a random graph that fails as small as it can be while it fails, each try in a process that may crash."""

from __future__ import annotations

import time

from tflgpu.conformance import random_graphs, verdicts
from tflgpu.conformance.judge import quiet, save
from tflgpu.conformance.reference import Reference
from tflgpu.conformance.runner import Worker
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.verdicts import Result

PROBES_S = 60.0
"""Seconds after which what has been reached is taken."""


def shrunk(result: Result, settings: Settings, timeout_s: float) -> Result:
    """The result of a failing random graph, with its smallest failing subset of nodes as its reproducer."""
    wanted = random_graphs.parsed(result.name)
    assert wanted is not None
    seed, nodes = wanted
    worker = Worker(quiet(settings))
    until = time.monotonic() + PROBES_S
    last = result

    def fails(tried: tuple[int, ...]) -> bool:
        nonlocal last
        if time.monotonic() > until:
            return False
        found = worker.run(random_graphs.name_of(seed, tried), timeout_s)
        if found.bad and found.verdict != verdicts.INVALID:
            last = found
            return True
        return False

    try:
        smallest = random_graphs.smallest(nodes or tuple(random_graphs.nodes_of(seed)), fails)
    finally:
        worker.stop()
    if last is not result:
        sample = random_graphs.sample(seed, smallest)
        ops = ", ".join(random_graphs.operators(sample.model))
        result.why = f"{result.why}; shrunk to {len(smallest)} nodes ({ops}), {last.name}: {last.why}"
        values = sample.values()
        result.reproducer = save(last.name, sample, values, Reference(sample.model).expected(values).outputs, settings)
    return result
