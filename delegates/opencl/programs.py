"""Programs of an OpenCL device: built from their texts, or taken from the cache as the driver wrote them."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

import pyopencl as cl
from pyopencl import _cl

from tflgpu.delegates.cache import ProgramCache
from tflgpu.delegates.device import CompileError
from tflgpu.delegates.opencl import capabilities
from tflgpu.delegates.opencl.choice import describe
from tflgpu.delegates.process_end import awaited
from tflgpu.delegates.program import numbered
from tflgpu.runtime.threads import locked


class BuildError(Exception):
    """A compiler refused a program; the text holds what it said."""


LATEST_PROGRAMS = 128
"""That a device keeps while nobody uses them: more than a model has, which may be opened again."""

_building = threading.RLock()
"""Of all devices: pyopencl writes a Python function for each kernel, and two at once may get one name and fail."""


class Programs:
    """The programs of one device. options: with which they are built. made: how many have been so far."""

    def __init__(self, context: cl.Context, device: cl.Device, cache: ProgramCache, options: Sequence[str]):
        self.options, self.made = list(options), 0
        self._context, self._device, self._cache = context, device, cache
        # As long as a kernel of theirs is in use, or they are among the latest.
        self._built: weakref.WeakValueDictionary[str, cl.Program] = weakref.WeakValueDictionary()
        self._latest: deque[cl.Program] = deque(maxlen=LATEST_PROGRAMS)

    def kernel(self, text: str, name: str) -> cl.Kernel:
        """The kernel of that name in a program's text. Raises CompileError where it does not compile."""
        try:
            return self._kernel(text, name)
        except (BuildError, cl.Error) as error:
            self._built.pop(text, None)
            self._cache.drop(self.key(text))  # a program that was called built, and has no kernels
            raise CompileError(f"{name} for {describe(self._device)}:\n{error}\n{numbered(text)}") from error

    @awaited
    def _kernel(self, text: str, name: str) -> cl.Kernel:
        return locked(_building, lambda: self._new_kernel(text, name))

    def _new_kernel(self, text: str, name: str) -> cl.Kernel:
        program = self._built.get(text)
        if program is None:
            program = self._built[text] = self._cached(text, name) or self._build(text, name)
            self._latest.append(program)
            self.made += 1
        kernel = cl.Kernel(program, name)
        kernel.made_of = program  # type: ignore[attr-defined]
        return kernel

    def _build(self, text: str, name: str) -> cl.Program:
        program = _built(self._context, self._device, text, self.options)
        if not _has(program, name):
            # PoCL found in its own cache what a process that was ended has left: for other options it looks anew.
            program = _built(self._context, self._device, text, [*self.options, f"-DANEW={os.getpid()}"])
        if self._cache.keeps:  # PoCL makes binaries when they are asked for, and crashes on some
            binaries: Any = program.get_info(cl.program_info.BINARIES)
            self._cache.put(self.key(text), binaries[0])
        return program

    def _cached(self, text: str, name: str) -> cl.Program | None:
        """The program as the driver wrote it; None where it is not in the cache, or the driver no longer takes it."""
        binary = self._cache.get(self.key(text))
        if binary is None:
            return None
        try:
            program = _built(self._context, self._device, binary)
        except (BuildError, cl.Error):
            return None
        return program if _has(program, name) else None

    @property
    def identity(self) -> str:
        """What a compiled program belongs to: the device, its driver, a CPU's instructions, and the build options."""
        instructions = capabilities.instructions() if self._device.type & cl.device_type.CPU else ""
        return "\n".join([describe(self._device), self._device.driver_version, instructions, *self.options])

    def key(self, text: str) -> str:
        """The cache's key of a program's text."""
        return f"{self.identity}\n{text}"


def _built(context: cl.Context, device: cl.Device, source: str | bytes, options: Sequence[str] = ()) -> cl.Program:
    """The program of a text or a binary, built for the device.

    pyopencl's own build warns where a compiler reports success in words; silencing that would change a state that all
    threads share.
    """
    if isinstance(source, str):
        program = cl.Program(context, source)
        program._prg = inner = _cl._Program(context, source)
    else:
        program = cl.Program(context, [device], [source])
        inner = program._get_prg()
    try:
        inner._build(" ".join(options).encode(), [device])
    except cl.Error as error:
        log = inner.get_build_info(device, cl.program_build_info.LOG)
        raise BuildError(f"{error}\n{log}") from error
    return program


def _has(program: cl.Program, name: str) -> bool:
    names: Any = program.get_info(cl.program_info.KERNEL_NAMES)
    return name in str(names).split(";")


class Invokers(dict[object, object]):
    """How kernels are called, by their names and types: in place of pyopencl's database of pickles, which needs a sound
    disk with room."""

    store_if_not_present = dict.setdefault


def _keep_invokers_in_memory() -> None:
    """Makes pyopencl neither read nor write its database, in this process."""
    asked, cl._PYOPENCL_NO_CACHE = cl._PYOPENCL_NO_CACHE, True  # else the import opens it
    try:
        from pyopencl import invoker
    finally:
        cl._PYOPENCL_NO_CACHE = asked
    invoker.invoker_cache = Invokers()  # type: ignore[assignment]


_keep_invokers_in_memory()  # here, where only one thread can be
