"""OpenCL, through pyopencl: the only file that imports it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from platform import machine
from typing import Any

import numpy as np
import pyopencl as cl
from pyopencl import _cl

from tflgpu.delegates.autotune import Tuner
from tflgpu.delegates.cache import CACHE_OPTIONS, NOWHERE, ProgramCache, cache_folder
from tflgpu.delegates.device import Call, CompileError, DeviceLimits
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.delegates.launch import Dialect, numbered
from tflgpu.delegates.lowering.gemm.vnni_assembly import LANES
from tflgpu.delegates.opencl import capabilities, icd
from tflgpu.delegates.opencl.pocl import name_the_cpu, never_release
from tflgpu.delegates.opencl.process_end import awaited, synchronized_at_end
from tflgpu.delegation.forks import Opened
from tflgpu.delegation.options import LIMIT_OPTIONS, Option, boolean, one_of, read_limits, read_options
from tflgpu.memory import aligned_zeros
from tflgpu.model.graph import Array
from tflgpu.runtime.threads import locked

OPTIONS: Mapping[str, Option] = {
    **LIMIT_OPTIONS,
    "device": Option("", str, "a number, or words of the platform's and device's names, e.g. gpu, cpu, NVIDIA, PoCL"),
    "precision": Option(
        "fp32",
        one_of("fp32", "fp16"),
        "products of floats: fp32; fp16, whose constant operands are kept as float16, summed in float32",
    ),
    **CACHE_OPTIONS,
    "autotune": Option(False, boolean, "choose among variants of kernels by timing them; cache_dir keeps the choices"),
    "profile": Option(False, boolean, "time each kernel; delegate.device.times() has the sums"),
}


def load(options: Mapping[str, Any]) -> GpuDelegate:
    """The OpenCL delegate. Raises ValueError for options that it does not know, and where no device fits."""
    read = read_options("opencl", options, OPTIONS)
    cache = ProgramCache(cache_folder(read["cache_dir"], "opencl"), read["cache_bytes"])
    device = OpenClDevice(find_device(read["device"]), cache, read["profile"], read["precision"])
    if read["autotune"]:
        device.tuner = Tuner(f"{device.identity}\n{read['precision']}", cache)
    return GpuDelegate("opencl", device, read_limits(read))


INSTALL = (
    "Install the driver of your GPU; or, for the CPU, PoCL: pip install 'tflgpu[opencl]', or Intel's runtime: "
    "pip install 'tflgpu[opencl-intel]'"
)


def find_device(wanted: str) -> cl.Device:
    """The device of that number, or the first whose names have every word of wanted. Raises ValueError if none has.

    GPUs come first, then CPUs in the loader's order, of them Intel's runtime last. Platforms whose own names have a
    word of wanted are asked first, and the others not at all where these have such a device.
    """
    with _finding:
        platforms = _platforms()
        words = wanted.lower().split()
        named = [p for p in platforms if any(word in f"{p.name} {p.version}".lower() for word in words)]
        if not wanted.isdigit() and (fitting := _fitting(_devices(named), wanted)):
            return fitting[0]
        devices = _devices(platforms)
    if fitting := _fitting(devices, wanted):
        return fitting[0]
    sought = f"number {wanted}" if wanted.isdigit() else f"{wanted!r} in its names" if wanted else "any"
    none = "none (PoCL, where it is installed, shows itself only with a cache that it may write: set POCL_CACHE_DIR)"
    found = "; ".join(f"{i}: {describe(device)}" for i, device in enumerate(devices)) or none
    failed = "".join(f" Could not be opened: {library}: {said}." for library, said in icd.failures.items())
    raise ValueError(f"opencl delegate: no such device. Looked for: {sought}. Found: {found}.{failed} {INSTALL}")


_finding = threading.Lock()
if hasattr(os, "register_at_fork"):  # the child's copy would stay locked if another thread held it
    os.register_at_fork(before=_finding.acquire, after_in_parent=_finding.release, after_in_child=_finding.release)

_runtimes: dict[int, Opened] = {}
"""What has been asked for its devices, by the address of its platform: its threads may run from then on."""


def _platforms() -> list[cl.Platform]:
    """All platforms, Intel's of pip last."""
    icd.open_all()
    try:
        platforms = cl.get_platforms()
    except (cl.Error, RuntimeError):  # where the loader finds no platform, which it calls an error
        platforms = []
    return [*platforms, *(cl.Platform.from_int_ptr(platform) for platform in icd.intel_platforms())]


def _devices(platforms: Sequence[cl.Platform]) -> list[cl.Device]:
    """The devices of these platforms, in the order of find_device. Raises ForkedError for one of another process."""
    devices = []
    for platform in platforms:
        _runtimes.setdefault(platform.int_ptr, Opened(f"the OpenCL runtime {platform.name.strip()}")).require()
        try:
            devices += platform.get_devices()
        except cl.Error:  # a driver without its device
            continue
    return sorted(devices, key=_place)


def _fitting(devices: Sequence[cl.Device], wanted: str) -> Sequence[cl.Device]:
    if wanted.isdigit():
        return devices[int(wanted) : int(wanted) + 1]
    words = wanted.lower().split()
    return [device for device in devices if all(word in describe(device).lower() for word in words)]


def _place(device: cl.Device) -> tuple[bool, bool]:
    return not device.type & cl.device_type.GPU, "intel" in device.platform.name.lower()


def describe(device: cl.Device) -> str:
    """A device in words: kind, name, platform, version."""
    kind = "gpu" if device.type & cl.device_type.GPU else "cpu" if device.type & cl.device_type.CPU else "accelerator"
    return f"{kind} {device.name.strip()} ({device.platform.name.strip()}, {device.version.strip()})"


SUBGROUPS = "-DSUBGROUPS"
"""The option with which prelude.clh reduces within sub-groups before it does in local memory."""

SCHED_YIELD = "-DSCHED_YIELD"
"""The build option for persistent_kernel.clh to yield."""

EARLY = 4
"""Launches after which a part's queue is flushed for the first time."""

PAGE = 4096
"""Bytes at whose multiples a runtime takes memory of the host's for its own, as it is."""


class BuildError(Exception):
    """A compiler refused a program; the text holds what it said."""


class SharedBuffer(cl.Buffer):
    """Memory of the host's that a device uses where it is: copies are NumPy's, and cost a tenth of the runtime's."""

    def __init__(self, context: cl.Context, nbytes: int):
        self.memory = self._view = aligned_zeros(nbytes, PAGE)
        super().__init__(context, cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR, hostbuf=self.memory)

    def like(self, host: Array) -> Array:
        """The memory as an array of host's shape and type."""
        if self._view.shape != host.shape or self._view.dtype != host.dtype:
            self._view = self.memory[: host.nbytes].view(host.dtype).reshape(host.shape)
        return self._view


_building = threading.RLock()
"""Of all devices: pyopencl writes a Python function for each kernel, and two at once may get one name and fail."""


class OpenClDevice:
    """One OpenCL device with an in-order queue. Satisfies device.Device."""

    dialect = Dialect("tflgpu.kernels_cl", "cl", "prelude.clh", "vectors.clh", "types.clh")

    def __init__(
        self, device: cl.Device, cache: ProgramCache = NOWHERE, profile: bool = False, precision: str = "fp32"
    ):
        self.name = describe(device)
        self._opened = Opened(self.name)
        name_the_cpu(device.int_ptr, device.version)
        self.limits = replace(limits_of(device), precision=precision)
        if profile:  # which times launches
            self.limits = self.limits.minus("persistent")
        self._device = device
        self._context = cl.Context([device])
        self._cache = cache
        self._profile = profile
        self.queue = self._new_queue()
        self._events: list[tuple[str, cl.Event]] = []
        self._times: dict[str, tuple[int, float]] = {}
        self._build_options = list(language(device))
        if self.limits.exact_division:
            self._build_options.append("-cl-fp32-correctly-rounded-divide-sqrt")
        self._shares = self.limits.cpu and shares_memory(device)
        self._idle = True
        if self.limits.has("persistent") and sys.platform == "linux" and machine() == "x86_64":
            self._build_options.append(SCHED_YIELD)
        self._programs: dict[str, cl.Program] = {}
        self.tuner: Tuner | None = None
        if self.limits.cpu and self.limits.vector == LANES and "Intel" in device.platform.name:
            if capabilities.multiplies_bytes(self):
                self.limits = self.limits.plus("vnni", "vnni_assembly")
            self._build_options.append(capabilities.VBMI)
            if not capabilities.looks_up_bytes(self):
                self._build_options.remove(capabilities.VBMI)
            self._events.clear()

    def with_own_queue(self) -> OpenClDevice:
        self._opened.require()
        other = copy(self)
        other.queue, other._idle = other._new_queue(), True
        return other

    def _new_queue(self) -> cl.CommandQueue:
        flags: dict[str, Any] = {"properties": cl.command_queue_properties.PROFILING_ENABLE} if self._profile else {}
        synchronized_at_end(self)
        return cl.CommandQueue(self._context, **flags)

    def allocate(self, nbytes: int) -> cl.Buffer:
        self._opened.require()
        try:
            return cl.Buffer(self._context, cl.mem_flags.READ_WRITE, nbytes)
        except cl.Error as error:
            raise MemoryError(f"{nbytes} bytes on {self.name}: {error}") from error

    def exchange(self, nbytes: int) -> cl.Buffer:
        """A buffer that is copied to and from, and of which there are no slices."""
        self._opened.require()
        return SharedBuffer(self._context, nbytes) if self._shares else self.allocate(nbytes)

    def slice(self, buffer: cl.Buffer, offset: int, nbytes: int) -> cl.Buffer:
        return buffer.get_sub_region(offset, nbytes)

    def upload(self, buffer: cl.Buffer, host: Array) -> None:
        self._opened.require()
        if isinstance(buffer, SharedBuffer):
            self._wait()
            np.copyto(buffer.like(host), host)
        elif host.nbytes:
            copy_and_wait(self.queue, buffer, np.ascontiguousarray(host))

    def download(self, buffer: cl.Buffer, host: Array) -> None:
        self._opened.require()
        if isinstance(buffer, SharedBuffer):
            self._wait()
            np.copyto(host, buffer.like(host))
        elif host.nbytes:
            copy_and_wait(self.queue, host, buffer)

    def kernel(self, text: str, name: str) -> cl.Kernel:
        self._opened.require()
        try:
            return self._kernel(text, name)
        except (BuildError, cl.Error) as error:
            self._programs.pop(text, None)
            self._cache.drop(self._key(text))  # a program that was called built, and has no kernels
            never_release(self._context, self._device.version)
            raise CompileError(f"{name} for {self.name}:\n{error}\n{numbered(text)}") from error

    @awaited
    def _kernel(self, text: str, name: str) -> cl.Kernel:
        return locked(_building, lambda: cl.Kernel(self._program(text, name), name))

    def _program(self, text: str, name: str) -> cl.Program:
        if text not in self._programs:
            self._programs[text] = self._build(text, name)
        return self._programs[text]

    def bind(self, kernel: cl.Kernel, args: Sequence[Any], grid: Sequence[int], block: Sequence[int]) -> Call:
        kernel.set_args(*args)
        queue, enqueue = self.queue, cl.enqueue_nd_range_kernel
        whole, local = tuple(g * b for g, b in zip(grid, block, strict=True)), tuple(block)

        name, events = kernel.function_name, self._events

        def call() -> None:
            self._idle = False
            enqueue(queue, kernel, whole, local)

        def timed_call() -> None:
            self._idle = False
            events.append((name, enqueue(queue, kernel, whole, local)))

        if self._profile:
            call = timed_call

        # The kernel holds its buffers' handles, and the call must keep the Python objects that own them.
        call.args = args  # type: ignore[attr-defined]
        return call

    def sequence(self, calls: Sequence[Call]) -> Call:
        # The device begins with the first launches while the others are still being queued.
        start, rest, flush = tuple(calls[:EARLY]), tuple(calls[EARLY:]), self.queue.flush
        require = self._opened.require

        def run() -> None:
            require()
            for call in start:
                call()
            flush()
            for call in rest:
                call()
            flush()

        return run

    def times(self) -> dict[str, tuple[int, float]]:
        """Runs and milliseconds of each kernel so far, by its name; nothing unless the option `profile` is set."""
        self._opened.require()
        for name, event in self._events:
            wait_for(event)
            runs, ms = self._times.get(name, (0, 0.0))
            self._times[name] = (runs + 1, ms + (event.profile.end - event.profile.start) * 1e-6)
        self._events.clear()
        return dict(self._times)

    def synchronize(self) -> None:
        self._opened.require()
        finish(self.queue)

    def _wait(self) -> None:
        """Returns when no kernel runs, at no cost where none was launched since the last wait."""
        if not self._idle:
            finish(self.queue)
            self._idle = True

    def _build(self, text: str, name: str) -> cl.Program:
        kept = self._kept(text, name)
        if kept is not None:
            return kept
        program = _built(self._context, self._device, text, self._build_options)
        if not _has(program, name):
            # PoCL found in its own cache what a process that was ended has left: for other options it looks anew.
            program = _built(self._context, self._device, text, [*self._build_options, f"-DANEW={os.getpid()}"])
        if self._cache.keeps:  # PoCL makes binaries when they are asked for, and crashes on some
            binaries: Any = program.get_info(cl.program_info.BINARIES)
            self._cache.put(self._key(text), binaries[0])
        return program

    def _kept(self, text: str, name: str) -> cl.Program | None:
        """The program as the driver wrote it; None where it was not kept, or the driver no longer takes it."""
        binary = self._cache.get(self._key(text))
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
        instructions = capabilities.instructions() if self.limits.cpu else ""
        return "\n".join([self.name, self._device.driver_version, instructions, *self._build_options])

    def _key(self, text: str) -> str:
        return f"{self.identity}\n{text}"


class NoInvokers:
    """Stands for pyopencl's database of pickles of how kernels are called, which needs a sound disk with room.

    To make such a thing anew takes 0.1 ms more than to find it there.
    """

    def __getitem__(self, key: object) -> object:
        raise KeyError(key)

    def store_if_not_present(self, key: object, value: object) -> None:
        """It is not kept."""


def _keep_no_invokers() -> None:
    """Makes pyopencl neither read nor write its database, in this process."""
    asked, cl._PYOPENCL_NO_CACHE = cl._PYOPENCL_NO_CACHE, True  # else the import opens it
    try:
        from pyopencl import invoker
    finally:
        cl._PYOPENCL_NO_CACHE = asked
    invoker.invoker_cache = NoInvokers()  # type: ignore[assignment]


_keep_no_invokers()  # here, where only one thread can be


@awaited
def finish(queue: cl.CommandQueue) -> None:
    queue.finish()


@awaited
def wait_for(event: cl.Event) -> None:
    event.wait()


@awaited
def copy_and_wait(queue: cl.CommandQueue, target: Any, source: Any) -> None:
    cl.enqueue_copy(queue, target, source, is_blocking=True)


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


def shares_memory(device: cl.Device) -> bool:
    """Whether kernels and host see each other's writes to any memory of the host as soon as no kernel runs."""
    version = int(device.version.removeprefix("OpenCL ")[0])
    return version >= 2 and bool(device.svm_capabilities & cl.device_svm_capabilities.FINE_GRAIN_SYSTEM)


def rounds_divisions(device: cl.Device) -> bool:
    """Whether the device can round float32 quotients and square roots correctly."""
    return bool(device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT)


def language(device: cl.Device) -> Sequence[str]:
    """What kernels are compiled as: OpenCL C 1.2, and on GPUs that reduce within sub-groups whatever has these."""
    version = int(device.version.removeprefix("OpenCL ")[0])
    if device.type & cl.device_type.CPU:
        return ["-cl-std=CL1.2"]
    if "cl_intel_subgroups" in device.extensions:
        return ["-cl-std=CL1.2", SUBGROUPS]
    if "cl_khr_subgroups" in device.extensions and version >= 2:
        return [f"-cl-std=CL{version}.0", SUBGROUPS]
    return ["-cl-std=CL1.2"]


def limits_of(device: cl.Device) -> DeviceLimits:
    """What lowering may choose by on this device."""
    cpu = bool(device.type & cl.device_type.CPU)
    # PoCL 3.0's LLVM crashes on float16 vectors where the CPU has AVX-512.
    narrow = "PoCL 3.0" in device.platform.version or not cpu
    families = {"register_tiles", "chains"}
    if cpu and "Intel" in device.platform.name:  # whose launches take longer than agreements between cores
        families.add("persistent")
    return DeviceLimits(
        max_block=min(device.max_work_group_size, 256),
        alignment=max(device.mem_base_addr_align // 8, 64),
        double="cl_khr_fp64" in device.extensions,
        exact_division=rounds_divisions(device),
        cpu=cpu,
        vector=8 if narrow else 16,
        units=device.max_compute_units,
        inner_barriers="PoCL 3.0" not in device.platform.version,  # its compiler crashes, what it makes hangs
        kernel_families=frozenset(families),
    )
