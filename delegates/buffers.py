"""The device memory of a partition: constants, which it shares, an arena for what lives inside it, faults, counters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflgpu.delegates.device import Call, Device
from tflgpu.delegates.device_memory import ARENAS, CELLS, WEIGHTS, Constant
from tflgpu.delegates.fusion.steps import Steps, alias_roots
from tflgpu.delegates.launch import (
    Argument,
    Buffer,
    Cells,
    Counters,
    Fault,
    Launch,
    Loop,
    Packed,
    Ref,
    Temp,
    faults_of,
    launches_of,
)
from tflgpu.memory import Tensor, arena, exchange
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.registry import OpError


class Buffers:
    """Gives every argument of a partition's launches what stands for it on the device.

    boundary: the tensors that are stored outside of the partition. every_variant: whether launches may run as any of
    their variants.
    """

    def __init__(
        self,
        device: Device,
        steps: Steps,
        specs: Mapping[int, TensorSpec],
        boundary: Mapping[int, Tensor],
        every_variant: bool,
    ):
        self.device, self.specs, self.boundary, self.every_variant = device, specs, boundary, every_variant
        self.roots = alias_roots(steps)
        self.constants: dict[int, tuple[Constant, Packed | Array]] = {}
        self._cells: dict[Cells, Any] = {}
        self.nbytes = 0
        """Bytes on the device that no other partition uses: without constants and what others put at the boundary."""
        launches = [(step.node, one) for step in steps if isinstance(step.op, Launch | Loop) for one in _launches(step)]
        self.faults = list(dict.fromkeys(faults_of([step.op for step in steps if isinstance(step.op, Launch | Loop)])))
        self._fault_cells = self._read_often(len(self.faults) * self._fault_step()) if self.faults else None
        used = [(node, buffer) for node, launch in launches for buffer in self._buffers(launch)]
        most = max((buffer.count for _, buffer in used if isinstance(buffer, Counters)), default=0)
        self.counters = self._zeros(most) if most else None
        """One buffer for the counters of all launches, each of which finds them 0; None where none has any."""
        self.tensors = {self._root(buffer) for _, buffer in used if isinstance(buffer, Ref)}
        """Those that launches use, by what has their storage."""
        self._arena = self._placed(used)

    def argument(self, argument: Argument) -> Any:
        """What stands for it in a call: a device buffer, or a scalar."""
        if isinstance(argument, np.generic):
            return argument
        if isinstance(argument, Fault):
            offset = self.faults.index(argument) * self.device.limits.alignment
            return self.device.slice(self._fault_cells, offset, 4)
        if isinstance(argument, Counters):
            return self.device.slice(self.counters, 0, 4 * argument.count)
        if isinstance(argument, Cells):
            if argument not in self._cells:
                self._cells[argument] = self._zeros(argument.count)
            return self._cells[argument]
        key = self._key(argument)
        if key is not None:
            return self._arena[key]
        if isinstance(argument, Ref):
            root = self._root(argument)
            if root in self.boundary:
                return self._exchanged(self.boundary[root])
            data = self.specs[root].data
            assert data is not None
            return self._constant(data)
        assert isinstance(argument, Packed | np.ndarray)
        return self._constant(argument)

    def storage(self, buffer: Buffer) -> object:
        """What two buffers have in common whose memory is the same."""
        key = self._key(buffer)
        if key is None and isinstance(buffer, Ref):
            root = self._root(buffer)
            return id(self.boundary.get(root, self.specs[root].data))
        return id(buffer) if key is None else ("arena", key)

    def in_arena(self, buffer: Buffer) -> bool:
        """Whether it lies where other buffers lie at other times."""
        return self._key(buffer) is not None

    def drop_constants(self, keep: set[int], buffers: set[int]) -> None:
        """Frees constants that were uploaded since `keep` were there, but for those of `buffers`, by id."""
        for key in self.constants.keys() - keep - buffers:
            del self.constants[key]

    def fault_check(self) -> Call | None:
        """What raises the message of a kernel that found its inputs wrong; None where none can."""
        if not self.faults:
            return None
        device, faults, cells, step = self.device, self.faults, self._fault_cells, self._fault_step()
        found = np.zeros(len(faults) * step, np.int32)

        def check() -> None:
            device.download(cells, found)
            if found.any():
                first = int(np.flatnonzero(found)[0]) // step
                device.upload(cells, np.zeros_like(found))
                raise OpError(faults[first].message)

        return check

    def after_failure(self) -> None:
        """Sets right what a launch that did not run to its end may have left."""
        if self.counters is not None:
            self.device.upload(self.counters, np.zeros(self.counters.nbytes // 4, np.int32))

    def _fault_step(self) -> int:
        return self.device.limits.alignment // 4

    def _read_often(self, count: int) -> Any:
        """Zeros, where the host reads them fastest."""
        self.nbytes += 4 * count
        buffer = exchange(self.device, 4 * count)
        self.device.upload(buffer, np.zeros(count, np.int32))
        return buffer

    def _zeros(self, count: int) -> Any:
        buffer = self._allocate(4 * count, CELLS)
        self.device.upload(buffer, np.zeros(count, np.int32))
        return buffer

    def _allocate(self, nbytes: int, what: str) -> Any:
        self.nbytes += nbytes
        return self.device.allocate(nbytes, what)

    def _buffers(self, launch: Launch) -> list[Buffer]:
        """All that the launch may be given."""
        ways = (launch, *launch.variants) if self.every_variant else (launch,)
        return [buffer for way in ways for one in way.sequence for buffer in one.buffers]

    def _root(self, ref: Ref) -> int:
        return self.roots.get(ref.tensor, ref.tensor)

    def _key(self, argument: Argument) -> int | None:
        """Whose storage in the arena an argument needs, or None where it has storage elsewhere."""
        if isinstance(argument, Temp):
            return -1 - id(argument)
        if isinstance(argument, Ref):
            root = self._root(argument)
            if root not in self.boundary and self.specs[root].data is None:
                return root
        return None

    def _placed(self, used: list[tuple[int, Buffer]]) -> dict[int, Any]:
        """Buffers for all that lives inside the partition, each in place of others that are dead by then."""
        sizes: dict[int, int] = {}
        live: dict[int, tuple[int, int]] = {}
        for time, buffer in used:
            key = self._key(buffer)
            if key is not None:
                sizes[key] = max(buffer.nbytes if isinstance(buffer, Temp) else nbytes(self.specs[key]), 1)
                live[key] = (live.get(key, (time, time))[0], time)
        offsets, total = arena(sizes, live, self.device.limits.alignment)
        if not offsets:
            return {}
        self._whole = self._allocate(total, ARENAS)  # held, since it is counted for as long as it lives
        return {key: self.device.slice(self._whole, offset, sizes[key]) for key, offset in offsets.items()}

    def _exchanged(self, tensor: Tensor) -> Any:
        if self.device not in tensor.buffers:
            tensor.buffers[self.device] = exchange(self.device, max(tensor.host.nbytes, 1))
            self.nbytes += tensor.host.nbytes
        return tensor.buffers[self.device]

    def _constant(self, value: Packed | Array) -> Any:
        if id(value) not in self.constants:
            array = np.ascontiguousarray(value.make() if isinstance(value, Packed) else value)
            # Kept beside its buffer, so that no other value can come to have its id.
            self.constants[id(value)] = (self.device.memory.constant(array, self._uploaded), value)
        return self.constants[id(value)][0].buffer

    def _uploaded(self, array: Array) -> Any:
        buffer = self.device.allocate(max(array.nbytes, 1), WEIGHTS)
        if array.nbytes:
            self.device.upload(buffer, array)
            self.device.synchronize()  # for the queues of other interpreters
        return buffer


def _launches(step: Any) -> list[Launch]:
    return list(launches_of([step.op]))


def nbytes(spec: TensorSpec) -> int:
    """Bytes of a tensor on the device."""
    return math.prod(spec.shape) * spec.dtype.itemsize
