"""The end of the process: a daemon thread's call into a runtime or a compiler is waited for, and it begins no other.

Before Python 3.14 a daemon thread that asks for the GIL while Python ends is ended on the spot. Inside pyopencl that is
within a C++ function that must not throw, and the process aborts; runtimes also crash where work is under way when
their libraries are unloaded, and compilers fail where their folder goes.
"""

from __future__ import annotations

import atexit
import functools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from tflgpu.delegates.device import Device

PAUSE_S = 0.001
PAUSES = 10_000
"""How often the end pauses for a call that another thread is in, such as a kernel that loops for ever: for ten seconds,
and on a busy machine, where calls take longer, for as much longer as pauses do."""

P = ParamSpec("P")
R = TypeVar("R")

_inside: dict[int, None] = {}
"""The threads that are in an awaited call."""
_ending: list[int] = []
"""The thread that ends the process, once it does."""
_never = threading.Lock()
_never.acquire()
_devices: weakref.WeakSet[Device] = weakref.WeakSet()
weakref.finalize(_devices, tuple)  # of functions at exit the first comes last: private folders go after _end


def awaited(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which may give up the GIL in C++: the process's end waits for it, and in other threads than the one
    that ends the process it is not begun any more, nor left. Awaited functions do not call one another."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        thread = threading.get_ident()
        try:
            _inside[thread] = None
            if _ending:
                _stop_at_end(thread)
            return function(*args, **kwargs)
        finally:
            _inside.pop(thread, None)
            if _ending:
                _stop_at_end(thread)

    return call


def _stop_at_end(thread: int) -> None:
    """Returns in the thread that ends the process; no other goes on."""
    if thread not in _ending:
        _inside.pop(thread, None)
        _never.acquire()


def synchronized_at_end(device: Device) -> None:
    """Has the process's end wait for what runs on the device."""
    _devices.add(device)


@atexit.register
def _end() -> None:
    _ending.append(threading.get_ident())
    for _ in range(PAUSES):
        if not _others_inside():
            break
        time.sleep(PAUSE_S)
    else:
        return
    for device in list(_devices):
        with suppress(Exception):  # what failed on it was raised by the call that asked for it, if any did
            device.synchronize()


def _others_inside() -> bool:
    return bool((_inside.keys() & sys._current_frames().keys()) - set(_ending))
