"""What a session of Python shows of the public objects: help, and what their names print."""

import inspect
import pydoc
from typing import Any

import numpy as np

import tflgpu
from tflgpu.delegation.delegate import Limits
from tflgpu.model.builder import ModelBuilder


class Twice:
    name = "twice"
    limits = Limits(min_nodes=1)

    def check(self, node: Any) -> None:
        if node.op != "ABS":
            raise tflgpu.Unsupported("only ABS")

    def compile(self, partition: Any, tensors: Any) -> Any:
        self.partition = partition
        return lambda: None


def model() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    x, y, z = g.input("x", "FLOAT32", [2, 3]), g.tensor("y", "FLOAT32", [2, 3]), g.tensor("z", "FLOAT32", [2, 3])
    g.node("ABS", [x], [y])
    g.node("MUL", [y, g.constant("two", np.float32(2))], [z])
    g.outputs(z)
    m.signature("run", g, inputs={"a": x}, outputs={"out": z})
    return m.build()


def test_help_of_the_interpreter_begins_with_a_screen_of_signature_and_arguments():
    assert len(str(inspect.signature(tflgpu.Interpreter))) < 1000
    text = pydoc.plain(pydoc.render_doc(tflgpu.Interpreter))
    assert text.index("Methods defined here") < 3000 and len(text) < 12_000
    assert text.count("ChainMap") == text.count("Op(name=") == 0


def test_an_interpreter_shows_its_model_its_inputs_and_outputs_and_who_runs_it(tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(model())
    it = tflgpu.Interpreter(model_path=path, experimental_delegates=[Twice()])
    ends = "x FLOAT32[2, 3] -> z FLOAT32[2, 3]"
    assert repr(it) == f"<tflgpu.Interpreter of {path}: {ends}; 2 nodes on twice, CPU; not allocated>"
    it.resize_tensor_input(0, [4, 3])
    it.allocate_tensors()
    assert repr(it).endswith(": x FLOAT32[4, 3] -> z FLOAT32[4, 3]; 2 nodes on twice, CPU>")
    assert repr(tflgpu.Interpreter(model_content=model())).startswith("<tflgpu.Interpreter of model_content: x ")


def test_a_signature_runner_shows_how_it_is_called():
    it = tflgpu.Interpreter(model_content=model())
    assert repr(it.get_signature_runner()) == "<tflgpu.SignatureRunner run(a) -> out>"


def test_the_delegation_report_shows_as_it_prints_and_a_partition_in_a_line():
    delegate = Twice()
    it = tflgpu.Interpreter(model_content=model(), experimental_delegates=[delegate])
    it.allocate_tensors()
    report = it.delegation_report()
    assert repr(report) == str(report) and repr(report).splitlines()[0].startswith("twice delegate: 1 nodes delegated")
    assert repr(delegate.partition) == "<1 nodes on twice: 0 ABS to 0 ABS>"


def test_delegates_show_their_device_and_what_limits_them():
    delegate = tflgpu.load_delegate("opencl", {"skip_ops": "MUL"})
    assert repr(delegate).startswith("<opencl delegate on ") and "skip_ops={'MUL'}" in repr(delegate)
