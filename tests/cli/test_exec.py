"""Programs that were written for TensorFlow Lite, run unchanged by `tflgpu exec`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tflgpu
from tflgpu.exec.settings import Settings, from_environment
from tflgpu.exec.stand_ins import with_settings
from tflgpu.model.builder import ModelBuilder

MODULES = ["tflite_runtime.interpreter", "ai_edge_litert.interpreter", "tensorflow.lite.python.interpreter"]

FAKE = """
import enum
class OpResolverType(enum.Enum):
    AUTO = 0
    BUILTIN_REF = 2
class Interpreter: pass
class Delegate: pass
def load_delegate(library, options=None): raise OSError("the real one")
OTHER = object()
"""

PROGRAM = """
import importlib, sys
import numpy as np
module = importlib.import_module(sys.argv[1])
interpreter = module.Interpreter(sys.argv[2], None, experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.float32([1, -2, 3]))
for _ in range(4):
    interpreter.invoke()
print(type(interpreter).__module__, interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """model.tflite (ABS, then NEG), program.py, and packages that have modules of TensorFlow Lite's names."""
    m = ModelBuilder()
    g = m.graph()
    x, y, z = g.input("x", "FLOAT32", [3]), g.tensor("y", "FLOAT32", [3]), g.tensor("z", "FLOAT32", [3])
    g.node("ABS", [x], [y])
    g.node("NEG", [y], [z])
    g.outputs(z)
    m.signature("serve", g, {"x": x}, {"z": z})
    (tmp_path / "model.tflite").write_bytes(m.build())
    (tmp_path / "program.py").write_text(PROGRAM)
    for name in (MODULES[0], MODULES[2]):
        path = tmp_path / "packages" / Path(*name.split("."))
        path.parent.mkdir(parents=True)
        path.with_suffix(".py").write_text(FAKE)
    return tmp_path


def told(folder: Path, *arguments: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `tflgpu exec` with these arguments prints, in the folder."""
    paths = os.pathsep.join([str(folder / "packages"), environment.pop("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "tflgpu", "exec", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    return done


def run_code(folder: Path, code: str, *options: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "code.py").write_text(code)
    return told(folder, *options, "code.py", status=status)


@pytest.mark.parametrize("module", MODULES)
def test_an_unchanged_program_runs_on_tflgpu(folder: Path, module: str) -> None:
    if module == MODULES[1]:
        pytest.importorskip(module)
    done = told(folder, "program.py", module, "model.tflite")
    assert done.stdout == "tflgpu.exec.stand_ins [-1.0, -2.0, -3.0]\n" and not done.stderr


def test_what_else_a_module_has_is_untouched(folder: Path) -> None:
    code = """
import tflite_runtime.interpreter as module, tflgpu, inspect
print(type(module.OTHER), module.Delegate.__module__, module.OpResolverType.__module__)
print(module.load_delegate is tflgpu.load_delegate, hasattr(module, "SignatureRunner"))
loader = module.__loader__
print(type(loader).__name__, module.__spec__.loader is loader, "OTHER" in inspect.getsource(module))
"""
    lines = run_code(folder, code).stdout.splitlines()
    assert lines[0] == "<class 'object'> tflite_runtime.interpreter tflite_runtime.interpreter"
    assert lines[1:] == ["True False", "SourceFileLoader True True"]


def test_the_program_finds_itself_as_without_us(folder: Path) -> None:
    code = "import sys; print(__name__, sys.argv, sys.path, sys.stdin.read(), sys.flags.dev_mode)"
    (folder / "code.py").write_text(code)
    paths = {"env": {**os.environ, "PYTHONPATH": str(folder / "packages")}, "cwd": folder, "text": True, "input": "in"}
    arguments = ["code.py", "-d", "--", "--report"]
    python = [sys.executable, "-X", "dev"]
    plain = subprocess.run([*python, *arguments], **paths, stdout=subprocess.PIPE, check=True)
    ours = subprocess.run([*python, "-m", "tflgpu", "exec", *arguments], **paths, stdout=subprocess.PIPE, check=True)
    assert ours.stdout == plain.stdout and "in True" in ours.stdout


def test_how_the_program_ends_is_how_the_command_ends(folder: Path) -> None:
    assert not run_code(folder, "import sys; sys.exit(7)", status=7).stdout
    run_code(folder, "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", status=-signal.SIGTERM)


def test_modules_and_commands_run_too(folder: Path) -> None:
    assert "[-1.0" in told(folder, "-m", "program", MODULES[0], "model.tflite").stdout
    script = folder / "script"
    script.write_text(f"#!{sys.executable}\n{PROGRAM}")
    script.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    assert "[-1.0" in told(folder, "script", MODULES[0], "model.tflite", PATH=path).stdout
    assert "neither a file nor a command 'nosuch'" in told(folder, "nosuch", status=1).stderr


def test_wrong_options_are_refused(folder: Path) -> None:
    assert "name a program" in told(folder, status=2).stderr
    assert "takes key=value, not 'x'" in told(folder, "-d", "opencl", "-o", "x", "program.py", status=2).stderr
    assert "name one with --delegate" in told(folder, "-o", "device=0", "program.py", status=2).stderr
    assert "not 0" in told(folder, "--threads", "0", "program.py", status=2).stderr
    assert "takes NAME=NUMBER, not 'x'" in told(folder, "--limit", "x", "program.py", status=2).stderr


def test_the_named_delegate_runs_the_nodes_and_the_report_says_so(folder: Path) -> None:
    pytest.importorskip("pyopencl")
    options = ["--report", "--delegate", "opencl", "-o", "min_nodes_per_partition=1", "-o", "skip_ops=NEG"]
    done = told(folder, *options, "program.py", MODULES[0], "model.tflite")
    assert done.stdout.endswith("[-1.0, -2.0, -3.0]\n")
    assert "model.tflite: opencl has 1 of 2 nodes in 1 partition; on the CPU 1 NEG (" in done.stderr
    assert "the options leave NEG to the CPU); first invoke " in done.stderr and "median of 3 others" in done.stderr


def test_a_delegate_that_the_program_passes_is_not_replaced(folder: Path) -> None:
    code = """
import tflite_runtime.interpreter as t
from tflgpu.delegation.delegate import Limits, Unsupported
class Nothing:
    name, limits = "nothing", Limits()
    def check(self, node): raise Unsupported("no kernels")
    def compile(self, partition, tensors): raise AssertionError
t.Interpreter("model.tflite", experimental_delegates=[Nothing()]).allocate_tensors()
i = t.Interpreter("model.tflite", experimental_delegates=[Nothing()])
i.allocate_tensors()
i.invoke()
"""
    lines = run_code(folder, code, "--report", "-d", "nosuch").stderr.splitlines()
    assert lines[0].endswith("model.tflite: never invoked")
    assert (
        "no delegate has any of 2 nodes; on the CPU 1 ABS (nothing: no kernels), 1 NEG (nothing: no kernels)"
        in lines[1]
    )


def test_threads_and_preserved_tensors_are_what_the_command_says() -> None:
    given = {"model_path": "m", "num_threads": 1, "experimental_preserve_all_tensors": False}
    assert with_settings(given, Settings()) == given
    added = with_settings(given, Settings(threads=2, preserve_all=True))
    assert added == {"model_path": "m", "num_threads": 2, "experimental_preserve_all_tensors": True}
    limited = with_settings({"limits": tflgpu.Limits(seconds=9, loop_iterations=7)}, Settings(limits={"seconds": "3"}))
    assert limited == {"limits": tflgpu.Limits(seconds=3.0, loop_iterations=7)}


CHILDREN = """
import multiprocessing, subprocess, sys
import tflite_runtime.interpreter as t
def invoke(_):
    import numpy as np
    import tflite_runtime.interpreter as t
    return t.Interpreter("model.tflite").get_signature_runner()(x=np.float32([1, 2, 3]))["z"].tolist()
if __name__ == "__main__":
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(pool.map(invoke, [0]))
            pool.close()
            pool.join()
    program = [sys.executable, "program.py", "tflite_runtime.interpreter", "model.tflite"]
    print(subprocess.check_output(program, text=True))
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_children_of_every_kind_inherit_and_report(folder: Path) -> None:
    done = run_code(folder, CHILDREN, "--report")
    assert done.stdout.count("[-1.0, -2.0, -3.0]") == 3
    lines = [line for line in done.stderr.splitlines() if "the CPU 2 of 2 nodes; first invoke" in line]
    assert len(lines) == 3 and len({line.split(":")[1] for line in lines}) == 3, done.stderr


def test_a_sitecustomize_that_was_there_runs_too(folder: Path) -> None:
    own = folder / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys\nsys.stdout.write('first ')\nMINE = __file__\n")
    (folder / "code.py").write_text(
        "import sitecustomize, tflite_runtime.interpreter as t; print(sitecustomize.MINE, t.Interpreter.__module__)"
    )
    text = told(folder, "code.py", PYTHONPATH=str(own)).stdout
    assert text == f"first first {own / 'sitecustomize.py'} tflgpu.exec.stand_ins\n"  # the command is a Python too


def test_a_python_without_tflgpu_keeps_its_own_and_says_so(folder: Path) -> None:
    base = sys._base_executable  # type: ignore[attr-defined]
    if subprocess.run([base, "-c", "import tflgpu"], cwd=folder, capture_output=True).returncode == 0:
        pytest.skip("tflgpu is installed for the Python that made this environment")
    code = f"""
import subprocess
code = "import tflite_runtime.interpreter as t; print(t.Interpreter.__module__)"
print(subprocess.check_output([{base!r}, "-c", code], text=True))
"""
    done = run_code(folder, code)
    assert done.stdout.strip() == "tflite_runtime.interpreter"
    assert "tflgpu is not installed for" in done.stderr and "tflite_runtime.interpreter stays as it is" in done.stderr


def test_tflite_runtime_is_provided_where_there_is_none_and_asked_for(folder: Path) -> None:
    code = """
import tflite_runtime.interpreter as t
from tflite_runtime.interpreter import Delegate, Interpreter, OpResolverType, load_delegate
Interpreter("model.tflite", experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
print(getattr(t, "OTHER", None) is not None)
"""
    assert run_code(folder, code, "--provide-tflite-runtime").stdout == "True\n"  # the installed one
    for path in sorted((folder / "packages" / "tflite_runtime").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (folder / "packages" / "tflite_runtime").rmdir()
    assert run_code(folder, code, "--provide-tflite-runtime").stdout == "False\n"
    assert "No module named 'tflite_runtime'" in run_code(folder, code, status=1).stderr


def test_the_command_needs_no_extra(folder: Path) -> None:
    (folder / "packages" / "typer.py").write_text("raise SystemExit('typer was imported')")
    assert told(folder, "program.py", MODULES[0], "model.tflite").stdout.endswith("[-1.0, -2.0, -3.0]\n")


def test_a_setting_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFLGPU_EXEC", '{"delegates": 1}')
    with pytest.raises(ValueError, match="not what tflgpu exec sets"):
        from_environment()


def test_a_compiled_model_runs_on_tflgpu_too(folder: Path) -> None:
    pytest.importorskip("ai_edge_litert.compiled_model")
    code = """
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator, TensorBuffer
model = CompiledModel.from_file("model.tflite", hardware_accel=HardwareAccelerator.CPU)
x, outputs = TensorBuffer.create_from_host_memory(np.float32([1, -2, 3])), model.create_output_buffers(0)
for _ in range(3):
    model.run_by_index(0, [x], outputs)
print(CompiledModel.__module__, outputs[0].read(3, np.float32).tolist())
"""
    done = run_code(folder, code, "--report")
    assert done.stdout == "tflgpu.exec.stand_ins [-1.0, -2.0, -3.0]\n"
    assert "the CPU 2 of 2 nodes; first invoke " in done.stderr and "median of 2 others" in done.stderr
