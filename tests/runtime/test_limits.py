"""Limits that a user sets: each ends a call with an error that names it, and the interpreter goes on."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices import open_device
from elsewhere import Elsewhere
from loop_models import counted, large, loop
from resource_bombs import a_loop_without_end_and_without_nodes, loops

import tflgpu
from tflgpu import Limits
from tflgpu.cgroups import memory_of_the_machine
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import X
from tflgpu.delegates.ir import Elementwise, Operand
from tflgpu.delegates.launch import Fault, Loop, Ref
from tflgpu.delegates.megakernel.barrier_kernel import composed
from tflgpu.delegates.program import Dialect
from tflgpu.delegates.render import elementwise
from tflgpu.limits import read_limits
from tflgpu.model.builder import ModelBuilder


def test_resource_bombs_end_in_an_error_within_two_seconds_and_200_mb() -> None:
    program = Path(__file__).parents[1] / "resource_bombs.py"
    told = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=100)
    ends = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(ends) > 15, told.stderr
    for end in ends:
        assert end["error"] and end["seconds"] < 2.5 and end["peak_mb"] < 220, end


def tiles(shape: list[int]) -> bytes:
    """TILE of x (4,) by an input n (1,), then NEG."""
    m = ModelBuilder()
    g = m.graph()
    x, n = g.input("x", "FLOAT32", shape), g.constant("n", np.array([1000], np.int32))
    y, z = g.tensor("y", "FLOAT32", [1]), g.tensor("z", "FLOAT32", [1])
    g.node("TILE", [x, n], [y])
    g.node("NEG", [y], [z])
    g.outputs(z)
    return m.build()


def outputs(interpreter: tflgpu.Interpreter, *inputs: Any) -> list[Any]:
    for details, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(tensor_elements=50_000), r"tensor \d 'y' .*Limits.tensor_elements = 50,000. Node number 0 \(TILE\)"),
        (Limits(memory_bytes=300_000), r"tensor \d 'y' .*400,000 bytes.*Limits.memory_bytes = 300,000. Node number 0"),
        (
            Limits(memory_bytes=500_000),
            r"node 0 TILE: tensor \d 'y' .* besides 400,400 .*Limits.memory_bytes = 500,000",
        ),
    ],
)
def test_what_is_too_large_is_refused_by_name_and_smaller_shapes_run_afterwards(limits: Limits, said: str) -> None:
    interpreter = tflgpu.Interpreter(model_content=tiles([100]), limits=limits)
    with pytest.raises(RuntimeError, match=said.replace("Limits", "limits")):
        interpreter.allocate_tensors()
    for size in (5, 10, 15, 18):  # whose memory is given back
        interpreter.resize_tensor_input(0, [size])
        interpreter.allocate_tensors()
        (z,) = outputs(interpreter, np.ones(size, np.float32))
        assert z.shape == (1000 * size,) and (z == -1).all()


def test_what_a_delegate_would_make_inside_its_partition_is_refused_too() -> None:
    delegate = Elsewhere([0, 1])
    interpreter = tflgpu.Interpreter(
        model_content=tiles([100]), experimental_delegates=[delegate], limits=Limits(memory_bytes=700_000)
    )
    with pytest.raises(
        RuntimeError, match=r"what <2 nodes on elsewhere: .*> makes inside needs 400,000 bytes, besides"
    ):
        interpreter.allocate_tensors()
    assert not delegate.compiled


def test_memory_that_goes_is_no_longer_counted() -> None:
    interpreter = tflgpu.Interpreter(model_content=tiles([100]), limits=Limits(memory_bytes=10**7))
    interpreter.allocate_tensors()
    meter = interpreter._meter
    assert 800_000 <= meter.held_nbytes < 900_000
    del interpreter
    gc.collect()
    assert meter.held_nbytes == 0


def test_constants_that_preparation_computes_are_counted_in_sum_and_others_run_in_the_arena() -> None:
    m = ModelBuilder()
    g = m.graph()
    made = [g.tensor(f"y{k}", "FLOAT32", [1]) for k in range(5)]
    for k, y in enumerate(made):
        g.node("FILL", [g.constant(f"n{k}", np.array([1 << 22], np.int32)), g.constant(f"v{k}", np.float32(k))], [y])
    g.outputs(*made)
    interpreter = tflgpu.Interpreter(model_content=m.build())
    interpreter.allocate_tensors()
    assert interpreter._meter.folded_nbytes == 4 << 24  # of 64 MiB and a little
    interpreter.invoke()
    assert [interpreter.get_tensor(y)[-1] for y in made] == [0, 1, 2, 3, 4]


LOOP = loop([("INT32", [])], lambda g, v: [counted(g, v[0])], limit=100)


@pytest.mark.parametrize("device", ["CPU", "Intel", "CUDA"])
def test_a_loop_of_more_iterations_ends_in_an_error_and_a_shorter_one_runs_afterwards(device: str) -> None:
    delegates = [] if device == "CPU" else [open_device(device).delegate]
    interpreter = tflgpu.Interpreter(
        model_content=LOOP, experimental_delegates=delegates, limits=Limits(loop_iterations=10)
    )
    interpreter.allocate_tensors()
    assert bool(delegates) == any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())
    for first in (0, 90, 50):
        if 100 - first > 10:
            with pytest.raises(RuntimeError, match=r"imits.loop_iterations = 10\b.*Node number 0 \(WHILE\)"):
                outputs(interpreter, np.int32(first))
        else:
            assert outputs(interpreter, np.int32(first)) == [100]


@pytest.mark.parametrize("device", ["Intel", "PoCL", "CUDA"])
def test_a_loop_that_the_host_drives_ends_so_too(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflgpu.delegates.lowering.recurrent.sequence.SMALL_STEP", 1)
    monkeypatch.setattr("tflgpu.delegates.lowering.recurrent.sequence.SMALL_STEP_OF_A_GPU", 1)
    interpreter = tflgpu.Interpreter(
        model_content=large(),
        experimental_delegates=[open_device(device).delegate],
        limits=Limits(loop_iterations=3),
    )
    interpreter.allocate_tensors()
    h = np.zeros((1, 300), np.float32)
    with pytest.raises(RuntimeError, match=r"limits.loop_iterations = 3\b"):
        outputs(interpreter, np.int32(0), h)
    assert outputs(interpreter, np.int32(3), h)[0] == 5


@pytest.mark.parametrize(
    ("work", "limit", "most"),
    [(10, None, 2**24), (2**16, None, 2**20), (2**18, None, 2**21), (10, 7, 7), (10, 2**40, 2**31 - 1 - 2**16)],
)
def test_a_loop_without_end_gets_its_number_of_iterations_as_an_argument(
    work: int, limit: int | None, most: int
) -> None:
    ask = elementwise(Elementwise((Operand(Ref(0), "u8"),), X, Ref(9), "u8", 1))
    inner = Loop((ask,), 0, (), Ref(9), work)
    dialect = Dialect("tflgpu.kernels_cl", "cl", "prelude.clh")
    limits = DeviceLimits(blocks=8, loop_iterations=limit)
    launch = composed([Loop((inner,), 1, overrun=Fault("too many"))], dialect, limits)
    assert launch.sizes == {"most": most}


def test_time_is_up_between_nodes_and_between_iterations() -> None:
    for content in (loops(2), a_loop_without_end_and_without_nodes()):
        interpreter = tflgpu.Interpreter(model_content=content, limits=Limits(seconds=0.05))
        interpreter.allocate_tensors()
        start = time.monotonic()
        with pytest.raises(RuntimeError, match=r"limits.seconds = 0.05. .*Node number 0 \(WHILE\)"):
            interpreter.invoke()
        assert time.monotonic() - start < 2
    with pytest.raises(RuntimeError, match="limits.seconds = 0"):
        tflgpu.Interpreter(model_content=tiles([1]), limits=Limits(seconds=0)).allocate_tensors()


@pytest.mark.parametrize("content", [loops(2), a_loop_without_end_and_without_nodes()], ids=["nodes", "none"])
def test_another_thread_cancels_a_call_and_the_next_one_runs(content: bytes) -> None:
    interpreter = tflgpu.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.cancel()  # nothing runs, nothing is cancelled
    for _ in range(2):
        canceller = threading.Timer(0.05, interpreter.cancel)
        canceller.start()
        with pytest.raises(RuntimeError, match="Client requested cancel during Invoke()"):
            interpreter.invoke()
        canceller.join()


class DriverError(Exception):
    """Of a driver, as pyopencl's: no RuntimeError."""


@pytest.mark.parametrize("error", [DriverError("CL_OUT_OF_RESOURCES"), MemoryError(), OverflowError("int too large")])
def test_what_goes_wrong_at_the_end_of_invoke_is_a_runtime_error_that_names_the_tensor(error: Exception) -> None:
    class Failing(Elsewhere):
        def download(self, buffer: Any, host: Any) -> None:
            if self.fails:
                raise error
            super().download(buffer, host)

    delegate: Any = Failing([1])
    delegate.fails = True
    interpreter = tflgpu.Interpreter(model_content=tiles([1]), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"tensor \d 'z' .*" + type(error).__name__):
            interpreter.invoke()
    delegate.fails = False
    assert (outputs(interpreter, np.ones(1, np.float32))[0] == -1).all()


def misused() -> weakref.ref[Any]:
    """What is left of an interpreter whose calls have failed."""
    interpreter = tflgpu.Interpreter(model_content=tiles([1]))
    with suppress(RuntimeError):
        interpreter.invoke()
    with suppress(ValueError):
        interpreter.set_tensor(1, "text")
    return weakref.ref(interpreter._meter)


def test_errors_hold_nothing_of_an_interpreter_that_goes() -> None:
    gc.disable()
    try:
        assert misused()() is None
    finally:
        gc.enable()


def test_sizes_beyond_int32_are_runtime_errors() -> None:
    interpreter = tflgpu.Interpreter(model_content=tiles([1]))
    for shape in ([2**31], [2**63]):
        with pytest.raises(RuntimeError, match=r"Shape \[\d+\].*OverflowError"):
            interpreter.resize_tensor_input(0, shape)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory.max": "max\n"}, None),
        ({"pod/memory.max": "4096\n", "memory.max": "8192\n"}, 4096),
        ({"memory/memory.limit_in_bytes": "12288\n"}, 12288),
    ],
)
def test_memory_is_the_machines_or_what_a_cgroup_allows(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/\n0::/pod\n")
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_of_the_machine(tmp_path) == (limit or memory_of_the_machine(tmp_path / "elsewhere"))


def test_limits_are_numbers_of_known_names() -> None:
    assert read_limits({"seconds": "1.5", "memory_bytes": "2e9"}, Limits(loop_iterations=3)) == Limits(
        2 * 10**9, 1.5, 3
    )
    assert read_limits({"seconds": "none"}, Limits(seconds=3)) == Limits()
    for texts, said in (({"hours": "1"}, "no limit 'hours'"), ({"seconds": "soon"}, "not 'soon'")):
        with pytest.raises(ValueError, match=said):
            read_limits(texts)
    for wrong in (-1, True, "9", 2.5):
        with pytest.raises(ValueError, match="Limits.memory_bytes takes a number"):
            Limits(memory_bytes=wrong)  # type: ignore[arg-type]


def test_a_file_cut_short_is_noticed_at_allocation_and_does_not_matter_to_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiles([1]))
    mapped = tflgpu.Interpreter(model_path=path)
    copied = tflgpu.Interpreter(model_path=path, copy_model=True)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(RuntimeError, match=f"had {size:,} bytes and has 100 now"):
        mapped.allocate_tensors()
    copied.allocate_tensors()
    assert (outputs(copied, np.ones(1, np.float32))[0] == -1).all()
