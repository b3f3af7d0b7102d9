"""Options of delegates: which are legal, what an error lists; what is missing and how to get it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import TESTS
from kit import case, fed
from oracle import assert_same, tflgpu_run

import tflgpu
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")

NAMES = (
    *("device", "precision", "max_partitions", "min_nodes_per_partition", "only_ops", "skip_ops", "only_nodes"),
    *("skip_nodes", "require_full", "cache_dir", "cache_bytes", "memory_limit", "profile"),
)


def legal_options() -> dict[str, list[Any]]:
    """For each option values that it takes, as Python and as strings."""
    return {
        "device": ["", "0", "cpu", "CPU"],
        "precision": ["fp32", "fp16"],
        "max_partitions": [0, 3, "3"],
        "min_nodes_per_partition": [0, 1, "2"],
        "only_ops": ["ABS", "ABS,NEG", ["ABS", "NEG"], ""],
        "skip_ops": ["ABS", ("ABS",), "ABS;NEG"],
        "only_nodes": [0, "0", "0-0", [0]],
        "skip_nodes": ["0", range(1), ""],
        "require_full": [False, "false", 0, "off"],
        "cache_dir": ["none", ""],
        "cache_bytes": [0, "1000000"],
        "memory_limit": [0, 10**9, "100000000"],
        "profile": [True, False, "1", "no"],
    }


ILLEGAL: dict[str, list[Any]] = {
    "precision": ["fp8", "half", "", 32],
    "max_partitions": [-1, "many", 1.5, None, ""],
    "min_nodes_per_partition": [-2, "few", "", []],
    "only_nodes": ["one", "3-", "a-b", [1.5]],
    "skip_nodes": ["-", "1-x"],
    "only_ops": [3, None],
    "skip_ops": [3, None],
    "cache_bytes": [-1, "1 GB", None],
    "memory_limit": [-1, "1 GB", None],
    "require_full": ["perhaps", 2, "", None],
    "profile": ["perhaps", -1],
    "device": ["no such device", "99"],
}


def test_every_option_that_the_delegate_knows_is_tried_here() -> None:
    from tflgpu.delegates.opencl.delegate import OPTIONS

    assert set(NAMES) <= OPTIONS.keys()
    assert legal_options().keys() == set(NAMES)


@pytest.mark.parametrize("key", NAMES)
def test_legal_values_are_taken(key: str) -> None:
    model, values = fed(case("ABS[float32,2x3x5]"))
    want = tflgpu_run(model, values)
    for value in legal_options()[key]:
        delegate = load_delegate("opencl", {key: value})
        assert_same(tflgpu_run(model, values, [delegate]), want, rtol=2e-6)


@pytest.mark.parametrize("key, value", [(key, value) for key, values in ILLEGAL.items() for value in values])
def test_illegal_values_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match="opencl delegate: "):
        load_delegate("opencl", {key: value})


@pytest.mark.parametrize("key, value", [("colour", "red"), ("Device", "")])
def test_an_option_that_is_not_known_is_named_and_every_legal_one_listed(key: str, value: Any) -> None:
    with pytest.raises(ValueError) as caught:
        load_delegate("opencl", {key: value})
    assert key in str(caught.value)
    assert all(f"{name} (" in str(caught.value) for name in NAMES)


def test_a_word_is_refused_with_the_words_there_are() -> None:
    with pytest.raises(ValueError, match=r"precision='fp8': expected one of .*fp32"):
        load_delegate("opencl", {"precision": "fp8"})


@pytest.mark.parametrize("device", ["no such device", "99", "gpu of nobody"])
def test_a_device_that_is_not_there_is_an_error_of_what_was_looked_for_what_found_and_what_to_install(
    device: str,
) -> None:
    with pytest.raises(ValueError) as caught:
        load_delegate("opencl", {"device": device})
    text = str(caught.value)
    assert f"Looked for: {'number 99' if device == '99' else repr(device)}" in text
    assert "Found: 0: " in text
    assert "Install the driver of your GPU; or, for the CPU, " in text


@pytest.mark.parametrize(
    "system, processor, wanted",
    [
        ("linux", "x86_64", "pip install 'tflgpu[opencl]'"),
        ("linux", "aarch64", "apt-get install pocl-opencl-icd"),
        ("darwin", "arm64", "conda install -c conda-forge pyopencl pocl"),
        ("win32", "AMD64", "Intel's CPU Runtime for OpenCL Applications"),
    ],
)
def test_the_error_says_what_runs_opencl_on_the_cpu_of_a_system(
    system: str, processor: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tflgpu.delegates.opencl import choice

    monkeypatch.setattr(choice.sys, "platform", system)
    monkeypatch.setattr(choice, "machine", lambda: processor)
    with pytest.raises(ValueError, match="or, for the CPU, .*" + re.escape(wanted)):
        choice.find_device("99")


def load_in_a_new_process(program: str, **environment: str) -> str:
    """What load_delegate("opencl") raises in a process where program ran before it, as "Type: text"."""
    script = (
        f"{program}\nimport tflgpu\n"
        "try:\n    print('none:', tflgpu.load_delegate('opencl'))\n"
        "except Exception as error:\n    print(type(error).__name__ + ':', error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout


def test_without_any_platform_the_error_says_so(tmp_path: Path) -> None:
    hide = f"import os, pyopencl; os.environ['PYOPENCL_HOME'] = {str(tmp_path)!r}"
    text = load_in_a_new_process(hide, OCL_ICD_VENDORS=str(tmp_path))
    assert text.startswith(
        "ValueError: opencl delegate: no such device. Looked for: any. Found: none (PoCL, where it is "
    )
    assert "set POCL_CACHE_DIR). Install" in text


def test_without_pyopencl_the_error_says_what_to_install() -> None:
    text = load_in_a_new_process("import sys; sys.modules['pyopencl'] = None")
    assert text.startswith("ValueError: opencl delegate: looked for the Python package pyopencl, found none. ")
    assert "pip install 'tflgpu[opencl]'" in text


def test_in_a_checkout_that_is_not_installed_the_error_says_so() -> None:
    text = load_in_a_new_process("import sys; sys.modules['tflgpu.delegates'] = None")
    assert text.startswith("ValueError: opencl delegate: tflgpu was imported from ")
    assert "pip install --editable ." in text


def test_tflgpu_itself_needs_no_opencl() -> None:
    assert load_in_a_new_process("import sys, tflgpu; assert 'pyopencl' not in sys.modules").startswith("none:")


def line() -> bytes:
    """ABS, NEG, ABS, NEG, ABS, one after another."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [64, 64])
    previous = x
    for number, op in enumerate(("ABS", "NEG", "ABS", "NEG", "ABS")):
        out = g.tensor(f"t{number}", "FLOAT32", [64, 64])
        g.node(op, [previous], [out])
        previous = out
    g.outputs(previous)
    return m.build()


@pytest.mark.parametrize(
    "options, taken",
    [
        ({}, 5),
        ({"only_ops": "ABS"}, 3),
        ({"skip_ops": "ABS", "min_nodes_per_partition": 1}, 2),
        ({"only_nodes": "0,1"}, 2),
        ({"skip_nodes": "2", "min_nodes_per_partition": 1}, 4),
        ({"skip_nodes": "1", "min_nodes_per_partition": 2}, 3),
        ({"skip_nodes": "1", "max_partitions": 1, "min_nodes_per_partition": 1}, 3),
        ({"min_nodes_per_partition": 6}, 0),
    ],
    ids=str,
)
def test_options_choose_what_is_delegated_and_change_no_result(options: dict[str, Any], taken: int) -> None:
    x = np.random.default_rng(3).normal(size=(64, 64)).astype(np.float32)
    delegate = load_delegate("opencl", options)
    interpreter = tflgpu.Interpreter(model_content=line(), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    assert f"opencl delegate: {taken} nodes delegated out of 5" in interpreter.delegation_report()
    assert_same(tflgpu_run(line(), [x], [delegate]), tflgpu_run(line(), [x]))


@pytest.mark.parametrize(
    "options, told",
    [
        (
            {"only_ops": "CONV2D"},
            "option only_ops: there is no operator 'CONV2D' (did you mean 'CONV_2D'?); the model has ABS, NEG",
        ),
        ({"skip_ops": "abs"}, "option skip_ops: there is no operator 'abs' (did you mean 'ABS'?); "),
        ({"skip_ops": "mfcc"}, "option skip_ops: there is no operator 'mfcc' (did you mean 'Mfcc'?); "),
        ({"only_ops": "what is it"}, "option only_ops: there is no operator 'what is it'; the model has ABS, NEG"),
        ({"only_nodes": "3-5"}, "option only_nodes: there is no node 5; the model has nodes 0 to 4"),
        ({"skip_nodes": 99}, "option skip_nodes: there is no node 99; the model has nodes 0 to 4"),
    ],
    ids=str,
)
def test_an_operator_or_a_node_that_there_is_not_is_an_error_with_those_that_are(
    options: dict[str, Any], told: str
) -> None:
    delegate = load_delegate("opencl", options)
    with pytest.raises(ValueError, match="opencl delegate: " + re.escape(told)):
        tflgpu.Interpreter(model_content=line(), experimental_delegates=[delegate])


def test_operators_that_a_model_lacks_and_its_own_custom_ones_may_be_named() -> None:
    m = ModelBuilder()
    g = m.graph()
    x, y, z = g.input("x", "FLOAT32", [4]), g.tensor("y", "FLOAT32", [4]), g.tensor("z", "FLOAT32", [4])
    g.node("ABS", [x], [y])
    g.custom("MyVeryOwn", [y], [z])
    g.outputs(z)
    delegate = load_delegate("opencl", {"skip_ops": "MyVeryOwn,CONV_2D,FlexRFFT", "min_nodes_per_partition": 1})
    interpreter = tflgpu.Interpreter(model_content=m.build(), experimental_delegates=[delegate])
    with pytest.raises(RuntimeError, match="unresolved custom op: MyVeryOwn"):
        interpreter.allocate_tensors()


def test_require_full_refuses_a_model_that_is_not_whole_and_says_which_node_and_why() -> None:
    delegate = load_delegate("opencl", {"require_full": True, "skip_nodes": "3"})
    interpreter = tflgpu.Interpreter(model_content=line(), experimental_delegates=[delegate])
    with pytest.raises(
        RuntimeError, match=r"require_full, but 1 nodes are left:\nnode 3 NEG: opencl: the options leave"
    ):
        interpreter.allocate_tensors()


def test_the_second_process_builds_no_program(tmp_path: Path) -> None:
    script = f"""
import sys, numpy as np
sys.path.insert(0, {str(TESTS)!r})
import pyopencl as cl
from kit import fed, of_family
from oracle import tflgpu_run
from tflgpu.delegation.discovery import load_delegate
built = 0
class Program(cl.Program):
    def __init__(self, context, *rest):
        global built
        built += len(rest) == 1  # a text; devices and binaries are two
        super().__init__(context, *rest)
cl.Program = Program
for case in of_family("tiles")[::2]:
    delegate = load_delegate("opencl", {{"cache_dir": {str(tmp_path)!r}, "require_full": 1}})
    tflgpu_run(*fed(case), [delegate])
print("built", built)
"""
    outputs = []
    for _ in range(2):
        command = [sys.executable, "-W", "ignore", "-c", script]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert ran.returncode == 0, ran.stderr
        outputs.append(int(ran.stdout.split("built")[1]))
    assert outputs[0] > 5 and outputs[1] == 0
    assert len(list(tmp_path.glob("*.bin"))) == outputs[0]
