"""What the delegates need of a device, and what a lowering may ask about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tflgpu.delegates.launch import Dialect
from tflgpu.memory import StreamedPlace, Tensor
from tflgpu.model.graph import Array, TensorSpec

Call = Callable[[], None]


class CompileError(RuntimeError):
    """A kernel's text did not compile; the message holds the compiler's log and the numbered text."""


@dataclass(frozen=True)
class DeviceLimits:
    """What lowering may choose by.

    max_block: work-items in a block. alignment: bytes at which a slice of a buffer may start. double: whether the
    device computes in float64. exact_division: whether it rounds float32 quotients and roots correctly. cpu: whether it
    is a CPU, which wants wide vectors, few work-items and no local memory. vector: floats in the widest vector that is
    safe there. units: compute units. tiles: whether there are kernels of register_tiles.py for it. chains: whether
    fuse_elementwise.py has one. precision: "fp32", "tf32" or "fp16": what operands of products of floats may be
    rounded to; sums are float32 always.
    dot: whether products of bytes go to the kernels of vnni.py. assembly: whether it runs their assembly.
    inner_barriers: whether functions that a kernel calls, and loops, may have barriers: whether there can be sequences.
    teams: whether launches that follow one another become one by persistent_kernel.py.
    warps: whether there are the kernels of tensor_core.py for it. tensor_cores: whether these may use tensor cores.
    library: whether it has the routines of cublas.py.
    blocks: how many blocks of one launch may wait for one another, so that they can share a sequence's work.
    """

    max_block: int = 256
    alignment: int = 256
    double: bool = True
    exact_division: bool = True
    cpu: bool = False
    vector: int = 8
    units: int = 1
    tiles: bool = False
    chains: bool = False
    precision: str = "fp32"
    warps: bool = False
    dot: bool = False
    assembly: bool = False
    tensor_cores: bool = False
    library: bool = False
    inner_barriers: bool = True
    blocks: int = 1
    teams: bool = False


class Device(Protocol):
    """One device and one in-order queue on it. Also a Place of tflgpu.memory. Identity is equality.

    What it may offer besides is declared by the Protocols below and by tflgpu.memory's MakesExchangeBuffers and
    MakesHostArrays; `tflgpu.optional.offers` asks for it, and a member that is None is not offered.
    """

    name: str
    limits: DeviceLimits
    dialect: Dialect

    def allocate(self, nbytes: int) -> Any:
        """A buffer of uninitialised memory."""

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

    def part(self, reads: Sequence[Tensor], writes: Sequence[Tensor], run: Call, /) -> Call:
        """The whole partition as one call: brings `reads` to the device, runs, and marks `writes` as made there."""


class TakesArrays(StreamedPlace, Protocol):
    """A device that can use arrays which callers have there."""

    def external(self, array: Any, spec: TensorSpec, /) -> Any:
        """A buffer that is the array. Raises ValueError where type, shape, order or address does not fit."""


class Tunes(Protocol):
    """A device on which variants of kernels are chosen by measuring them."""

    tuner: Any
    """The Tuner of autotune.py that has the choices."""


class TimesCalls(Protocol):
    """A device with clocks of its own."""

    def seconds_of(self, call: Call, /) -> float:
        """How long a call takes on the device."""
