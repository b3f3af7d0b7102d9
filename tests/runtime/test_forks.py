"""After a fork what was opened before is refused at once, what was not works; delegates cross to spawned processes."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from abi.abi_libraries import compiled
from opencl_runtimes import PLATFORMS, RUNTIMES, require

import tflgpu
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.delegation.delegate import Limits
from tflgpu.model.builder import ModelBuilder

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

COMMON = """
import multiprocessing, os, pickle, signal, sys
import numpy as np
import tflgpu

SECONDS = 30  # after which a child ends by a signal

def load(device):
    if device == "native":
        return tflgpu.load_delegate(native)
    name = "cuda" if device == "emulator" else "opencl"
    return tflgpu.load_delegate(name, {"device": device, "min_nodes_per_partition": 1})

def prepared(delegates=()):
    interpreter = tflgpu.Interpreter("model.tflite", experimental_delegates=list(delegates))
    interpreter.allocate_tensors()
    return interpreter

def values(interpreter):
    interpreter.set_tensor(0, np.arange(8, dtype=np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(1).tolist()

def in_child(action):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        try:
            said = action()
        except RuntimeError as error:
            said = error
        os.write(writing, pickle.dumps(said))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(said)

def values_and_report(delegate):
    interpreter = prepared([delegate])
    return values(interpreter), interpreter.delegation_report()

WANTED = (np.arange(8, dtype=np.float32) * 2).tolist()

def assert_refused(said, name):
    assert isinstance(said, RuntimeError), said
    assert f"{name}" in str(said) and "was opened before this process was forked" in str(said), said
"""
NAMES = {**PLATFORMS, "emulator": "emulator", "native": "adder.so"}
"""What an error calls the runtime of a device."""


@pytest.fixture(params=[*RUNTIMES, "emulator", "native"])
def device(request: pytest.FixtureRequest) -> str:
    return require(request.param) if request.param in RUNTIMES else str(request.param)


def run(folder: Path, program: str, device: str) -> None:
    """Runs the program in a process of its own, beside a model that adds its input to itself; fails where it fails."""
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [8]), g.tensor("y", "FLOAT32", [8])
    g.node("ADD", [x, x], [y])
    g.outputs(y)
    (folder / "model.tflite").write_bytes(m.build())
    native = str(compiled("adder")) if device == "native" else ""
    head = f"device, native, name = {device!r}, {native!r}, {NAMES[device]!r}\n"
    (folder / "program.py").write_text(f"{head}{COMMON}\nif __name__ == '__main__':\n" + indented(program))
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "program.py"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def indented(program: str) -> str:
    return "".join(f"    {line}\n" for line in program.strip().splitlines())


@needs_fork
def test_an_inherited_interpreter_is_refused_at_once_and_its_owner_goes_on(device: str, tmp_path: Path) -> None:
    program = """
interpreter = prepared([load(device)])
assert values(interpreter) == WANTED
assert_refused(in_child(lambda: values(interpreter)), name)
assert_refused(in_child(lambda: interpreter.resize_tensor_input(0, [16]) or interpreter.allocate_tensors()), name)
assert values(interpreter) == WANTED
"""
    run(tmp_path, program, device)


@needs_fork
@pytest.mark.parametrize("device", ["PoCL", "Intel"], indirect=True)
def test_a_runtime_that_runs_already_cannot_be_opened_in_the_child(device: str, tmp_path: Path) -> None:
    program = """
delegate = load(device)
assert_refused(in_child(lambda: load(device)), name)
assert_refused(in_child(lambda: pickle.loads(pickle.dumps(delegate))), name)
assert_refused(in_child(lambda: prepared([delegate])), name)
"""
    run(tmp_path, program, device)


@needs_fork
def test_a_delegate_first_loaded_in_the_child_is_right_there(device: str, tmp_path: Path) -> None:
    program = """
import tflgpu.delegates.opencl.delegate, tflgpu.delegates.cuda.delegate
assert values(prepared()) == WANTED
assert in_child(lambda: values(prepared([load(device)]))) == WANTED
"""
    run(tmp_path, program, device)


@needs_fork
def test_another_runtime_than_the_parents_is_right_in_the_child(tmp_path: Path) -> None:
    require("Intel")
    program = """
kept = prepared([load(device)])
assert in_child(lambda: values(prepared([load("intel")]))) == WANTED
assert_refused(in_child(lambda: load("cpu")), "Portable Computing Language")
"""
    run(tmp_path, program, require("PoCL"))


@needs_fork
def test_the_cpu_is_right_in_the_child(tmp_path: Path) -> None:
    program = """
interpreter = prepared()
assert in_child(lambda: values(interpreter)) == WANTED
"""
    run(tmp_path, program, "emulator")


@needs_fork
def test_a_child_that_uses_nothing_ends_as_it_wants(device: str, tmp_path: Path) -> None:
    program = """
interpreter = prepared([load(device)])
values(interpreter)
for number in range(10):
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        if number % 2:
            del interpreter
        sys.exit(number)
    assert os.waitpid(child, 0)[1] == number << 8, number
"""
    run(tmp_path, program, device)


@needs_fork
def test_cuda_once_asked_for_anything_is_refused_in_the_child(tmp_path: Path) -> None:
    program = """
from types import SimpleNamespace as Stub
sys.modules["cupy"] = Stub(cuda=Stub(runtime=Stub(getDeviceCount=lambda: 1)), __version__="stub")
from tflgpu.delegates.cuda import delegate as cuda
cuda.cupy()
assert_refused(in_child(lambda: tflgpu.load_delegate("cuda")), "CUDA")
assert_refused(in_child(lambda: cuda.cupy() and None), "CUDA")
"""
    run(tmp_path, program, "emulator")


def test_a_delegate_can_be_given_to_a_spawned_process(device: str, tmp_path: Path) -> None:
    """Where it is loaded anew."""
    program = """
with multiprocessing.get_context("spawn").Pool(1) as pool:
    got, report = pool.apply(values_and_report, [load(device)])
assert got == WANTED
assert "delegate: 1 nodes delegated out of 1" in report, report
"""
    run(tmp_path, program, device)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda delegate: pickle.loads(pickle.dumps(delegate))])
def test_a_pickled_delegate_keeps_its_options(copied: Callable[[GpuDelegate], GpuDelegate]) -> None:
    options = {"device": "emulator", "skip_ops": "ADD", "max_partitions": "3"}
    delegate = copied(tflgpu.load_delegate("cuda", options))  # type: ignore[arg-type]
    assert delegate.limits == Limits(max_partitions=3, skip_ops=frozenset(["ADD"]))
    assert "emulator" in delegate.device.name


def test_a_delegate_made_otherwise_than_by_name_is_not_pickled() -> None:
    device = tflgpu.load_delegate("cuda", {"device": "emulator"}).device  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="cannot pickle or copy .* it was not made by load_delegate"):
        pickle.dumps(GpuDelegate("mine", device, Limits()))
