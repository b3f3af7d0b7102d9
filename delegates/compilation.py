"""A part of a graph on its way to a device: lowered, fused, given its memory, and then a list of calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from tflgpu.debug import LAUNCHES, PROGRAMS, enabled, say
from tflgpu.delegates.autotune import Tuner
from tflgpu.delegates.control_flow import control as control  # which registers how WHILE and IF are lowered
from tflgpu.delegates.device import Call, Device, DeviceLimits
from tflgpu.delegates.fusion.fuse_elementwise import joined, shares
from tflgpu.delegates.fusion.fuse_row_chains import with_row_chains
from tflgpu.delegates.fusion.fuse_separable import with_separable
from tflgpu.delegates.fusion.match_patterns import lowered
from tflgpu.delegates.launch import (
    LIBRARY,
    Argument,
    Buffer,
    Counters,
    Fault,
    Launch,
    Loop,
    Lowered,
    Packed,
    Ref,
    Share,
    Temp,
    launches_of,
    source,
)
from tflgpu.delegates.lowering.movement.movement import copy
from tflgpu.delegates.megakernel.barrier_kernel import MOST_BARRIERS, barriers, composed, fits
from tflgpu.delegates.megakernel.persistent_kernel import Stage, single, team
from tflgpu.delegates.megakernel.persistent_kernel import fits as room
from tflgpu.delegation.cost import macs
from tflgpu.delegation.delegate import Partition
from tflgpu.delegation.partitioner import operations
from tflgpu.memory import Tensor, arena, exchange
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import OpError

SMALL_LAUNCH = 8192
"""Elements or products of a launch that is worth no start of its own on a CPU."""


class Compilation:
    """One part on its way to being a list of calls."""

    def __init__(self, device: Device, part: Partition, tensors: Mapping[int, Tensor]):
        self.device = device
        self.tuner: Tuner | None = getattr(device, "tuner", None)
        self.teams = device.limits.has("persistent") and device.limits.cpu and self.tuner is None
        self.nodes = part.nodes
        self.specs = _specs(part.nodes)
        self.boundary = {
            index: tensors[index] for index in part.inputs | part.outputs if self.specs[index].data is None
        }
        wanted = part.outputs.__contains__
        self.groups: Sequence[Lowered] = [self._own(group) for group in lowered(part.nodes, device.limits, wanted)]
        self.roots = shares(self.groups)
        if device.limits.has("warps"):
            self.groups = with_row_chains(self.groups, self.roots, wanted)
        if device.limits.has("chains"):
            self.groups = joined(
                self.groups,
                self.roots,
                lambda index: index in self.boundary,
                device.limits,
                lambda index: self.specs[index].data,
                lambda group, launch: 0 if self.teams else self._barriers(part.nodes[group], launch),
            )
        if device.limits.has("warps"):
            self.groups = with_separable(self.groups, self.roots, wanted, device.limits)
        self.constants: dict[int, Any] = {}
        self.faults: list[Fault] = []
        self.fault_cells = self._fault_cells()
        self.counters = self._counters()
        self.places = self._arena()

    def _small(self, node: Node, launch: Launch) -> bool:
        """Whether one core does the launch in less time than it takes to start: 4 microseconds, by measurement."""
        limits = self.device.limits
        if not limits.cpu or not limits.inner_barriers or 0 in launch.threads:
            return False
        return self._work(node, launch) <= SMALL_LAUNCH and fits(launch, self.device.dialect, limits)

    def _barriers(self, node: Node, launch: Launch) -> int:
        return barriers(launch, self.device.dialect, self.device.limits) if self._small(node, launch) else 0

    def _work(self, node: Node, launch: Launch) -> int:
        plain = launch.stem in ("elementwise", "chain", "movement", "lut", "indexing")
        return launch.threads[0] if plain else max(operations(node), macs(node, self.specs))

    def calls(self) -> list[Call]:
        return [call for launch in self._launches() for call in self._calls(launch)]

    def _launches(self) -> list[Launch]:
        """All that runs, in order, each loop as one launch, and what a team can run as one too."""
        dialect, limits = self.device.dialect, self.device.limits
        out: list[Launch] = []
        stages: list[Stage] = []

        def close() -> None:
            launches = [stage.launch for stage in stages]
            if len(launches) < 2:
                out.extend(launches)
            elif (
                any(single(launch, dialect) for launch in launches)
                or sum(barriers(launch, dialect, limits) for launch in launches) > MOST_BARRIERS
            ):
                out.append(team(stages, dialect, limits))
            else:
                out.append(composed([Loop(tuple(launches), 1)], dialect, limits, self._memory_of_nodes))
            stages.clear()

        for node, step in ((n, step) for n, group in zip(self.nodes, self.groups, strict=True) for step in group):
            if isinstance(step, Loop):
                close()
                out.append(composed([step], dialect, limits, self._memory))
            elif isinstance(step, Launch) and not self.teams:
                out.append(step)
            elif isinstance(step, Launch):
                for launch in (one for one in step.sequence if 0 not in one.threads):
                    stage = Stage(launch, self._work(node, launch))
                    if not single(launch, dialect) and not self._small(node, launch):
                        close()
                        out.append(launch)
                        continue
                    if not room(stages, stage):
                        close()
                    stages.append(stage)
        close()
        return out

    def fault_check(self) -> Call | None:
        """What raises the message of a kernel that found its inputs wrong; None where none can."""
        if not self.faults:
            return None
        device, faults, cells = self.device, self.faults, self.fault_cells
        found = np.zeros(len(faults) * self._fault_step(), np.int32)

        def check() -> None:
            device.download(cells, found)
            if found.any():
                first = int(np.flatnonzero(found)[0]) // self._fault_step()
                device.upload(cells, np.zeros_like(found))
                raise OpError(faults[first].message)

        return check

    def _fault_step(self) -> int:
        return self.device.limits.alignment // 4

    def _fault_cells(self) -> Any:
        faults = [launch.fault for group in self.groups for launch in launches_of(group) if launch.fault is not None]
        self.faults.extend(dict.fromkeys(faults))
        if not self.faults:
            return None
        zeros = np.zeros(len(self.faults) * self._fault_step(), np.int32)
        cells = self.device.allocate(zeros.nbytes)
        self.device.upload(cells, zeros)
        return cells

    def _counters(self) -> Any:
        """One buffer for the counters of all launches, each of which finds them 0; None where none has any."""
        buffers = [a for group in self.groups for launch in launches_of(group) for a in self._buffers(launch)]
        most = max((a.count for a in buffers if isinstance(a, Counters)), default=0)
        if not most:
            return None
        counters = self.device.allocate(4 * most)
        self.device.upload(counters, np.zeros(most, np.int32))
        return counters

    def after_failure(self) -> None:
        """Sets right what a launch that did not run to its end may have left."""
        if self.counters is not None:
            self.device.upload(self.counters, np.zeros(self.counters.nbytes // 4, np.int32))

    def _own(self, lowered: Lowered) -> Lowered:
        """A shared output that leaves the part is copied, since its storage is not the part's to choose."""
        leaves = [isinstance(step, Share) and step.output in self.boundary for step in lowered]
        return [
            copy(self.specs[step.input], self.specs[step.output]) if leaving and isinstance(step, Share) else step
            for step, leaving in zip(lowered, leaves, strict=True)
        ]

    def _key(self, argument: Argument) -> int | None:
        """Whose storage in the arena an argument needs, or None where it has storage elsewhere."""
        if isinstance(argument, Temp):
            return -1 - id(argument)
        if isinstance(argument, Ref):
            root = self.roots.get(argument.tensor, argument.tensor)
            if root not in self.boundary and self.specs[root].data is None:
                return root
        return None

    def _memory(self, argument: Argument) -> object:
        """What two arguments have in common whose storage is the same."""
        key = self._key(argument)
        if key is None and isinstance(argument, Ref):
            root = self.roots.get(argument.tensor, argument.tensor)
            return id(self.boundary.get(root, self.specs[root].data))
        return id(argument) if key is None else ("arena", key)

    def _memory_of_nodes(self, argument: Argument) -> object:
        """The same for launches of several nodes, of which one may use in the arena what another has done with."""
        return "arena" if self._key(argument) is not None else self._memory(argument)

    def _arena(self) -> dict[int, Any]:
        """Buffers for all that lives inside the part, each in place of others that are dead by then."""
        sizes: dict[int, int] = {}
        live: dict[int, tuple[int, int]] = {}
        for time, group in enumerate(self.groups):
            for buffer in (a for launch in launches_of(group) for a in self._buffers(launch)):
                key = self._key(buffer)
                if key is not None:
                    sizes[key] = max(buffer.nbytes if isinstance(buffer, Temp) else nbytes(self.specs[key]), 1)
                    live[key] = (live.get(key, (time, time))[0], time)
        offsets, total = arena(sizes, live, self.device.limits.alignment)
        if not offsets:
            return {}
        whole = self.device.allocate(total)
        return {key: self.device.slice(whole, offset, sizes[key]) for key, offset in offsets.items()}

    def _buffers(self, launch: Launch) -> list[Buffer]:
        """All that the launch may be given, in whichever of its variants."""
        ways = (launch, *launch.variants) if self.tuner is not None else (launch,)
        return [buffer for way in ways for one in way.sequence for buffer in one.buffers]

    def _calls(self, launch: Launch) -> list[Call]:
        if launch.variants and self.tuner is not None and 0 not in launch.threads:
            launch = self._fastest(launch, self.tuner)
        return [self._bound(one) for one in launch.sequence if 0 not in one.threads]

    def _fastest(self, launch: Launch, tuner: Tuner) -> Launch:
        """The fastest variant; what the others alone have uploaded goes again."""
        before = set(self.constants)
        device = self.device
        chosen = tuner.choose(device, launch, lambda way: device.sequence([self._bound(one) for one in way.sequence]))
        wanted = {id(buffer) for one in chosen.sequence for buffer in one.buffers}
        for key in self.constants.keys() - before - wanted:
            del self.constants[key]
        return chosen

    def _bound(self, launch: Launch) -> Call:
        if launch.stem == LIBRARY:
            routine = self.device.routine(launch.name)  # type: ignore[attr-defined]
            call: Call = self.device.bind(routine, self._arguments(launch), launch.grid, launch.block)
            return call
        text = source(launch, self.device.dialect)
        say(PROGRAMS, text)
        kernel = self.device.kernel(text, launch.name)
        launch = in_large_blocks(launch, self.device.limits) if self.device.limits.cpu else launch
        call = self.device.bind(kernel, self._arguments(launch), launch.grid, launch.block)
        return _told(launch, call, self.device) if enabled(LAUNCHES) else call

    def _arguments(self, launch: Launch) -> list[Any]:
        return [self._argument(argument) for argument in launch.arguments.values()]

    def _argument(self, argument: Argument) -> Any:
        if isinstance(argument, np.generic):
            return argument
        if isinstance(argument, Fault):
            place = self.faults.index(argument) * self.device.limits.alignment
            return self.device.slice(self.fault_cells, place, 4)
        if isinstance(argument, Counters):
            return self.device.slice(self.counters, 0, 4 * argument.count)
        key = self._key(argument)
        if key is not None:
            return self.places[key]
        if isinstance(argument, Ref):
            root = self.roots.get(argument.tensor, argument.tensor)
            if root in self.boundary:
                return self._buffer(self.boundary[root])
            data = self.specs[root].data
            assert data is not None
            return self._constant(data)
        assert isinstance(argument, (Packed, np.ndarray))
        return self._constant(argument)

    def _buffer(self, tensor: Tensor) -> Any:
        if self.device not in tensor.buffers:
            tensor.buffers[self.device] = exchange(self.device, max(tensor.host.nbytes, 1))
        return tensor.buffers[self.device]

    def _constant(self, value: Packed | Array) -> Any:
        if id(value) not in self.constants:
            array = np.ascontiguousarray(value.make() if isinstance(value, Packed) else value)
            buffer = self.device.allocate(max(array.nbytes, 1))
            if array.nbytes:
                self.device.upload(buffer, array)
            # Kept beside its buffer, so that no other value can come to have its id.
            self.constants[id(value)] = (buffer, value)
        return self.constants[id(value)][0]


LARGE_BLOCK = 1024


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


def _specs(nodes: Sequence[Node]) -> dict[int, TensorSpec]:
    return {spec.index: spec for node in nodes for spec in (*node.inputs, *node.outputs) if spec is not None}


def nbytes(spec: TensorSpec) -> int:
    """Bytes of a tensor on the device."""
    return math.prod(spec.shape) * spec.dtype.itemsize
