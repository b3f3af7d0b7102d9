"""The delegate native/adder.cc in an interpreter, and what it has been called for."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from abi.abi_libraries import compiled

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
RUNTIMES = ["ai_edge_litert.interpreter", "tflgpu"]
STATIC, DYNAMIC, PROPAGATED = {"flags": 0}, {"flags": 1, "resize": 1}, {"flags": 3}


NAMES = [
    "created",
    "destroyed",
    "prepared",
    "inits",
    "frees",
    "kernel_prepares",
    "invokes",
    "copies",
    "orphans",
    "released",
]


def interpreter(runtime: Any, data: bytes, *options: Mapping[str, Any], **arguments: Any) -> Any:
    """An interpreter with a delegate for each of these options, which it alone keeps."""
    delegates = [runtime.load_delegate(str(compiled("adder")), dict(given)) for given in options]
    kernels = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    arguments = {"experimental_op_resolver_type": kernels, **arguments}
    return runtime.Interpreter(model_content=data, experimental_delegates=delegates, **arguments)


def result(it: Any, x: Any = X) -> Any:
    it.allocate_tensors()
    it.set_tensor(0, x)
    it.invoke()
    return it.get_tensor(it.get_output_details()[0]["index"])


class Counts:
    """What the library has been called for since this was made."""

    def __init__(self) -> None:
        counts = ctypes.CDLL(str(compiled("adder"))).adder_counts
        counts.restype = ctypes.POINTER(ctypes.c_int)
        self._counts = counts()
        self._before = self._counts[: len(NAMES)]

    def __getattr__(self, name: str) -> int:
        at = NAMES.index(name)
        return self._counts[at] - self._before[at]

    def all(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in NAMES}
