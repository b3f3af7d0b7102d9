"""Chooses among variants of a launch by running them, and remembers the choice on disk."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable

import numpy as np

from tflgpu.debug import LAUNCHES, say
from tflgpu.delegates.cache import NOWHERE, ProgramCache
from tflgpu.delegates.device import Call, Device, TimesCalls
from tflgpu.delegates.launch import Launch
from tflgpu.optional import offers

TURNS = 5
"""How often each variant runs; its least time counts."""


class Tuner:
    """The choices made so far for one device.

    identity: the device, its driver and precision, to which a choice belongs. cache: where choices are kept.
    """

    def __init__(self, identity: str, cache: ProgramCache = NOWHERE):
        self._identity, self._cache = f"choices among variants\n{identity}", cache
        self._chosen = self._kept()
        self.measured: list[dict[str, float]] = []
        """Microseconds of each variant that runs, by what it is, for every launch that this process has tried."""

    def choose(self, device: Device, launch: Launch, bind: Callable[[Launch], Call]) -> Launch:
        """The fastest of the launch and its variants. bind: makes a call of a launch; what a call writes is lost."""
        variants = (launch, *launch.variants)
        key = _key(launch)
        if not 0 <= self._chosen.get(key, -1) < len(variants):
            times = [_time(device, variant, bind) for variant in variants]
            self._chosen[key] = int(np.argmin(times))
            ran = [(way, t) for way, t in zip(variants, times, strict=True) if np.isfinite(t)]
            self.measured.append({_said(way): t * 1e6 for way, t in ran})
            self._keep()
        return variants[self._chosen[key]]

    def _keep(self) -> None:
        """Adds the choices to those kept meanwhile by other processes."""
        self._cache.put(self._identity, json.dumps({**self._kept(), **self._chosen}).encode())

    def _kept(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self._cache.get(self._identity) or b"{}")
        return found


def _key(launch: Launch) -> str:
    """Kernel, macros and sizes of all variants: what decides which is fastest, and not whose data they take."""
    lines = []
    for variant in (one for way in (launch, *launch.variants) for one in way.sequence):
        sizes = " ".join(str(int(a)) for a in variant.arguments.values() if isinstance(a, np.integer))
        macros = " ".join(f"{name}={value}" for name, value in sorted(variant.defines.items()))
        lines.append(f"{variant.kernel} {variant.threads} {macros} {sizes}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _said(launch: Launch) -> str:
    """A variant in words: its kernels, with their numbers of blocks and the macros that are sizes."""
    lines = []
    for one in launch.sequence:
        sizes = " ".join(f"{name}={value}" for name, value in sorted(one.defines.items()) if isinstance(value, int))
        numbers = [int(a) for a in one.arguments.values() if isinstance(a, np.integer)]
        lines.append(f"{one.kernel} {one.grid} {sizes} {numbers}")
    return "; ".join(lines)


def _time(device: Device, launch: Launch, bind: Callable[[Launch], Call]) -> float:
    """Seconds of one run, infinite where the variant does not compile or run on this device."""
    timed: object = device
    try:
        call = bind(launch)
        seconds = timed.seconds_of(call) if offers(timed, TimesCalls) else _least_time(device, call)
    except (MemoryError, RuntimeError) as error:
        say(LAUNCHES, f"{launch.kernel} is no variant here: {error}")
        return float("inf")
    say(LAUNCHES, f"{launch.kernel} {dict(launch.defines)}: {seconds * 1e6:.1f} us")
    return seconds


def _least_time(device: Device, call: Call) -> float:
    """Seconds of one run on the host's clock, after a first that does not count."""
    call()
    device.synchronize()
    least = float("inf")
    for _ in range(TURNS):
        start = time.perf_counter()
        call()
        device.synchronize()
        least = min(least, time.perf_counter() - start)
    return least
