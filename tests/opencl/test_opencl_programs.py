"""Programs of the OpenCL delegate: compiled, cached, refused by a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from kit import case, fed
from oracle import assert_same, tflgpu_run

from tflgpu.delegation.discovery import load_delegate

pytest.importorskip("pyopencl")

ABS = fed(case("ABS[float32,2x3x5]"))


@pytest.fixture(scope="module")
def device() -> Any:
    """A device whose buffers lie between guard bytes and begin full of poison."""
    from guarded_device import GuardedDevice

    return GuardedDevice()


def test_compiled_programs_are_cached_on_disk_and_a_broken_one_is_replaced(tmp_path: Any) -> None:
    model, x = ABS
    for _ in range(2):
        delegate = load_delegate("opencl", {"cache_dir": str(tmp_path), "require_full": "1"})
        assert_same(tflgpu_run(model, x, [delegate]), tflgpu_run(model, x))
        cached = list(tmp_path.glob("*.bin"))
        assert cached and all(path.read_bytes() != b"cut short" for path in cached)
        for path in cached:
            path.write_bytes(b"cut short")


def test_a_cached_program_without_the_kernel_is_replaced(tmp_path: Any) -> None:
    from tflgpu.delegates.cache import ProgramCache
    from tflgpu.delegates.opencl.choice import find_device
    from tflgpu.delegates.opencl.device import OpenClDevice

    cache = ProgramCache(tmp_path)
    texts = [f"kernel void {name}(global float *x) {{ x[get_global_id(0)] = 1; }}" for name in ("one", "other")]
    opened = find_device("cpu")
    first = OpenClDevice(opened, cache)
    for text, name in zip(texts, ("one", "other"), strict=True):
        first.kernel(text, name)
    other = cache.get(first.programs.key(texts[1]))
    assert other is not None
    cache.put(first.programs.key(texts[0]), other)
    assert OpenClDevice(opened, cache).kernel(texts[0], "one").function_name == "one"
    assert cache.get(first.programs.key(texts[0])) not in (None, other)


def test_text_that_does_not_compile_is_shown_with_its_line_numbers(device: Any, capfd: Any) -> None:
    from tflgpu.delegates.device import CompileError

    with pytest.raises(CompileError, match=r"broken for .*(\n.*)* 2 kernel void broken"):
        device.kernel("// fine\nkernel void broken(", "broken")


UNBUILDABLE = """
import sys
from tflgpu.delegates.device import CompileError
from tflgpu.delegates.opencl.choice import find_device
from tflgpu.delegates.opencl.device import OpenClDevice
device = OpenClDevice(find_device(sys.argv[1]))
wide = "kernel void wide(global const ulong* x, global ulong* y, int n) {"
wide += "for (int k = 0; k < n; k += 8) vstore8(vload8(0, x + k), 0, y + k); }"
for text in (wide, "kernel void wide() { no }"):
    try:
        device.kernel(text, "wide")
    except CompileError:
        pass
del device
print("still here")
"""


def test_a_program_that_does_not_build_leaves_the_process_alive_to_its_end(compiler: str) -> None:
    run = subprocess.run([sys.executable, "-c", UNBUILDABLE, compiler], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and "still here" in run.stdout, run.stderr


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "model.tflite").write_bytes(ABS[0])
    script = """
import tflgpu
delegate = tflgpu.load_delegate("opencl", {"require_full": 1})
interpreter = tflgpu.Interpreter("model.tflite", experimental_delegates=[delegate])
interpreter.allocate_tensors()
interpreter.invoke()
"""
    folders = {"XDG_CACHE_HOME": str(tmp_path / "file" / "cache"), "POCL_CACHE_DIR": str(tmp_path / "pocl")}
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, **folders}, capture_output=True, text=True
    )
    assert told.returncode == 0 and not told.stderr, told.stderr
