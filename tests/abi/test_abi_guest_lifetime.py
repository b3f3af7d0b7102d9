"""Our delegates in Google's interpreters when something fails, or goes before what uses it."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import textwrap
import weakref
from typing import Any

import pytest
from abi.guests import Numpy, OnDevice, interpreter, result
from checkout import TESTS
from sample_models import MIXED

import tflgpu


@pytest.mark.parametrize(
    "fails, shown",
    [
        ("check", "KeyError: 'what is this node?'"),
        ("compile", "100% of the device's memory is in use\nNode number 5 (tflgpu numpy) failed to prepare."),
        ("run", "ZeroDivisionError: a kernel divided by zero\nNode number 5 (tflgpu numpy) failed to invoke."),
    ],
)
def test_exceptions_are_shown_in_google_s_and_remembered(google: Any, fails: str, shown: str) -> None:
    guest = tflgpu.as_tflite_delegate(Numpy(fails=fails))
    with pytest.raises(RuntimeError) as caught:
        kernels = google.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        it = google.Interpreter(
            model_content=MIXED, experimental_delegates=[guest], experimental_op_resolver_type=kernels
        )
        result(it)
    assert shown in str(caught.value)
    kept = guest.errors[-1]
    assert (str(kept) in shown or shown in str(kept)) and kept.__traceback__ is not None


def test_nothing_is_alive_after_interpreter_and_delegate(google: Any) -> None:
    module = importlib.import_module("tflgpu.delegates.abi.guest")
    registries = (module._GUESTS, module._KERNELS, module.BUFFERS)
    delegate = OnDevice()
    gone = weakref.ref(delegate)
    it = interpreter(google, MIXED, delegate)
    result(it)
    counts = [len(known) for known in registries]
    assert min(counts) > 0
    del delegate, it
    gc.collect()
    assert gone() is None
    left = [len(known) for known in registries]
    assert all(now < before for now, before in zip(left, counts, strict=True))


SCRIPT = """
import gc, sys
sys.path.insert(0, {tests!r})
import numpy as np
import tflgpu
from abi.guests import OnDevice, google_interpreter, result
from sample_models import MIXED
google = google_interpreter({google!r})
guest = tflgpu.as_tflite_delegate(OnDevice())
kept = [guest]
it = google.Interpreter(model_content=MIXED, experimental_delegates=kept)
result(it)
{body}
print("alive")
"""


def survives(google: Any, body: str) -> str:
    """What a process prints that runs body, with an interpreter `it` and its delegate `guest`, also held by `kept`."""
    text = SCRIPT.format(google=google.__name__, tests=str(TESTS), body=textwrap.dedent(body))
    told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0 and told.stdout.endswith("alive\n"), told.stderr[-2000:]
    return told.stdout


TRIED = """
for use in (it.invoke, lambda: it.get_tensor(5), lambda: (it.resize_tensor_input(0, [4, 3]), it.allocate_tensors())):
    try:
        use()
        print("worked")
    except (RuntimeError, ValueError) as error:
        print(type(error).__name__, error)
"""


def test_a_delegate_closed_too_early_is_a_runtime_error_and_no_crash(google: Any) -> None:
    told = survives(google, "guest.close()\n" + TRIED)
    assert "RuntimeError the delegate numpy was closed, and an interpreter still runs it." in told
    assert told.count("RuntimeError") >= 2


def test_a_delegate_forgotten_by_everyone_but_the_interpreter_goes_on(google: Any) -> None:
    assert survives(google, "kept.clear()\ndel guest\ngc.collect()\n" + TRIED).startswith("worked\n")


def test_interpreters_may_go_in_any_order(google: Any) -> None:
    survives(
        google,
        "others = [google.Interpreter(model_content=MIXED, experimental_delegates=kept) for _ in range(3)]\n"
        "guest.close(); del guest; kept.clear(); del it; gc.collect(); others.clear(); gc.collect()",
    )


def test_a_closed_delegate_is_refused_by_a_new_interpreter(google: Any) -> None:
    guest = tflgpu.as_tflite_delegate(Numpy())
    guest.close()
    with pytest.raises(RuntimeError, match="is closed"):
        google.Interpreter(model_content=MIXED, experimental_delegates=[guest])
