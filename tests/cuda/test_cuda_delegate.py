"""The CUDA delegate's recordings, errors, options and profile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cuda_delegates import DEVICE, chain, emulated, ends, interpreter_of
from loop_models import large
from oracle import assert_same, one_op, tflgpu_run

from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegation.discovery import load_delegate


def test_a_partition_is_recorded_once_and_replayed_with_its_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    delegate = load_delegate("cuda", {"device": DEVICE})
    recordings: list[Any] = []
    recorded = CudaDevice.recorded
    monkeypatch.setattr(CudaDevice, "recorded", lambda self, run: recordings.append(run) or recorded(self, run))
    interpreter = interpreter_of(chain(), delegate)
    first, last = ends(interpreter)
    for value in (1.0, 2.0, 3.0):
        interpreter.set_tensor(first, np.full((2, 6), value, np.float32))
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(last), -np.exp(np.full((2, 6), value)), rtol=1e-6)
    assert len(recordings) == 1
    interpreter.invoke()  # the input is on the device already: a graph without its copy
    assert len(recordings) == 2
    interpreter.resize_tensor_input(first, [5, 6])
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert len(recordings) == 3


def test_a_partition_that_cannot_be_recorded_runs_as_plain_launches_and_the_report_says_so() -> None:
    delegate = load_delegate("cuda", {"device": DEVICE})

    def refuse(run: Any) -> Any:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    delegate.device.recorded = refuse
    interpreter = interpreter_of(chain(), delegate)
    first, last = ends(interpreter)
    for value in (1.0, 2.0, 3.0):
        interpreter.set_tensor(first, np.full((2, 6), value, np.float32))
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(last), np.full((2, 6), -np.exp(value)), rtol=1e-6)
    assert interpreter.delegation_report().count("plain launches") == 1
    assert "plain launches, since no graph was recorded: cudaErrorStreamCaptureUnsupported" in (
        interpreter.delegation_report()
    )


def test_a_failed_invoke_leaves_the_interpreter_usable() -> None:
    model = one_op(
        "GATHER",
        [np.arange(5, dtype=np.float32), {"type": "INT32", "shape": [3]}],
        [{"type": "FLOAT32", "shape": [3]}],
        axis=0,
    )
    interpreter = interpreter_of(model, emulated(check=True))
    first, last = ends(interpreter)
    interpreter.set_tensor(first, np.array([0, 9, 1], np.int32))
    with pytest.raises(RuntimeError, match="gather index out of bounds"):
        interpreter.invoke()
    interpreter.set_tensor(first, np.array([4, 0, 1], np.int32))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(last), np.float32([4, 0, 1]))


def test_an_error_of_unavailable_memory_says_how_much_is_free() -> None:
    with pytest.raises(MemoryError, match=r"10,000,000,000,000 bytes for .* are wanted on .*; .* bytes are free"):
        emulated().device.allocate(10**13)


def test_a_text_that_does_not_compile_is_shown_with_its_line_numbers() -> None:
    from tflgpu.delegates.device import CompileError

    with pytest.raises(CompileError, match=r"broken for .*(\n.*)* 2 extern .*broken"):
        emulated().device.kernel('// fine\nextern "C" __global__ void broken(', "broken")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "first"}, "expected the number of a GPU"),
        ({"precision": "int3"}, "expected one of fp32, tf32, fp16"),
        ({"check": True}, "is for device=emulator"),
        ({"nonsense": 1}, "unknown option 'nonsense'. Legal options: .*device"),
    ],
)
def test_wrong_options_are_refused_with_the_right_ones(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_delegate("cuda", options)


def test_without_cupy_or_driver_it_says_what_to_install() -> None:
    try:
        load_delegate("cuda")
    except ValueError as error:
        assert any(hint in str(error) for hint in ("pip install 'tflgpu[cuda12]'", "update the driver", "no GPU"))
    else:
        pytest.skip("this machine has a GPU")


def test_a_profile_has_the_time_of_each_kernel() -> None:
    delegate = load_delegate("cuda", {"device": DEVICE, "profile": True})
    model = one_op("SOFTMAX", [{"type": "FLOAT32", "shape": [3, 5]}], [{"type": "FLOAT32", "shape": [3, 5]}], beta=1.0)
    for _ in range(2):
        tflgpu_run(model, [np.ones((3, 5), np.float32)], [delegate])
    runs, milliseconds = delegate.device.times()["softmax"]
    assert runs == 2 and milliseconds > 0
    assert delegate.device.traffic() == {"softmax": 2 * (60 + 60)}, "two runs, each given 3 x 5 floats in and out"


def test_an_iteration_of_more_work_than_one_block_does_runs_on_several_blocks() -> None:
    delegate = load_delegate("cuda", {"device": DEVICE, "check": DEVICE == "emulator", "require_full": True})
    made: list[tuple[int, ...]] = []
    bind = delegate.device.bind

    def noting(kernel: Any, args: Any, grid: Any, block: Any) -> Any:
        made.append((*grid, kernel.enable_cooperative_groups))
        return bind(kernel, args, grid, block)

    delegate.device.bind = noting
    model = large()
    inputs = [np.int32(0), np.random.default_rng(2).normal(size=(1, 300)).astype(np.float32)]
    assert_same(tflgpu_run(model, inputs, [delegate]), tflgpu_run(model, inputs), rtol=1e-5, atol=1e-6)
    assert made == [(6, True)]
    delegate.device.limits = replace(delegate.device.limits, blocks=1)
    made.clear()
    assert_same(tflgpu_run(model, inputs, [delegate]), tflgpu_run(model, inputs), rtol=1e-5, atol=1e-6)
    assert len(made) > 1 and (6, True) not in made  # the host drives the loop: 91,506 operations an iteration
