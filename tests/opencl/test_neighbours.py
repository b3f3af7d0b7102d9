"""What other libraries have loaded into the process, before or after, changes nothing for an OpenCL delegate."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from opencl_runtimes import PLATFORMS, require

from tflgpu.model.builder import ModelBuilder

NEIGHBOURS = ("tensorflow", "torch", "openvino", "onnxruntime", "jax", "numba")
USES = {
    "tensorflow": "import tensorflow as n; assert n.constant([1.0, 2.0]).numpy().sum() == 3",
    "torch": "import torch as n; assert n.tensor([1.0, 2.0]).sum().item() == 3",
    "openvino": "import openvino as n; assert 'CPU' in n.Core().available_devices",
    "onnxruntime": "import onnxruntime as n; assert 'CPUExecutionProvider' in n.get_available_providers()",
    "jax": "import jax.numpy as n; assert float(n.asarray([1.0, 2.0]).sum()) == 3",
    "numba": "import numba as n; assert n.njit(lambda x: x + 1)(2) == 3",
}
OURS = """
import sys, tflgpu, numpy as np
delegate = tflgpu.load_delegate("opencl", {"device": device, "min_nodes_per_partition": 1, "cache_dir": "none"})
interpreter = tflgpu.Interpreter("model.tflite", experimental_delegates=[delegate])
interpreter.allocate_tensors()
interpreter.set_tensor(0, np.arange(8, dtype=np.float32))
interpreter.invoke()
assert interpreter.delegation_report().startswith("opencl delegate: 1 nodes delegated out of 1")
print(*interpreter.get_tensor(1), delegate, sep="|")
"""
WANTED = np.exp(np.arange(8, dtype=np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model of one EXP and a folder for an OpenCL loader's .icd files."""
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [8]), g.tensor("y", "FLOAT32", [8])
    g.node("EXP", [x], [y])
    g.outputs(y)
    (tmp_path / "model.tflite").write_bytes(m.build())
    (tmp_path / "vendors").mkdir()
    return tmp_path


def run(folder: Path, programs: Sequence[str], device: str, **environment: str) -> str:
    """What the programs print in a process of their own, one after the other; fails where it does not end well."""
    script = f"device = {device!r}\n" + "\n".join(programs)
    command = [sys.executable, "-X", "faulthandler", "-c", script]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run(
        command, cwd=folder, env=os.environ | quiet | environment, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout


def assert_right(printed: str, words: str) -> None:
    line = next(line for line in printed.splitlines() if line.count("|") == len(WANTED))
    *values, delegate = line.split("|")
    np.testing.assert_allclose([float(value) for value in values], WANTED, rtol=1e-6)
    assert words in delegate


def library(path: Path, text: str, *flags: str) -> Path:
    """A shared library of this C text; skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (Debian, Ubuntu: apt-get install gcc)")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-xc", "-", "-o", str(path), *flags], input=text, text=True, check=True
    )
    return path


def intel_library() -> str:
    require("Intel")
    from tflgpu.delegates.opencl import icd

    found = icd.intel()
    if found is None:
        pytest.skip("Intel's OpenCL runtime is the system's, not pip's (pip install 'tflgpu[opencl]')")
    return found


def vendors(folder: Path, **libraries: str | Path) -> dict[str, str]:
    """The environment in which an OpenCL loader is offered these libraries."""
    for name, path in libraries.items():
        (folder / "vendors" / f"{name}.icd").write_text(f"{path}\n")
    return {"OCL_ICD_VENDORS": str(folder / "vendors")}


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_a_neighbour_changes_nothing(neighbour: str, compiler: str, order: str, folder: Path) -> None:
    """Debian's PoCL brings LLVM as a library, whose symbols TensorFlow exports too: it crashes where it binds to those.

    It does so beside Intel's runtime too, since every runtime is opened.
    """
    if find_spec(neighbour) is None:
        pytest.skip(f"{neighbour} is not installed (ci/neighbours.sh makes an environment with it)")
    programs = [USES[neighbour], OURS, USES[neighbour]] if order == "before" else [OURS, USES[neighbour], OURS]
    assert_right(run(folder, programs, compiler), PLATFORMS[compiler])


def test_intels_runtime_works_where_an_older_tbb_is_loaded_already(folder: Path) -> None:
    intel_library()
    older = library(folder / "libtbb.so.12", "int TBB_runtime_version(void) { return 0; }", "-Wl,-soname,libtbb.so.12")
    program = f"import ctypes; assert ctypes.CDLL({str(older)!r}).TBB_runtime_version() == 0"
    assert_right(run(folder, [program, OURS], "intel"), "Intel(R) OpenCL")


def test_a_runtime_calls_its_own_function_where_a_neighbour_exports_one_of_that_name(folder: Path) -> None:
    intel = intel_library()
    neighbour = library(folder / "neighbour.so", "#include <stdlib.h>\nvoid llvm_register(void) { abort(); }")
    runtime = library(
        folder / "runtime.so",
        '#include <stdlib.h>\nvoid llvm_register(void) { setenv(\'W\'==0?"":"RUNTIME_OPENED", "1", 1); }\n'
        "__attribute__((constructor)) static void start(void) { llvm_register(); }\n",
    )
    program = f"import ctypes; ctypes.CDLL({str(neighbour)!r}, ctypes.RTLD_GLOBAL)"
    check = (
        "import ctypes; getenv = ctypes.CDLL(None).getenv; getenv.restype = ctypes.c_char_p\n"
        "assert getenv(b'RUNTIME_OPENED') == b'1'"
    )
    printed = run(folder, [program, OURS, check], "intel", **vendors(folder, other=runtime, intel=intel))
    assert_right(printed, "Intel(R) OpenCL")


def test_a_library_that_does_not_open_is_named_with_what_the_loader_says(folder: Path) -> None:
    broken = library(folder / "broken.so", "void not_there(void); void f(void) { not_there(); }", "-Wl,-z,now")
    program = (
        "import tflgpu\ntry:\n    tflgpu.load_delegate('opencl', {'device': 'nobody'})\n"
        "except ValueError as error:\n    print(error)"
    )
    text = run(folder, [program], "", **vendors(folder, broken=broken, gone="/nowhere/libgone.so"))
    assert f"Could not be opened: {broken}: {broken}: undefined symbol: not_there." in text
    assert "/nowhere/libgone.so: cannot open shared object file" in text


STATE = """
import os, sys, warnings, pyopencl

def refuse(event, arguments):
    if event in ("os.putenv", "os.unsetenv"):
        raise AssertionError(f"{event} {arguments}")

def entered(self):
    raise AssertionError("warnings.catch_warnings")

sys.addaudithook(refuse)
warnings.catch_warnings.__enter__ = entered
warnings.simplefilter("error")
filters = list(warnings.filters)
"""


def test_loading_and_compiling_change_neither_the_environment_nor_the_warnings(compiler: str, folder: Path) -> None:
    """Which are the whole process's: another thread would see them changed, or changed back too early."""
    printed = run(folder, [STATE, OURS, "assert warnings.filters == filters"], compiler)
    assert_right(printed, PLATFORMS[compiler])


THREADS = """
import threading, numpy as np, tflgpu
names = ["intel", "portable"] * 4
gate, got, errors = threading.Barrier(len(names)), {}, []

def load(number):
    gate.wait()
    try:
        options = {"device": names[number], "min_nodes_per_partition": 1, "cache_dir": "none"}
        delegate = tflgpu.load_delegate("opencl", options)
        interpreter = tflgpu.Interpreter("model.tflite", experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.arange(8, dtype=np.float32) - number)
        interpreter.invoke()
        got[number] = interpreter.get_tensor(1)
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=load, args=[number]) for number in range(len(names))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not errors, errors
for number in range(len(names)):
    np.testing.assert_allclose(got[number], np.exp(np.arange(8, dtype=np.float32) - number), rtol=1e-6)
print("all right")
"""


def test_threads_that_load_a_processs_first_delegates_at_once_all_get_one_that_is_right(folder: Path) -> None:
    require("Intel"), require("PoCL")
    assert "all right" in run(folder, [THREADS], "")
