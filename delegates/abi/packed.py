"""Tensors that C lays out otherwise than NumPy: strings, and the types of which several elements share a byte."""

from __future__ import annotations

import ctypes as c

from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.native_tensors import NativeTensors
from tflgpu.memory import Tensor
from tflgpu.model.constants import Budget, decode, encode
from tflgpu.model.graph import BITS, TensorSpec
from tflgpu.shapes import DelegateError


def is_packed(spec: TensorSpec) -> bool:
    """Whether C has a tensor in another layout than NumPy."""
    return spec.dtype == object or spec.type in BITS


class Packed:
    """Such a tensor where it crosses to and from a native kernel."""

    def __init__(self, natives: NativeTensors, tensor: Tensor):
        self._natives, self._tensor = natives, tensor
        if tensor.spec.type in BITS:
            natives.allocate(tensor.spec.index)

    @property
    def address(self) -> int | None:
        """Where it lies; None for strings, which lie elsewhere after every writing."""
        return None if self._tensor.spec.dtype == object else self._natives[self._tensor.spec.index].data

    def give(self) -> None:
        """Lays the host's value out for C."""
        spec = self._tensor.spec
        content = encode(self._tensor.host, spec.type)
        if spec.dtype == object:
            self._natives.set_strings(spec.index, content)
        else:
            c.memmove(self._natives[spec.index].data, content, len(content))

    def take(self) -> None:
        """Fills the host with what C has laid out. Raises DelegateError where that is no such value."""
        spec, native = self._tensor.spec, self._natives[self._tensor.spec.index]
        if native.data_is_stale or not native.data:
            raise DelegateError(f"the delegate left no value of {spec} at the host. ")
        try:
            raw = structs.memory(native.data, native.bytes)
            value = decode(raw, spec.type, spec.shape, None, Budget(8 * native.bytes))
        except ValueError as error:
            raise DelegateError(f"the delegate's value of {spec}: {error}. ") from error
        self._tensor.host[...] = value
