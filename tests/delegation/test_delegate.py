"""Delegates from outside: loading by name, options, and a delegate of thirty lines in the interpreter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import one_op

import tflgpu
from tflgpu.delegation import discovery
from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.delegation.discovery import load_delegate
from tflgpu.delegation.options import LIMIT_OPTIONS, read_limits, read_options
from tflgpu.memory import Tensor
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Node


class Negator:
    """A delegate that runs NEG, in NumPy."""

    name = "negator"
    limits = Limits()

    def check(self, node: Node) -> None:
        if node.op != "NEG":
            raise Unsupported(f"no kernel for {node.op}")

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        (node,) = partition.nodes
        x, y = tensors[node.input(0).index], tensors[node.outputs[0].index]
        return lambda: np.negative(x.read(), out=y.write())


def load(options: Mapping[str, Any]) -> Negator:
    """What an entry point names."""
    read_options("negator", options, LIMIT_OPTIONS)
    return Negator()


SPEC = {"type": "FLOAT32", "shape": [3]}


def test_a_python_delegate_runs_its_nodes() -> None:
    interpreter = tflgpu.Interpreter(model_content=one_op("NEG", [SPEC], [SPEC]), experimental_delegates=[Negator()])
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.float32([1, -2, 3]))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(1), np.float32([-1, 2, -3]))
    assert interpreter.delegation_report().startswith("negator delegate: 1 nodes delegated out of 1 with 1 partition")


def test_an_operator_that_the_delegate_refuses_runs_on_the_cpu_and_says_why() -> None:
    interpreter = tflgpu.Interpreter(model_content=one_op("ABS", [SPEC], [SPEC]), experimental_delegates=[Negator()])
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.float32([1, -2, 3]))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(1), np.float32([1, 2, 3]))
    assert "node 0 ABS stays on the CPU: negator: no kernel for ABS" in interpreter.delegation_report()


def test_a_delegate_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("negator", f"{__name__}:load", discovery.ENTRY_POINTS)
    monkeypatch.setattr(discovery, "_entry_points", lambda: EntryPoints([point]))
    assert load_delegate("negator").name == "negator"


def test_a_missing_library_raises_oserror_with_the_loaders_text() -> None:
    for name in ("libnope.so", "/nonexistent/libnope.so"):
        with pytest.raises(OSError, match=f"{name}: cannot open shared object file: No such file or directory"):
            load_delegate(name)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for a library that every Linux has")
def test_a_library_is_found_by_the_systems_loader() -> None:
    with pytest.raises(AttributeError, match="undefined symbol: tflite_plugin_create_delegate"):
        load_delegate("libc.so.6")


def test_an_unknown_name_is_refused_with_those_known() -> None:
    with pytest.raises(OSError, match="known: cuda, opencl"):
        load_delegate("vulkan")


def test_an_unknown_option_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown option 'colour'. Legal options: .*max_partitions"):
        read_options("x", {"colour": "red"}, LIMIT_OPTIONS)


@pytest.mark.parametrize("key, value", [("max_partitions", "-1"), ("require_full", "maybe"), ("only_nodes", "a-b")])
def test_a_bad_value_is_refused_with_the_option_named(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"option {key}='{value}'"):
        read_options("x", {key: value}, LIMIT_OPTIONS)


def test_options_may_be_strings() -> None:
    given = {"max_partitions": "2", "require_full": "true", "only_ops": "ADD, MUL", "skip_nodes": "0,4-6"}
    limits = read_limits(read_options("x", given, LIMIT_OPTIONS))
    assert (limits.max_partitions, limits.min_nodes, limits.require_full) == (2, None, True)
    assert limits.only_ops == {"ADD", "MUL"} and limits.skip_nodes == {0, 4, 5, 6}


def test_a_delegate_that_cannot_be_created_raises_valueerror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(options: Mapping[str, Any]) -> Any:
        raise RuntimeError("no driver")

    monkeypatch.setattr(discovery, "named", lambda where: broken)
    with pytest.raises(ValueError, match="Failed to load delegate from opencl\nno driver"):
        load_delegate("opencl")


def test_what_a_delegate_makes_before_a_dynamic_node_is_read_after_it() -> None:
    class OnDevice(Negator):
        """Keeps its result in a buffer of its own until the host asks."""

        def allocate(self, nbytes: int) -> Any:
            return np.zeros(nbytes, np.uint8)

        def upload(self, buffer: Any, host: Any) -> None:
            buffer[...] = host.reshape(-1).view(np.uint8)

        def download(self, buffer: Any, host: Any) -> None:
            host.reshape(-1).view(np.uint8)[...] = buffer

        def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
            (node,) = partition.nodes
            x, y = tensors[node.input(0).index], tensors[node.outputs[0].index]

            def step() -> None:
                negated = -x.read(self).view(np.float32)
                y.write(self)[...] = negated.view(np.uint8)

            return step

    m = ModelBuilder()
    g = m.graph()
    x, shape = g.input("x", "FLOAT32", [4]), g.input("shape", "INT32", [2])
    negative, out = g.tensor("negative", "FLOAT32", [4]), g.tensor("out", "FLOAT32", [2, 2], shape_signature=[-1, -1])
    g.node("NEG", [x], [negative])
    g.node("RESHAPE", [negative, shape], [out])
    g.outputs(out)
    interpreter = tflgpu.Interpreter(model_content=m.build(), experimental_delegates=[OnDevice()])
    interpreter.allocate_tensors()
    for value in (1, 2):
        interpreter.set_tensor(0, np.full(4, value, np.float32))
        interpreter.set_tensor(1, np.array([1, 4], np.int32))
        interpreter.invoke()
        index = interpreter.get_output_details()[0]["index"]
        np.testing.assert_array_equal(interpreter.get_tensor(index), np.full((1, 4), -value, np.float32))


def test_what_a_delegate_lacks_is_named() -> None:
    class Half:
        name = "half"

        def check(self, node: Node) -> None:
            pass

    class Empty(Half):
        limits = Limits(min_nodes=1)

        def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> None:
            pass

    data = one_op("NEG", [{"type": "FLOAT32", "shape": [3]}], [{"type": "FLOAT32", "shape": [3]}])
    with pytest.raises(AttributeError, match="'Half' object is no delegate: it has no 'limits', 'compile'"):
        tflgpu.Interpreter(model_content=data, experimental_delegates=[Half()])  # type: ignore[list-item]
    with pytest.raises(RuntimeError, match="half: compile gave NoneType, which cannot be called"):
        tflgpu.Interpreter(model_content=data, experimental_delegates=[Empty()]).allocate_tensors()  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["libtensorflowlite_gpu_delegate.so", "/opt/lib/libtensorflowlite_gpu_delegate.so"])
def test_the_gpu_delegate_of_programs_in_the_wild_is_the_best_that_there_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def make(options: Mapping[str, Any]) -> Negator:
        asked.append(dict(options))
        if len(asked) < 3:
            raise ValueError(f"not {len(asked)}")
        return Negator()

    monkeypatch.setattr(discovery, "_built_in", lambda name: make)
    given = {"precision_loss_allowed": "1", "cache_directory": "/c", "max_delegated_partitions": 2, "model_token": "t"}
    assert load_delegate(name, given).name == "negator"
    common = {"max_partitions": 2, "cache_dir": "/c"}
    assert asked == [{**common, "precision": precision} for precision in ("fp16", "fp32", "fp16")]


def test_the_gpu_delegate_of_programs_in_the_wild_says_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def built_in(name: str) -> Any:
        raise ValueError(f"no {name} here")

    monkeypatch.setattr(discovery, "_built_in", built_in)
    with pytest.raises(ValueError, match="Failed to load delegate from lib.*so\nno cuda here\nno opencl here$"):
        load_delegate("libtensorflowlite_gpu_delegate.so")
    with pytest.raises(ValueError, match="unknown option 'speed'. Legal options: cache_directory"):
        load_delegate("libtensorflowlite_gpu_delegate.so", {"speed": 1})
    with pytest.raises(OSError, match=r"libedgetpu.so.1"):
        load_delegate("libedgetpu.so.1")


def test_the_gpu_delegate_of_programs_in_the_wild_is_the_library_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "libtensorflowlite_gpu_delegate.so"
    path.write_bytes(b"no library")
    with pytest.raises(OSError, match="libtensorflowlite_gpu_delegate.so"):
        load_delegate(path)
