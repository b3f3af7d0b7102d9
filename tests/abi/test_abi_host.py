"""Native delegates in our interpreter, held to what the same library does in LiteRT."""

from __future__ import annotations

import ctypes
import gc
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from abi.abi_libraries import compiled
from abi.adder import DYNAMIC, NAMES, PROPAGATED, RUNTIMES, STATIC, Counts, X, interpreter, result
from oracle import one_op
from sample_models import MIXED, around_a_tile, chain

import tflgpu


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mul": 1},
        {"flags": 1, "resize": 1},
        {"flags": 3},
        {"scratch": 1},
        {"scratch": 500},
        {"handles": 1, "mul": 1},
        {"one_by_one": 1},
        {"add": 0},
    ],
    ids=str,
)
def test_results_and_nodes_are_those_of_litert(runtime: Any, options: dict[str, Any]) -> None:
    it = interpreter(runtime, MIXED, options)
    np.testing.assert_array_equal(result(it), (-(3 * X) + X) * X)
    partitions = 0 if "add" in options else 3 if "one_by_one" in options else 2
    assert [d["op_name"] for d in it._get_ops_details()] == [
        "ADD",
        "ADD",
        "NEG",
        "ADD",
        "MUL",
        *["DELEGATE"] * partitions,
    ]


@pytest.mark.parametrize("options", [STATIC, DYNAMIC, PROPAGATED], ids=str)
def test_resizing_calls_what_litert_calls(counts: Counts, options: dict[str, Any]) -> None:
    """Flags 0 undo the delegate and apply it again; 1 and 3 only prepare its kernels."""
    seen = []
    for name in RUNTIMES:
        runtime = pytest.importorskip(name) if name != "tflgpu" else tflgpu
        before = counts.all()
        it = interpreter(runtime, MIXED, options)
        assert result(it).shape == (2, 3)
        for shape in ((1, 2), (4, 5)):
            it.resize_tensor_input(0, shape)
            x = np.full(shape, 2, np.float32)
            np.testing.assert_array_equal(result(it, x), np.full(shape, -8, np.float32))
        del it
        after = counts.all()
        seen.append({key: after[key] - before[key] for key in NAMES})
    google, ours = seen
    assert google.pop("orphans") >= ours.pop("orphans") == 0
    # Google's prepares a static graph's kernels at every allocation, also where nothing has changed.
    assert google.pop("kernel_prepares") >= ours.pop("kernel_prepares") > 0
    assert ours == google
    assert ours["created"] == ours["destroyed"] == 1 and ours["inits"] == ours["frees"]


FAILURES = [
    ({"fail_prepare": 1}, "the driver says no", "Restored original execution plan after delegate application failure."),
    ({"fail_init": 1}, "no room for 2 nodes", "Failed to initialize kernel."),
    (
        {"fail_kernel_prepare": 1},
        "cannot prepare: text -7  3.14 Z 1234567890123 ff 9 ab  | 42 tail 1.5 2.5 3.5 4.5 5.5 6.5 7.5 8.5 9.5",
        "Node number 5 (NativeAdder) failed to prepare.",
    ),
    ({"fail_late": 1}, "no memory for the weights", "Node number 5 (NativeAdder) failed to prepare."),
    ({"fail_invoke": 1}, "the device is gone", "Node number 5 (NativeAdder) failed to invoke."),
    ({"fail_copy": 1, "handles": 1, "mul": 1}, "buffer 0 cannot be read", ""),
    ({"preview": 1}, "2 parts of", "Restored original execution plan"),
]


@pytest.mark.parametrize("options, theirs, upstreams", FAILURES, ids=[str(f[0]) for f in FAILURES])
def test_failures_raise_litert_s_text_and_the_library_s(
    runtime: Any, options: dict[str, Any], theirs: str, upstreams: str
) -> None:
    with pytest.raises(RuntimeError) as caught:
        result(interpreter(runtime, MIXED, options))
    assert theirs in str(caught.value) and upstreams in str(caught.value)


@pytest.mark.parametrize("options", [f[0] for f in FAILURES if set(f[0]) < {"fail_prepare", "fail_init"}], ids=str)
def test_what_fails_to_apply_fails_in_the_constructor(runtime: Any, options: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError):
        interpreter(runtime, MIXED, options)


def test_a_failed_write_leaves_no_file(counts: Counts) -> None:
    for options in ({"fail_prepare": 1}, {"fail_kernel_prepare": 1}, {"fail_invoke": 1}):
        try:
            result(interpreter(tflgpu, MIXED, options))
        except RuntimeError:
            pass
        else:
            raise AssertionError(f"{options} did not fail")
    gc.collect()  # the tracebacks held the interpreters
    assert counts.created == counts.destroyed == 3 and counts.inits == counts.frees and counts.orphans == 0


def test_a_failed_invoke_leaves_the_interpreter_usable() -> None:
    it = interpreter(tflgpu, MIXED, {"fail_invoke": 1})
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the device is gone\nNode number 5"):
            result(it)
    assert it.get_input_details()[0]["shape"].tolist() == [2, 3]


def test_a_kernel_that_makes_up_another_shape_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"tensor 2 has the shape \[2, 3\] in this graph, not \[4, 3\]"):
        interpreter(tflgpu, MIXED, {"misresize": 1})


def test_an_option_that_the_library_refuses_is_a_valueerror_in_its_words(runtime: Any) -> None:
    with pytest.raises(ValueError, match=r"Failed to load delegate from .*adder\.so\nunknown option colour"):
        runtime.load_delegate(str(compiled("adder")), {"colour": "red"})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Google's half-made object
def test_a_library_without_the_entry_points_is_refused(runtime: Any, tmp_path: Path) -> None:
    source = tmp_path / "empty.cc"
    source.write_text("")
    with pytest.raises(AttributeError, match="undefined symbol: tflite_plugin_create_delegate"):
        runtime.load_delegate(str(compiled(source)))


def test_an_opaque_delegate_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match="opaque delegates"):
        tflgpu.load_delegate(str(compiled("adder")), {"opaque": 1})


def test_everything_is_freed_at_once_with_the_last_interpreter(counts: Counts) -> None:
    delegate = tflgpu.load_delegate(str(compiled("adder")))
    first, second = (tflgpu.Interpreter(model_content=MIXED, experimental_delegates=[delegate]) for _ in range(2))
    del delegate
    np.testing.assert_array_equal(result(first), result(second))
    del first
    assert (counts.frees, counts.destroyed) == (2, 0)
    del second
    assert (counts.frees, counts.destroyed, counts.orphans) == (4, 1, 0)


def test_results_in_the_library_s_buffers_are_copied_only_when_read(counts: Counts) -> None:
    it = interpreter(tflgpu, MIXED, {"handles": 1, "mul": 1})
    it.allocate_tensors()
    it.set_tensor(0, X)
    it.invoke()
    # NEG on the CPU reads one partition's result, and invoke ends with the outputs at the host.
    assert counts.copies == 2
    it.get_tensor(it.get_output_details()[0]["index"])
    assert counts.copies == 2


def test_buffers_are_released_with_the_interpreter(counts: Counts) -> None:
    released = []
    for name in RUNTIMES:
        runtime = pytest.importorskip(name) if name != "tflgpu" else tflgpu
        before = counts.released
        it = interpreter(runtime, MIXED, {"handles": 1, "mul": 1})
        for _ in range(3):
            result(it)
        assert counts.released == before
        del it
        released.append(counts.released - before)
    assert released == [2, 2] and counts.destroyed == 2


def test_a_custom_operator_that_only_the_library_knows_runs_in_it() -> None:
    spec = {"type": "FLOAT32", "shape": [4]}
    data = one_op("Doubler", [spec], [spec], custom=b"")
    x = np.float32([1, 2, 3, 4])
    np.testing.assert_array_equal(result(interpreter(tflgpu, data, {}), x), 2 * x)
    other = one_op("Tripler", [spec], [spec], custom=b"")
    with pytest.raises(RuntimeError, match="Encountered unresolved custom op: Tripler"):
        interpreter(tflgpu, other, {})


def test_dynamic_graphs_are_for_libraries_that_allow_them(runtime: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """LiteRT says why in its log, and raises a RuntimeError without a text."""
    with pytest.raises(RuntimeError) as caught:
        interpreter(runtime, around_a_tile("ADD"), STATIC)
    text = "Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized"
    assert text in (str(caught.value) if runtime is tflgpu else capfd.readouterr().err)


@pytest.mark.parametrize("options", [DYNAMIC, PROPAGATED], ids=str)
def test_partitions_after_a_dynamic_node_are_the_library_s_too(counts: Counts, options: dict[str, Any]) -> None:
    it = interpreter(tflgpu, around_a_tile("ADD"), options)
    it.allocate_tensors()
    for n in (2, 3, 3, 1):
        it.set_tensor(0, np.float32([1, 2]))
        it.set_tensor(1, np.int32([n]))
        it.invoke()
        got = it.get_tensor(it.get_output_details()[0]["index"])
        np.testing.assert_array_equal(got, np.tile(np.float32([4, 8]), n))
    assert counts.invokes == 8
    del it
    assert counts.inits == counts.frees == 2 and counts.destroyed == 1


def test_a_constant_input_reaches_the_library() -> None:
    bias = np.float32([10, 20, 30])
    np.testing.assert_array_equal(
        result(interpreter(tflgpu, chain("ADD", "MUL", bias=bias), {"mul": 1})), (X + bias) * bias
    )


def test_google_s_delegate_objects_are_taken_too() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    delegate = litert.load_delegate(str(compiled("adder")))
    it = tflgpu.Interpreter(model_content=MIXED, experimental_delegates=[delegate])
    np.testing.assert_array_equal(result(it), (-(3 * X) + X) * X)


def test_our_native_delegate_objects_work_in_google_s_interpreter() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    delegate = tflgpu.load_delegate(str(compiled("adder")))
    it = litert.Interpreter(model_content=MIXED, experimental_delegates=[delegate])
    np.testing.assert_array_equal(result(it), (-(3 * X) + X) * X)


def test_the_structs_are_checked_when_the_module_is_imported_and_not_before() -> None:
    module = importlib.import_module("tflgpu.delegates.abi.structs")
    assert ctypes.sizeof(module.Context) == 200 and ctypes.sizeof(module.Tensor) == 112
