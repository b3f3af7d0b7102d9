"""Our delegates in Google's interpreter: results, resizing, buffers that stay on the device, errors, lifetimes."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from oracle import litert, one_op, tflgpu_run

import tflgpu
from tflgpu.builder import ModelBuilder
from tflgpu.delegate import Limits, Unsupported
from tflgpu.graph import Array, Node
from tflgpu.memory import Tensor
from tflgpu.ops.registry import OPS, prepare
from tflgpu.partition import Part

google = pytest.importorskip("ai_edge_litert.interpreter")

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
FUNCTIONS: dict[str, Callable[..., Any]] = {"ADD": np.add, "MUL": np.multiply, "NEG": np.negative}


class Numpy:
    """Runs some operators in NumPy, and fails where it is told to."""

    name = "numpy"
    limits = Limits(min_nodes=1)

    def __init__(self, ops: str = "ADD MUL", fails: str = ""):
        self.ops, self.fails = ops.split(), fails
        self.compiled: list[Part] = []

    def check(self, node: Node) -> None:
        if self.fails == "check":
            raise KeyError("what is this node?")
        if node.op not in self.ops:
            raise Unsupported(f"no kernel for {node.op}")

    def compile(self, part: Part, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        if self.fails == "compile":
            raise RuntimeError("100% of the device's memory is in use")
        self.compiled.append(part)

        def run() -> None:
            values = {i: tensors[i].read() for i in part.inputs if i in tensors}
            values |= {s.index: s.data for n in part.nodes for s in n.inputs if s is not None and s.data is not None}
            for node in part.nodes:
                values[node.outputs[0].index] = FUNCTIONS[node.op](*(values[s.index] for s in node.inputs if s))
            if self.fails == "run":
                raise ZeroDivisionError("a kernel divided by zero")
            for i in part.outputs:
                tensors[i].write()[...] = values[i]

        return run


class Device:
    """A Place whose buffers are arrays, and which counts what moves."""

    def __init__(self) -> None:
        self.uploads = self.downloads = 0

    def allocate(self, nbytes: int) -> Array:
        return np.zeros(nbytes, np.uint8)

    def upload(self, buffer: Array, host: Array) -> None:
        self.uploads += 1
        buffer[:] = host.reshape(-1).view(np.uint8)

    def download(self, buffer: Array, host: Array) -> None:
        self.downloads += 1
        host[...] = buffer.view(host.dtype).reshape(host.shape)


class OnDevice(Numpy):
    """The same on a device: its results stay there until the host reads them."""

    def __init__(self, ops: str = "ADD MUL"):
        super().__init__(ops)
        self.device = Device()

    def compile(self, part: Part, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        def run() -> None:
            values = {i: self._view(t, t.read(self.device)) for i, t in tensors.items() if i in part.inputs}
            for node in part.nodes:
                values[node.outputs[0].index] = FUNCTIONS[node.op](*(values[s.index] for s in node.inputs if s))
            for i in part.outputs:
                self._view(tensors[i], tensors[i].write(self.device))[...] = values[i]

        return run

    @staticmethod
    def _view(tensor: Tensor, buffer: Array) -> Array:
        return buffer.view(tensor.host.dtype).reshape(tensor.host.shape)


def chain(*ops: str, shape: tuple[int, ...] = (2, 3)) -> bytes:
    """x -> op(x, x) -> op(.., x) -> …; the last tensor is the output."""
    m = ModelBuilder()
    g = m.graph()
    x = value = g.input("x", "FLOAT32", shape)
    for number, op in enumerate(ops):
        made = g.tensor(f"t{number}", "FLOAT32", shape)
        g.node(op, [value, x] if op in ("ADD", "MUL") else [value], [made])
        value = made
    g.outputs(value)
    return m.build()


MIXED = chain("ADD", "ADD", "NEG", "ADD", "MUL")
WANT = (-(3 * X) + X) * X


def interpreter(data: bytes, *delegates: Any, resolver: str = "BUILTIN_WITHOUT_DEFAULT_DELEGATES") -> Any:
    kernels = getattr(google.OpResolverType, resolver)
    guests = [tflgpu.as_tflite_delegate(delegate) for delegate in delegates]
    return google.Interpreter(model_content=data, experimental_delegates=guests, experimental_op_resolver_type=kernels)


def result(it: Any, *xs: Array) -> Array:
    it.allocate_tensors()
    for detail, x in zip(it.get_input_details(), xs or (X,), strict=True):
        it.set_tensor(detail["index"], x)
    it.invoke()
    found: Array = it.get_tensor(it.get_output_details()[0]["index"])
    return found


def parts(it: Any) -> int:
    return [d["op_name"] for d in it._get_ops_details()].count("DELEGATE")


@pytest.mark.parametrize("resolver", ["BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN"])
@pytest.mark.parametrize("make", [Numpy, OnDevice])
def test_google_s_kernels_and_our_parts_run_one_graph(resolver: str, make: Any) -> None:
    it = interpreter(MIXED, make(), resolver=resolver)
    for _ in range(3):
        np.testing.assert_array_equal(result(it), WANT)
    assert parts(it) >= 2


@pytest.mark.parametrize("make", [Numpy, OnDevice])
def test_resizing_prepares_our_parts_again(make: Any) -> None:
    it = interpreter(MIXED, make())
    for shape in ((2, 3), (4, 5), (1, 1), (4, 5)):
        it.resize_tensor_input(0, shape)
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        np.testing.assert_array_equal(result(it, x), (-(x + x + x) + x) * x)


def test_a_part_is_compiled_once_a_shape() -> None:
    delegate = Numpy()
    it = interpreter(MIXED, delegate)
    for _ in range(3):
        it.allocate_tensors()
    assert len(delegate.compiled) == 2
    assert [[n.index for n in part.nodes] for part in delegate.compiled] == [[0, 1], [3, 4]]


def test_data_stays_on_the_device_between_our_parts() -> None:
    """Two delegates of which the second splits the first one's chain, so that one part hands over to the next."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2, 3])
    a, b, c = (g.tensor(name, "FLOAT32", [2, 3]) for name in "abc")
    g.node("ADD", [x, x], [a])  # read by both of the others
    g.node("NEG", [a], [b])  # Google's
    g.node("MUL", [a, b], [c])
    g.outputs(c)
    delegate = OnDevice()
    it = interpreter(m.build(), delegate)
    it.allocate_tensors()
    it.set_tensor(0, X)
    it.invoke()
    assert parts(it) == 2
    # x and b go up; a comes down for NEG, and the output at the end.
    assert (delegate.device.uploads, delegate.device.downloads) == (2, 2)
    np.testing.assert_array_equal(it.get_tensor(3), -(4 * X * X))
    assert (delegate.device.uploads, delegate.device.downloads) == (2, 2)


def test_quantized_constants_and_options_arrive_as_in_our_interpreter() -> None:
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "INT8", [1, 5, 7, 3], scale=0.5, zero_point=3)
    rng = np.random.default_rng(1)
    w = g.constant("w", rng.integers(-9, 9, (2, 3, 3, 3), np.int8), scale=[0.25, 0.5], zero_point=[0, 0], axis=0)
    y = g.tensor("y", "INT8", [1, 5, 7, 2], scale=9.5, zero_point=-2)
    bias = g.constant("bias", np.int32([5, -7]), scale=[0.125, 0.25], zero_point=[0, 0])
    g.node("CONV_2D", [x, w, bias], [y], version=3, padding="SAME", stride_w=1, stride_h=1)
    g.outputs(y)
    seen: list[Node] = []

    class Watcher(Numpy):
        def check(self, node: Node) -> None:
            seen.append(node)
            raise Unsupported("only looking")

    values = rng.integers(-128, 127, (1, 5, 7, 3), np.int8)
    data = m.build()
    got = result(interpreter(data, Watcher()), values)
    np.testing.assert_array_equal(got, litert(data, [values], "BUILTIN_WITHOUT_DEFAULT_DELEGATES")[0])
    tflgpu_run(data, [values], [Watcher()])
    told, ours = seen[0], seen[-1]
    assert vars(told.options) == vars(ours.options) and told.version == ours.version
    for mine, other in zip((*told.inputs, *told.outputs), (*ours.inputs, *ours.outputs), strict=True):
        if mine is None or other is None:
            assert mine is other
            continue
        fields = ("index", "name", "type", "shape", "shape_signature", "is_variable")
        assert [getattr(mine, f) for f in fields] == [getattr(other, f) for f in fields]
        if other.quantization is not None:
            assert mine.quantization is not None and mine.quantization.axis == other.quantization.axis
            np.testing.assert_array_equal(mine.quantization.scale, other.quantization.scale)
            np.testing.assert_array_equal(mine.quantization.zero_point, other.quantization.zero_point)
        if other.data is not None:
            np.testing.assert_array_equal(mine.data, other.data)


class Ours:
    """Runs every node with our CPU's operators, variables in place."""

    name = "ours"
    limits = Limits(min_nodes=1)

    def check(self, node: Node) -> None:
        pass

    def compile(self, part: Part, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        runtime: Any = SimpleNamespace(state={}, ops=OPS)
        (node,) = part.nodes
        arrays = [None if s is None else tensors[s.index].host if s.data is None else s.data for s in node.inputs]
        return prepare(node, arrays, [tensors[s.index].host for s in node.outputs], runtime)


def test_variables_keep_what_our_part_wrote_and_can_be_reset() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3)).astype(np.float32)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (4, 4), (4,))]
    state = {"type": "FLOAT32", "shape": [2, 4], "is_variable": True}
    inputs = [{"type": "FLOAT32", "shape": [2, 3]}, *weights, state]
    data = one_op("RNN", inputs, [{"type": "FLOAT32", "shape": [2, 4]}], fused_activation_function="TANH")
    ours, alone = interpreter(data, Ours()), interpreter(data)
    assert parts(ours) == 1
    for it in (ours, alone):
        it.allocate_tensors()
    for turn in range(6):
        if turn == 3:
            ours.reset_all_variables()
            alone.reset_all_variables()
        for it in (ours, alone):
            it.set_tensor(it.get_input_details()[0]["index"], x)
            it.invoke()
        got, want = (it.get_tensor(it.get_output_details()[0]["index"]) for it in (ours, alone))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_parts_behind_a_dynamic_node_stay_google_s_and_results_are_right() -> None:
    m = ModelBuilder()
    g = m.graph()
    x, n = g.input("x", "FLOAT32", [2]), g.input("n", "INT32", [1])
    before, tiled, after = (g.tensor(name, "FLOAT32", [2]) for name in ("a", "t", "b"))
    g.node("ADD", [x, x], [before])
    g.node("TILE", [before, n], [tiled])
    g.node("MUL", [tiled, tiled], [after])
    g.outputs(after)
    it = interpreter(m.build(), Numpy())
    for count in (2, 3, 1):
        got = result(it, np.float32([1, 2]), np.int32([count]))
        np.testing.assert_array_equal(got, np.tile(np.float32([4, 16]), count))
    assert parts(it) == 1


@pytest.mark.parametrize(
    "fails, shown",
    [
        ("check", "KeyError: 'what is this node?'"),
        ("compile", "100% of the device's memory is in use\nNode number 5 (tflgpu numpy) failed to prepare."),
        ("run", "ZeroDivisionError: a kernel divided by zero\nNode number 5 (tflgpu numpy) failed to invoke."),
    ],
)
def test_exceptions_are_shown_in_google_s_and_kept(fails: str, shown: str) -> None:
    guest = tflgpu.as_tflite_delegate(Numpy(fails=fails))
    with pytest.raises(RuntimeError) as caught:
        kernels = google.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        it = google.Interpreter(
            model_content=MIXED, experimental_delegates=[guest], experimental_op_resolver_type=kernels
        )
        result(it)
    assert shown in str(caught.value)
    assert guest.errors and str(guest.errors[-1]) in shown and guest.errors[-1].__traceback__ is not None


def test_a_delegate_that_takes_nothing_changes_nothing() -> None:
    it = interpreter(MIXED, Numpy(ops="COS"))
    np.testing.assert_array_equal(result(it), WANT)
    assert parts(it) == 0


def test_two_delegates_in_order() -> None:
    it = interpreter(MIXED, Numpy("ADD"), OnDevice("MUL NEG"))
    np.testing.assert_array_equal(result(it), WANT)
    assert parts(it) == 4


def test_one_delegate_serves_several_interpreters_and_threads() -> None:
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


def test_a_custom_operator_that_google_does_not_know_runs_in_our_part() -> None:
    class Doubler(Numpy):
        def __init__(self) -> None:
            super().__init__("Doubler")

    FUNCTIONS["Doubler"] = lambda x: x + x
    tflgpu.custom_op("Doubler", shapes=lambda node: [node.inputs[0].shape], cpu=lambda node, x: x + x)
    try:
        spec = {"type": "FLOAT32", "shape": [4]}
        it = interpreter(one_op("Doubler", [spec], [spec], custom=b""), Doubler())
        np.testing.assert_array_equal(result(it, np.float32([1, 2, 3, 4])), np.float32([2, 4, 6, 8]))
    finally:
        del OPS["Doubler"], FUNCTIONS["Doubler"]


def test_nothing_is_kept_when_interpreter_and_delegate_go() -> None:
    module = importlib.import_module("tflgpu.delegates.abi.guest")
    registries = (module._GUESTS, module._KERNELS, module.BUFFERS)
    delegate = OnDevice()
    gone = weakref.ref(delegate)
    it = interpreter(MIXED, delegate)
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
from test_abi_guest import MIXED, WANT, X, Numpy, OnDevice, google, result
guest = tflgpu.as_tflite_delegate(OnDevice())
kept = [guest]
it = google.Interpreter(model_content=MIXED, experimental_delegates=kept)
result(it)
{body}
print("alive")
"""


def survives(body: str) -> str:
    """What a process prints that runs body, with an interpreter `it` and its delegate `guest`, also held by `kept`."""
    text = SCRIPT.format(tests=str(Path(__file__).parent), body=textwrap.dedent(body))
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


def test_a_delegate_closed_too_early_is_a_runtime_error_and_no_crash() -> None:
    told = survives("guest.close()\n" + TRIED)
    assert "RuntimeError the delegate numpy was closed, and an interpreter still runs it." in told
    assert told.count("RuntimeError") >= 2


def test_a_delegate_forgotten_by_everyone_but_the_interpreter_goes_on() -> None:
    assert survives("kept.clear()\ndel guest\ngc.collect()\n" + TRIED).startswith("worked\n")


def test_interpreters_may_go_in_any_order() -> None:
    survives(
        "others = [google.Interpreter(model_content=MIXED, experimental_delegates=kept) for _ in range(3)]\n"
        "guest.close(); del guest; kept.clear(); del it; gc.collect(); others.clear(); gc.collect()"
    )


def test_a_closed_delegate_is_refused_by_a_new_interpreter() -> None:
    guest = tflgpu.as_tflite_delegate(Numpy())
    guest.close()
    with pytest.raises(RuntimeError, match="is closed"):
        google.Interpreter(model_content=MIXED, experimental_delegates=[guest])


def test_options_are_for_delegates_by_name() -> None:
    with pytest.raises(TypeError, match="options are for a delegate by name"):
        tflgpu.as_tflite_delegate(Numpy(), {"speed": 1})
    with pytest.raises(OSError, match="cannot open shared object file"):
        tflgpu.as_tflite_delegate("vulkan")


@pytest.mark.parametrize("name, options", [("opencl", {}), ("cuda", {"device": "emulator"})])
def test_our_gpu_delegates_run_in_google_s_interpreter(name: str, options: dict[str, Any]) -> None:
    try:
        guest = tflgpu.as_tflite_delegate(name, {"min_nodes_per_partition": 1, **options})
    except (OSError, ValueError, ImportError) as error:
        pytest.skip(f"no {name} delegate here: {error}")
    # COS is Google's, so that two parts of ours share the first one's result.
    it = google.Interpreter(
        model_content=chain("ADD", "NEG", "COS", "MUL", "ADD"),
        experimental_delegates=[tflgpu.as_tflite_delegate(_without(guest.delegate, "COS"))],
        experimental_op_resolver_type=google.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    for scale in (1, -3):
        x = X * np.float32(scale)
        np.testing.assert_allclose(result(it, x), np.cos(-2 * x) * x + x, rtol=1e-5, atol=1e-6)
    assert parts(it) == 2


def _without(delegate: Any, op: str) -> Any:
    """The delegate, kept from an operator."""
    delegate.limits = replace(delegate.limits, skip_ops=frozenset([op]))
    return delegate
