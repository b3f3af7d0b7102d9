"""Caches where the disk takes no file, and those of devices: damaged programs, processes at once, choices of tuners."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tflgpu.delegates.cache import HEADER, ProgramCache

if sys.platform == "win32":
    pytest.skip("Windows has no owners and modes of this kind", allow_module_level=True)


def in_a_mount(options: str, folder: Path, script: str, **environment: str) -> None:
    """Runs Python where a tmpfs, which nobody else sees, is mounted on the folder. Skips where that is not allowed."""
    if not shutil.which("unshare"):
        pytest.skip("unshare (util-linux) is not installed")
    start = ["unshare", *(["--map-root-user"] if os.geteuid() else []), "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o {options} tmpfs '{folder}'"
    if subprocess.run([*start, mount], capture_output=True).returncode:
        pytest.skip("this user may not mount in a namespace of its own")
    run = [*start, f'{mount} && exec "$@"', "sh", sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(run, env={**os.environ, **environment}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stdout.endswith("right\n"), done.stderr
    assert not done.stderr


FULL = """
import os
from pathlib import Path
from tflgpu.delegates.cache import ProgramCache
folder = Path({folder!r}) / "programs"
stored = ProgramCache(folder)
stored.put("small", b"small")
stored.put("large", bytes(1 << 20))
assert stored.get("small") == b"small" and stored.get("large") is None
assert os.listdir(folder) == [stored.path("small").name]
print("right")
"""


def test_a_full_disk_loses_no_entry(tmp_path: Path) -> None:
    in_a_mount("size=64k", tmp_path, FULL.format(folder=str(tmp_path)))


RUN = """
import os, sys
sys.path.insert(0, {tests!r})
import numpy as np
from oracle import one_op, tflgpu_run
from tflgpu.delegation.discovery import load_delegate
spec = {{"type": "FLOAT32", "shape": [3]}}
options = {{"require_full": 1, "device": {device!r}, **{options!r}}}
delegate = load_delegate({name!r}, options)
(got,) = tflgpu_run(one_op("ABS", [spec], [spec]), [np.array([-1, 2, -3], np.float32)], [delegate])
assert got.tolist() == [1, 2, 3], got
print("right")
"""
DEVICES = [("opencl", "pocl"), ("opencl", "intel"), ("cuda", "emulator")]


def running(name: str, device: str, **options: Any) -> str:
    """A program that runs a model on the device, which is there; else the test is skipped."""
    from tflgpu.delegation.discovery import load_delegate

    try:
        load_delegate(name, {"device": device, "cache_dir": "none"})
    except (ValueError, ImportError) as error:
        pytest.skip(str(error))
    return RUN.format(tests=str(Path(__file__).parent.parent), name=name, device=device, options=options)


def run(script: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@pytest.mark.parametrize("name, device", DEVICES)
@pytest.mark.parametrize("options", ["size=16k", "size=16k,ro"], ids=["full", "read-only"])
def test_a_home_that_takes_no_file_is_no_hindrance(name: str, device: str, options: str, tmp_path: Path) -> None:
    script = running(name, device)
    folders = {variable: str(tmp_path / "driver") for variable in ("POCL_CACHE_DIR", "TMPDIR")}
    (tmp_path / "driver").mkdir()
    (tmp_path / "home").mkdir()
    in_a_mount(options, tmp_path / "home", script, HOME=str(tmp_path / "home"), XDG_CACHE_HOME="", **folders)


@pytest.mark.parametrize("name, device", DEVICES)
def test_a_damaged_or_exchanged_program_is_compiled_anew(name: str, device: str, tmp_path: Path) -> None:
    script = running(name, device, cache_dir=str(tmp_path / "programs"))
    run(script)
    good = {path: path.read_bytes() for path in (tmp_path / "programs").iterdir()}
    assert good
    last = [*good.values()][-1]
    for damage in (
        lambda data: data[: len(data) // 2],
        lambda data: data[HEADER.size :],  # the driver's own, as earlier versions stored them
        lambda data: data[: len(data) // 2] + bytes(range(64)) + data[len(data) // 2 + 64 :],
        lambda data: last if data != last else b"",
    ):
        for path, data in good.items():
            path.write_bytes(damage(data))
        run(script)
        stored = {path: path.read_bytes() for path in (tmp_path / "programs").iterdir()}
        assert stored.keys() == good.keys()
        assert all(stored[path] != damage(data) for path, data in good.items())


@pytest.mark.parametrize("name, device", DEVICES)
def test_processes_that_start_at_once_share_a_cache(name: str, device: str, tmp_path: Path) -> None:
    script = running(name, device, cache_dir=str(tmp_path / "programs"))
    command = [sys.executable, "-W", "error", "-c", script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate() for process in both] == [(b"right\n", b"")] * 2
    assert not list((tmp_path / "programs").glob("*.tmp"))


def test_choices_of_the_tuner_are_cached_like_programs_and_merged_with_those_of_others(tmp_path: Path) -> None:
    from tflgpu.delegates.autotune import Tuner

    stored = ProgramCache(tmp_path)
    first, second = Tuner("device", stored), Tuner("device", stored)
    first._chosen["a"], second._chosen["b"] = 1, 2
    first._keep()
    second._keep()
    assert Tuner("device", stored)._chosen == {"a": 1, "b": 2}
    assert Tuner("other device", stored)._chosen == {}
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"a": 1', b'"a": 0'))
    assert Tuner("device", stored)._chosen == {}


def test_pyopencls_database_is_neither_made_nor_read(tmp_path: Path) -> None:
    script = running("opencl", "cpu", cache_dir="none")
    (tmp_path / "home").mkdir()
    run(script, XDG_CACHE_HOME=str(tmp_path / "home"))
    assert not (tmp_path / "home" / "pytools").exists()
    (tmp_path / "home" / "pytools").write_text("where its database would be")
    run(script, XDG_CACHE_HOME=str(tmp_path / "home"))


def test_another_user_of_pyopencl_in_the_process_is_not_disturbed(tmp_path: Path) -> None:
    script = running("opencl", "cpu", cache_dir="none").replace('print("right")', "")
    script += """
import warnings, pyopencl as cl
warnings.simplefilter("ignore")  # pyopencl's, of a compiler that reports success in words
assert not cl._PYOPENCL_NO_CACHE
context = delegate.device.context
queue, program = cl.CommandQueue(context), cl.Program(context, "kernel void three(global int* x) { x[0] = 3; }")
x, buffer = np.zeros(1, np.int32), cl.Buffer(context, cl.mem_flags.READ_WRITE, 4)
program.build().three(queue, (1,), None, buffer)
cl.enqueue_copy(queue, x, buffer)
assert x[0] == 3
print("right")
"""
    run(script, XDG_CACHE_HOME=str(tmp_path))
