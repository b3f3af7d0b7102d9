"""A partition between its copies to the device and back, recorded as one graph."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from tflgpu.delegates.device import Call
from tflgpu.memory import StreamedPlace, Tensor, exchange
from tflgpu.model.graph import Array


class Recorder(StreamedPlace, Protocol):
    """A device that can record what is put on its stream. graphs: whether it should; notes: what the report says."""

    graphs: bool
    notes: list[str]

    def recorded(self, run: Call) -> Call:
        """What replays run. Raises RuntimeError where it cannot be recorded."""

    def copy_in(self, buffer: Any, host: Array) -> None:
        """Puts a copy to the device on the stream."""

    def copy_out(self, buffer: Any, host: Array) -> None:
        """Puts a copy to the host on the stream."""

    def mirror(self, buffer: Any, host: Array | None) -> None:
        """The stream already holds the copy of buffer's coming value to host; None: it does not."""

    def is_pinned(self, host: Array) -> bool:
        """Whether copies to and from host run while the host goes on."""

    def is_external(self, buffer: Any) -> bool:
        """Whether a buffer is a caller's array, which nobody wants copied to the host with every run."""


def captured(stream: Any, run: Call) -> Any:
    """What run puts on the stream, as a CUDA graph. Raises RuntimeError where it cannot be recorded."""
    try:
        stream.begin_capture()
        run()
        return stream.end_capture()
    except BaseException:
        with suppress(Exception):  # the capture was void, or none; what made it so is being raised
            stream.end_capture()
        raise


ATTEMPTS = 2
"""What a first run loads lazily may be what a recording cannot hold; the second then can."""


class RecordedPartition:
    """One partition's step.

    A graph is recorded for each set of inputs that is found stale, nearly always one. Host arrays that are not pinned
    are copied outside of it. A partition that cannot be recorded runs as plain launches, and the device's notes say so.
    """

    def __init__(self, device: Recorder, reads: Sequence[Tensor], writes: Sequence[Tensor], run: Call):
        self._device, self._run = device, run
        self._reads, self._writes = tuple(reads), tuple(writes)
        self._graphs: dict[tuple[bool, ...], Call] = {}
        self._failures = 0
        self._returned = [
            tensor
            for tensor in writes
            if device.is_pinned(tensor.host) and not device.is_external(self._buffer(tensor))
        ]

    def step(self) -> None:
        device = self._device
        stale = tuple(device not in tensor.current for tensor in self._reads)
        for tensor, is_stale in zip(self._reads, stale, strict=True):
            if is_stale:
                tensor.read()  # from wherever else it is
                if not device.is_pinned(tensor.host):
                    tensor.read(device)
        self._call(stale)()
        for tensor, is_stale in zip(self._reads, stale, strict=True):
            if is_stale:
                tensor.current.add(device)
        for tensor in self._writes:
            device.mirror(tensor.write(device), None)
        for tensor in self._returned:
            device.mirror(tensor.buffers[device], tensor.host)
        if not self._writes:
            device.synchronize()  # nobody waits for the copies of the inputs otherwise

    def _call(self, stale: tuple[bool, ...]) -> Call:
        if stale in self._graphs:
            return self._graphs[stale]
        call = self._plain(stale)
        if self._device.graphs:
            try:
                call = self._device.recorded(call)
            except Exception as error:
                self._failures += 1
                if self._failures < ATTEMPTS:
                    return call
                self._device.notes.append(f"a partition runs as plain launches, since no graph was recorded: {error}")
        self._graphs[stale] = call
        return call

    def _plain(self, stale: tuple[bool, ...]) -> Call:
        device = self._device
        stale_ones = [t for t, is_stale in zip(self._reads, stale, strict=True) if is_stale]
        incoming = [(self._buffer(t), t.host) for t in stale_ones if device.is_pinned(t.host)]
        outgoing = [(self._buffer(t), t.host) for t in self._returned]

        def call() -> None:
            for buffer, host in incoming:
                device.copy_in(buffer, host)
            self._run()
            for buffer, host in outgoing:
                device.copy_out(buffer, host)

        return call

    def _buffer(self, tensor: Tensor) -> Any:
        """Where the tensor is on the device; made now if it must be, since a recording allocates nothing."""
        if self._device not in tensor.buffers:
            tensor.buffers[self._device] = exchange(self._device, max(tensor.host.nbytes, 1))
        return tensor.buffers[self._device]
