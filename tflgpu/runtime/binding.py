"""Arrays that live on a device, bound to a graph's inputs and outputs so that they are used where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tflgpu.delegation.delegate import BindsArrays, Delegate
from tflgpu.memory import StreamedPlace, Tensor
from tflgpu.model.graph import TensorSpec
from tflgpu.optional import offering


@dataclass(frozen=True, eq=False)
class Binding:
    """A caller's array as a buffer of `device`. stream: the number of the stream on which the caller works on it."""

    spec: TensorSpec
    device: StreamedPlace
    buffer: Any
    stream: int

    def attach(self, tensor: Tensor) -> None:
        """Makes the array the tensor's storage on its device. Raises RuntimeError where shapes have come to differ."""
        if tensor.spec.shape != self.spec.shape:
            raise RuntimeError(
                f"{tensor.spec} is bound to an array of shape {list(self.spec.shape)}: bind another, or None. "
            )
        tensor.buffers[self.device] = self.buffer


def bound(array: Any, spec: TensorSpec, delegates: Sequence[Delegate], stream: int) -> Binding:
    """The array by the first delegate that has a device for it. Raises ValueError for an array that does not fit."""
    for delegate in offering(delegates, BindsArrays):
        device, buffer = delegate.bind(array, spec)
        return Binding(spec, device, buffer, stream)
    raise ValueError(f"{spec}: no delegate of this interpreter has arrays of its own; CUDA and OpenCL have.")
