"""Launches as calls: their program texts compiled, their arguments bound, the fastest of their variants chosen."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from tflgpu.debug import LAUNCHES, PROGRAMS, enabled, say
from tflgpu.delegates.autotune import Tuner
from tflgpu.delegates.buffers import Buffers
from tflgpu.delegates.device import Call, Device, DeviceLimits, HasRoutines, Tunes
from tflgpu.delegates.launch import LIBRARY, Launch
from tflgpu.delegates.program import source
from tflgpu.optional import offers

LARGE_BLOCK = 1024


def calls_of(launch: Launch, device: Device, buffers: Buffers) -> list[Call]:
    """The calls that the launch takes, in order."""
    tuned: object = device
    if launch.variants and offers(tuned, Tunes) and 0 not in launch.threads:
        launch = _fastest(launch, tuned.tuner, device, buffers)
    return [_bound(one, device, buffers) for one in launch.sequence if 0 not in one.threads]


def _fastest(launch: Launch, tuner: Tuner, device: Device, buffers: Buffers) -> Launch:
    """The fastest variant; what the others alone have uploaded goes again."""
    before = set(buffers.constants)
    chosen = tuner.choose(
        device, launch, lambda way: device.sequence([_bound(one, device, buffers) for one in way.sequence])
    )
    buffers.drop_constants(before, {id(buffer) for one in chosen.sequence for buffer in one.buffers})
    return chosen


def _bound(launch: Launch, device: Device, buffers: Buffers) -> Call:
    arguments = [buffers.argument(argument) for argument in launch.arguments.values()]
    if launch.stem == LIBRARY:
        library: object = device
        assert offers(library, HasRoutines), launch.kernel
        return device.bind(library.routine(launch.name), arguments, launch.grid, launch.block)
    text = source(launch, device.dialect)
    say(PROGRAMS, text)
    kernel = device.kernel(text, launch.name)
    launch = in_large_blocks(launch, device.limits) if device.limits.cpu else launch
    call = device.bind(kernel, arguments, launch.grid, launch.block)
    return _told(launch, call, device) if enabled(LAUNCHES) else call


def _told(launch: Launch, call: Call, device: Device) -> Call:
    """The call, waited for, with a line on standard error that says how long it took."""

    def told() -> None:
        device.synchronize()
        start = perf_counter()
        call()
        device.synchronize()
        elapsed_us = (perf_counter() - start) * 1e6
        say(LAUNCHES, f"{launch.kernel} grid {launch.grid} block {launch.block}: {elapsed_us:.0f} us")

    return told


def in_large_blocks(launch: Launch, limits: DeviceLimits) -> Launch:
    """The launch with larger blocks where its kernel does not mind: a CPU takes long to go from one to the next."""
    plain = launch.block == Launch.block and len(launch.threads) == 1 and "WIDTH" not in launch.defines
    many = launch.threads[0] >= 4 * limits.units * LARGE_BLOCK
    return replace(launch, block=(LARGE_BLOCK,)) if plain and many else launch
