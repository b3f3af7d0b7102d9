"""What the delegates need of a device, and what a lowering may ask about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tflgpu.delegates.device_memory import OTHER, DeviceMemory
from tflgpu.delegates.program import Dialect
from tflgpu.memory import StreamedPlace, Tensor
from tflgpu.model.graph import Array, TensorSpec

Call = Callable[[], None]


class CompileError(RuntimeError):
    """A kernel's text did not compile; the message holds the compiler's log and the numbered text."""


KERNEL_FAMILIES: Mapping[str, str] = {
    "register_tiles": "GEMM and depthwise convolution on vectors in registers (gemm/register_tiles.py)",
    "vnni": "GEMM and depthwise convolution of int8 in the layout of VNNI (gemm/vnni.py)",
    "vnni_assembly": "the same in AVX512-VNNI assembly, which the device must have been seen to compile and run",
    "warps": "what needs warps: GEMM in shared memory, batched GEMM, attention, row chains",
    "cublas": "routines of the vendor's library (gemm/cublas.py)",
    "chains": "element-wise operators fused into one kernel (fuse_elementwise.py)",
    "persistent": "launches that follow one another as one kernel (persistent_kernel.py)",
}
"""The names of DeviceLimits.kernel_families, and what each offers."""


@dataclass(frozen=True)
class DeviceLimits:
    """What lowering may choose by.

    max_block: work-items in a work-group. alignment: bytes at which a slice of a buffer may start. double: whether the
    device computes in float64. exact_division: whether it rounds float32 quotients and roots correctly. cpu: whether it
    is a CPU, which wants wide vectors, few work-items and no local memory. vector: floats in the widest vector that is
    safe there. units: compute units. precision: "fp32", "tf32" or "fp16": what operands of float GEMMs may be rounded
    to; sums are float32 always. tensor_cores: whether the kernels of "warps" may use tensor cores.
    inner_barriers: whether functions that a kernel calls, and loops, may have barriers, so that there are megakernels.
    blocks: how many work-groups of one launch may wait for one another, so that they can share a megakernel's work.
    kernel_families: which of KERNEL_FAMILIES there are for it. loop_iterations: of the loops in one launch
    together; None: so many that it ends within a minute or so.
    """

    max_block: int = 256
    alignment: int = 256
    double: bool = True
    exact_division: bool = True
    cpu: bool = False
    vector: int = 8
    units: int = 1
    precision: str = "fp32"
    tensor_cores: bool = False
    inner_barriers: bool = True
    blocks: int = 1
    kernel_families: frozenset[str] = frozenset()
    loop_iterations: int | None = None

    def __post_init__(self) -> None:
        unknown = self.kernel_families - KERNEL_FAMILIES.keys()
        if unknown:
            raise ValueError(f"no kernel families {sorted(unknown)}; known: {sorted(KERNEL_FAMILIES)}")

    def has(self, family: str) -> bool:
        """Whether the device has the kernels of a family."""
        return family in self.kernel_families

    def plus(self, *families: str) -> DeviceLimits:
        """The same with more kernel families."""
        return replace(self, kernel_families=self.kernel_families | {*families})

    def minus(self, *families: str) -> DeviceLimits:
        """The same without some kernel families."""
        return replace(self, kernel_families=self.kernel_families - {*families})


class Device(Protocol):
    """One device and one in-order queue on it. Also a Place of tflgpu.memory. Identity is equality.

    What it may offer besides is declared by the Protocols below and by tflgpu.memory's MakesExchangeBuffers and
    MakesHostArrays; `tflgpu.optional.offers` asks for it, and a member that is None is not offered.
    """

    name: str
    limits: DeviceLimits
    dialect: Dialect
    memory: DeviceMemory
    """Counts what is allocated, for all interpreters of the delegate."""

    def allocate(self, nbytes: int, what: str = OTHER) -> Any:
        """A buffer of uninitialised memory. what: it is for, as device_memory.py has it. Raises MemoryError."""

    def slice(self, buffer: Any, offset: int, nbytes: int) -> Any:
        """A buffer that is nbytes of another from offset on, a multiple of limits.alignment."""

    def upload(self, buffer: Any, host: Array) -> None:
        """Copies host into buffer. Returns once host may be changed; the device may still be copying."""

    def download(self, buffer: Any, host: Array) -> None:
        """Copies buffer into host once everything before has run. Returns once host is filled."""

    def kernel(self, text: str, name: str) -> Any:
        """The kernel of that name in the program text, compiled once a text. Raises CompileError."""

    def bind(self, kernel: Any, args: Sequence[Any], grid: Sequence[int], block: Sequence[int]) -> Call:
        """The kernel as a call that launches it with these buffers and NumPy scalars and returns at once."""

    def sequence(self, calls: Sequence[Call]) -> Call:
        """The calls as one call; a device that can record and replay does so here."""

    def with_own_queue(self) -> Device:
        """The same device, its programs and choices, with another queue and memory: what one interpreter runs on, so
        that interpreters of several threads may share a delegate."""

    def synchronize(self) -> None:
        """Returns when everything launched has run. Raises RuntimeError for what failed meanwhile."""


class RecordsCopies(Protocol):
    """A device that records a partition's copies together with its launches."""

    def with_copies(self, reads: Sequence[Tensor], writes: Sequence[Tensor], run: Call, /) -> Call:
        """The whole partition as one call: brings `reads` to the device, runs, and marks `writes` as made there."""


class TakesArrays(StreamedPlace, Protocol):
    """A device that can use arrays which callers have there."""

    def external(self, array: Any, spec: TensorSpec, /) -> Any:
        """A buffer that is the array. Raises ValueError where type, shape, order or address does not fit."""


class Tunes(Protocol):
    """A device on which variants of kernels are chosen by measuring them."""

    tuner: Any
    """The Tuner of autotune.py that has the choices."""


class NamesLaunches(Protocol):
    """A device that notes of which nodes its launches are."""

    nodes: tuple[str, ...]
    """Those of what is bound from now on."""


class TimesCalls(Protocol):
    """A device with clocks of its own."""

    def seconds_of(self, call: Call, /) -> float:
        """How long a call takes on the device."""


class HasRoutines(Protocol):
    """A device with a vendor's library, whose routines launches of stem LIBRARY name."""

    def routine(self, name: str, /) -> Any:
        """The routine of that name, to be bound as a kernel is."""
