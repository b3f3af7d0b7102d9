"""Google's interpreters, the Python delegates that are guests in them, and the graph that both share in tests."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import tflgpu
from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array, Node

INTERPRETERS = {
    "ai_edge_litert.interpreter": "pip install ai-edge-litert",
    "tensorflow.lite.python.interpreter": "pip install tensorflow-cpu",
    "tflite_runtime.interpreter": "pip install tflite-runtime==2.14.0 'numpy<2' (Python 3.11 or older)",
}
"""Modules with Google's interpreter, and what brings them; tf.lite.Interpreter is the second's."""


def absent(name: str) -> bool:
    """Whether a module of INTERPRETERS cannot be used here."""
    too_new = name.startswith("tflite_runtime") and not np.__version__.startswith("1.")
    return too_new or importlib.util.find_spec(name.partition(".")[0]) is None


def google_interpreter(name: str) -> Any:
    """A module of INTERPRETERS; skips where it is absent."""
    if absent(name):
        pytest.skip(f"no {name} here: {INTERPRETERS[name]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that it imports
        return importlib.import_module(name)


INSTALLED = [name for name in INTERPRETERS if not absent(name)]

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
FUNCTIONS: dict[str, Callable[..., Any]] = {"ADD": np.add, "MUL": np.multiply, "NEG": np.negative}


class Numpy:
    """Runs some operators in NumPy, and fails where it is told to."""

    name = "numpy"
    limits = Limits(min_nodes=1)

    def __init__(self, ops: str = "ADD MUL", fails: str = ""):
        self.ops, self.fails = ops.split(), fails
        self.compiled: list[Partition] = []

    def check(self, node: Node) -> None:
        if self.fails == "check":
            raise KeyError("what is this node?")
        if node.op not in self.ops:
            raise Unsupported(f"no kernel for {node.op}")

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        if self.fails == "compile":
            raise RuntimeError("100% of the device's memory is in use")
        self.compiled.append(partition)

        def run() -> None:
            values = {i: tensors[i].read() for i in partition.inputs if i in tensors}
            values |= {
                s.index: s.data for n in partition.nodes for s in n.inputs if s is not None and s.data is not None
            }
            for node in partition.nodes:
                values[node.outputs[0].index] = FUNCTIONS[node.op](*(values[s.index] for s in node.inputs if s))
            if self.fails == "run":
                raise ZeroDivisionError("a kernel divided by zero")
            for i in partition.outputs:
                tensors[i].write()[...] = values[i]

        return run


class Device:
    """A Place whose buffers are arrays, and which counts what moves."""

    def __init__(self) -> None:
        self.uploads = self.downloads = 0

    def allocate(self, nbytes: int) -> Array:
        return np.zeros(nbytes, np.uint8)

    def upload(self, buffer: Array, host: Array) -> None:
        self.uploads += 1
        buffer[:] = host.reshape(-1).view(np.uint8)

    def download(self, buffer: Array, host: Array) -> None:
        self.downloads += 1
        host[...] = buffer.view(host.dtype).reshape(host.shape)


class OnDevice(Numpy):
    """The same on a device: its results stay there until the host reads them."""

    def __init__(self, ops: str = "ADD MUL"):
        super().__init__(ops)
        self.device = Device()

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        def run() -> None:
            values = {i: self._view(t, t.read(self.device)) for i, t in tensors.items() if i in partition.inputs}
            for node in partition.nodes:
                values[node.outputs[0].index] = FUNCTIONS[node.op](*(values[s.index] for s in node.inputs if s))
            for i in partition.outputs:
                self._view(tensors[i], tensors[i].write(self.device))[...] = values[i]

        return run

    @staticmethod
    def _view(tensor: Tensor, buffer: Array) -> Array:
        return buffer.view(tensor.host.dtype).reshape(tensor.host.shape)


WANT = (-(3 * X) + X) * X


def interpreter(google: Any, data: bytes, *delegates: Any, resolver: str = "BUILTIN_WITHOUT_DEFAULT_DELEGATES") -> Any:
    kernels = getattr(google.OpResolverType, resolver)
    guests = [tflgpu.as_tflite_delegate(delegate) for delegate in delegates]
    return google.Interpreter(model_content=data, experimental_delegates=guests, experimental_op_resolver_type=kernels)


def result(it: Any, *xs: Array) -> Array:
    it.allocate_tensors()
    for detail, x in zip(it.get_input_details(), xs or (X,), strict=True):
        it.set_tensor(detail["index"], x)
    it.invoke()
    found: Array = it.get_tensor(it.get_output_details()[0]["index"])
    return found


def partitions(it: Any) -> int:
    return [d["op_name"] for d in it._get_ops_details()].count("DELEGATE")
