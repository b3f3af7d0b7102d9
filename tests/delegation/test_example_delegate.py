"""The example delegate, used directly, and installed as a package and found by its name."""

import subprocess
import sys

import numpy as np
import pytest
from checkout import EXAMPLES
from oracle import assert_same, tflgpu_run

import tflgpu
from tflgpu.model.builder import ModelBuilder

EXAMPLE = EXAMPLES / "numpy_delegate"


@pytest.fixture
def delegate(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import numpy_delegate

    return numpy_delegate.load({})


def chain(*ops, shape=(3, 5), **options):
    """x -> op(x[, x]) -> ... : one node an operator."""
    m = ModelBuilder()
    g = m.graph()
    value = g.input("x", "FLOAT32", shape)
    for number, op in enumerate(ops):
        inputs = [value, value] if op in ("ADD", "MUL") else [value]
        value = g.tensor(f"t{number}", "FLOAT32", shape)
        g.node(op, inputs if op in ("ADD", "MUL") else inputs[:1], [value], **(options if op == "ADD" else {}))
    g.outputs(value)
    return m.build()


X = np.linspace(-2, 2, 15, dtype=np.float32).reshape(3, 5)


def test_what_it_takes_is_delegated_and_right(delegate):
    data = chain("ADD", "RELU", "MUL")
    assert_same(tflgpu_run(data, [X], [delegate]), tflgpu_run(data, [X]))
    it = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
    it.allocate_tensors()
    assert it.delegation_report().startswith("numpy delegate: 3 nodes delegated out of 3 with 1 partition")
    assert [d["op_name"] for d in it._get_ops_details()] == ["ADD", "RELU", "MUL", "DELEGATE"]


def test_what_it_does_not_take_runs_on_the_cpu_and_says_why(delegate):
    data = chain("ADD", "NEG", "MUL")
    assert_same(tflgpu_run(data, [X], [delegate]), tflgpu_run(data, [X]))
    it = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
    it.allocate_tensors()
    report = it.delegation_report()
    assert "2 nodes delegated out of 3 with 2 partitions" in report
    assert "node 1 NEG stays on the CPU: numpy: only ADD, MUL and RELU" in report


def test_resizing_with_it_attached(delegate):
    data = chain("ADD", "RELU")
    it = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
    for shape in ((2, 2), (3, 5), (2, 2)):
        it.resize_tensor_input(0, shape)
        it.allocate_tensors()
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        it.set_tensor(0, x)
        it.invoke()
        np.testing.assert_array_equal(it.get_tensor(it.get_output_details()[0]["index"]), np.maximum(x + x, 0))


def test_installed_it_is_found_by_name(tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    built = subprocess.run([*pip, "--target", str(tmp_path), str(EXAMPLE)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    script = "import tflgpu; d = tflgpu.load_delegate('numpy'); print(d.name, type(d).__module__)"
    path = {"PYTHONPATH": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=path, check=True)
    assert told.stdout.split() == ["numpy", "numpy_delegate"]
    script = "import tflgpu; tflgpu.load_delegate('numpy', {'speed': 'high'})"
    refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=path)
    assert "ValueError: the numpy delegate has no options, got speed" in refused.stderr
