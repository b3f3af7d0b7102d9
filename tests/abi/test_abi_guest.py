"""Our delegates in Google's interpreters: results, resizing, buffers that stay on the device, several delegates."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from abi.guests import INTERPRETERS, WANT, Numpy, OnDevice, X, google_interpreter, interpreter, partitions, result
from sample_models import MIXED, around_a_tile, chain

import tflgpu
from tflgpu.delegates.abi import structs
from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Node


@pytest.mark.parametrize("name", INTERPRETERS)
def test_each_interpreter_of_google_s_takes_our_delegates(name: str) -> None:
    """The one that says which are not installed: the others run over those that are."""
    it = interpreter(google_interpreter(name), MIXED, Numpy())
    np.testing.assert_array_equal(result(it), WANT)
    assert partitions(it) == 2


def test_tf_lite_s_interpreter_is_one_of_them() -> None:
    module = google_interpreter("tensorflow.lite.python.interpreter")
    import tensorflow as tf

    assert tf.lite.Interpreter is module.Interpreter


@pytest.mark.parametrize("resolver", ["BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN"])
@pytest.mark.parametrize("make", [Numpy, OnDevice])
def test_google_s_kernels_and_our_partitions_run_one_graph(google: Any, resolver: str, make: Any) -> None:
    it = interpreter(google, MIXED, make(), resolver=resolver)
    for _ in range(3):
        np.testing.assert_array_equal(result(it), WANT)
    assert partitions(it) >= 2


@pytest.mark.parametrize("make", [Numpy, OnDevice])
def test_preserved_tensors_have_their_values_inside_our_partitions_too(google: Any, make: Any) -> None:
    guest = tflgpu.as_tflite_delegate(make())
    resolver = google.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    it = google.Interpreter(
        model_content=MIXED,
        experimental_delegates=[guest],
        experimental_op_resolver_type=resolver,
        experimental_preserve_all_tensors=True,
    )
    for x in (X, X + 1):
        np.testing.assert_array_equal(result(it, x), (-(3 * x) + x) * x)
        values = [2 * x, 3 * x, -(3 * x), -(3 * x) + x]
        for index, value in enumerate(values, start=1):
            np.testing.assert_array_equal(it.get_tensor(index), value)


@pytest.mark.parametrize("make", [Numpy, OnDevice])
def test_resizing_prepares_our_partitions_again(google: Any, make: Any) -> None:
    it = interpreter(google, MIXED, make())
    for shape in ((2, 3), (4, 5), (1, 1), (4, 5)):
        it.resize_tensor_input(0, shape)
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        np.testing.assert_array_equal(result(it, x), (-(x + x + x) + x) * x)


class Small(Numpy):
    """One that takes no tensor of more than eight elements."""

    def check(self, node: Node) -> None:
        super().check(node)
        if np.prod(node.outputs[0].shape) > 8:
            raise Unsupported(f"{node.outputs[0]} is too large")


def test_a_part_that_is_refused_at_a_new_shape_runs_on_our_cpu_kernels_and_says_so(google: Any) -> None:
    delegate = Small()
    guest = tflgpu.as_tflite_delegate(delegate)
    it = interpreter(google, MIXED, guest)
    np.testing.assert_array_equal(result(it), WANT)
    assert partitions(it) == 2 and len(delegate.compiled) == 2
    it.resize_tensor_input(0, (4, 5))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    with pytest.warns(RuntimeWarning, match="2 nodes from .* run on tflgpu's CPU kernels at .*too large"):
        it.allocate_tensors()
    for _ in range(2):
        np.testing.assert_array_equal(result(it, x), (-(x + x + x) + x) * x)
    assert len(delegate.compiled) == 2 and "at x [4, 5]: tensor 1 " in guest.left[1], guest.left
    it.resize_tensor_input(0, X.shape)
    np.testing.assert_array_equal(result(it), WANT)
    assert len(delegate.compiled) == 4


def test_a_partition_is_compiled_once_a_shape(google: Any) -> None:
    delegate = Numpy()
    it = interpreter(google, MIXED, delegate)
    for _ in range(3):
        it.allocate_tensors()
    assert len(delegate.compiled) == 2
    assert [[n.index for n in partition.nodes] for partition in delegate.compiled] == [[0, 1], [3, 4]]


def test_views_of_the_runtime_s_memory_are_made_once_an_address(google: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    it = interpreter(google, MIXED, Numpy())
    result(it)
    made: list[Any] = []
    plain = structs.array_at
    monkeypatch.setattr(structs, "array_at", lambda tensor, spec: made.append(spec) or plain(tensor, spec))
    for _ in range(3):
        it.set_tensor(0, X)
        it.invoke()
    assert not made
    it.resize_tensor_input(0, (40, 50))
    result(it, np.ones((40, 50), np.float32))
    assert len(made) == 5  # x and a sum of the first partition; x, what NEG made and the output of the second


def test_data_stays_on_the_device_between_our_partitions(google: Any) -> None:
    """Two delegates of which the second splits the first one's chain, so that one partition hands over to the next."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2, 3])
    a, b, c = (g.tensor(name, "FLOAT32", [2, 3]) for name in "abc")
    g.node("ADD", [x, x], [a])  # read by both of the others
    g.node("NEG", [a], [b])  # Google's
    g.node("MUL", [a, b], [c])
    g.outputs(c)
    delegate = OnDevice()
    it = interpreter(google, m.build(), delegate)
    it.allocate_tensors()
    it.set_tensor(0, X)
    it.invoke()
    assert partitions(it) == 2
    # x and b go up; a comes down for NEG, and the output at the end.
    assert (delegate.device.uploads, delegate.device.downloads) == (2, 2)
    np.testing.assert_array_equal(it.get_tensor(3), -(4 * X * X))
    assert (delegate.device.uploads, delegate.device.downloads) == (2, 2)


def test_nodes_after_a_dynamic_node_stay_google_s_and_results_are_right(google: Any) -> None:
    it = interpreter(google, around_a_tile("MUL"), Numpy())
    for count in (2, 3, 1):
        got = result(it, np.float32([1, 2]), np.int32([count]))
        np.testing.assert_array_equal(got, np.tile(np.float32([4, 16]), count))
    assert partitions(it) == 1


def test_a_delegate_that_takes_nothing_changes_nothing(google: Any) -> None:
    it = interpreter(google, MIXED, Numpy(ops="COS"))
    np.testing.assert_array_equal(result(it), WANT)
    assert partitions(it) == 0


def test_two_delegates_in_order(google: Any) -> None:
    it = interpreter(google, MIXED, Numpy("ADD"), OnDevice("MUL NEG"))
    np.testing.assert_array_equal(result(it), WANT)
    assert partitions(it) == 4


def test_one_delegate_serves_several_interpreters_and_threads(google: Any) -> None:
    guest = tflgpu.as_tflite_delegate(Numpy())
    its = [google.Interpreter(model_content=MIXED, experimental_delegates=[guest]) for _ in range(3)]
    got: list[Any] = [None] * 3

    def run(i: int) -> None:
        for _ in range(20):
            got[i] = result(its[i], X + i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, y in enumerate(got):
        np.testing.assert_array_equal(y, (-(3 * (X + i)) + (X + i)) * (X + i))


def test_options_are_for_delegates_by_name() -> None:
    with pytest.raises(TypeError, match="options are for a delegate by name"):
        tflgpu.as_tflite_delegate(Numpy(), {"speed": 1})
    with pytest.raises(OSError, match="cannot open shared object file"):
        tflgpu.as_tflite_delegate("vulkan")


@pytest.mark.parametrize("name, options", [("opencl", {}), ("cuda", {"device": "emulator"})])
def test_our_gpu_delegates_run_in_google_s_interpreter(google: Any, name: str, options: dict[str, Any]) -> None:
    try:
        guest = tflgpu.as_tflite_delegate(name, {"min_nodes_per_partition": 1, **options})
    except (OSError, ValueError, ImportError) as error:
        pytest.skip(f"no {name} delegate here: {error}")
    # COS is Google's, so that two partitions of ours use the first one's result.
    it = google.Interpreter(
        model_content=chain("ADD", "NEG", "COS", "MUL", "ADD"),
        experimental_delegates=[tflgpu.as_tflite_delegate(_without(guest.delegate, "COS"))],
        experimental_op_resolver_type=google.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    for scale in (1, -3):
        x = X * np.float32(scale)
        np.testing.assert_allclose(result(it, x), np.cos(-2 * x) * x + x, rtol=1e-5, atol=1e-6)
    assert partitions(it) == 2


def _without(delegate: Any, op: str) -> Any:
    """The delegate, kept from an operator."""
    delegate.limits = replace(delegate.limits, skip_ops=frozenset([op]))
    return delegate
