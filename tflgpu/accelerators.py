"""Where a CompiledModel may run, in LiteRT's words, and the delegates that these are."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.discovery import load_delegate
from tflgpu.delegation.gpu_library import best


class HardwareAccelerator(enum.IntFlag):
    """Where a model may run. GPU is the best GPU delegate here, cuda or opencl; there is no NPU delegate."""

    CPU = 1
    GPU = 2
    NPU = 4


@dataclass
class CpuOptions:
    """num_threads: as Interpreter's; 0 is its default."""

    num_threads: int = 0


@dataclass
class Options:
    """What a model is compiled for. LiteRT's own Options are taken too; of theirs, these two have an effect here."""

    hardware_accelerators: HardwareAccelerator = HardwareAccelerator.CPU
    cpu_options: CpuOptions = field(default_factory=CpuOptions)

    @classmethod
    def create(cls) -> Options:
        return cls()


def accelerated(accelerators: int) -> list[Delegate]:
    """The delegates for these accelerators. Raises RuntimeError where there is none for one that is asked for."""
    if accelerators & HardwareAccelerator.NPU:
        raise RuntimeError("there is no NPU delegate: ask for GPU or CPU, or pass delegates")
    if not accelerators & HardwareAccelerator.GPU:
        return []
    alone = not accelerators & HardwareAccelerator.CPU
    try:
        return [best(load_delegate, [{"require_full": True} if alone else {}])]
    except ValueError as error:
        raise RuntimeError(str(error)) from error
