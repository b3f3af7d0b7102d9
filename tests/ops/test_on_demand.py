"""Operators are imported when a model has them."""

import subprocess
import sys

ROWS = """
import sys
from importlib import import_module
from tflgpu.ops import MODULES, OTHERS
from tflgpu.ops.registry import OPS

names = {f"tflgpu.ops.{module}": set(row.split()) for module, row in MODULES.items()}
listed = set().union(*names.values())
import_module(f"tflgpu.ops.{OTHERS}")
others = OPS._registered.keys() - listed
for module in names:
    import_module(module)
    expected = set().union(others, *(names[m] for m in names if m in sys.modules))
    assert OPS._registered.keys() == expected, (module, OPS._registered.keys() ^ expected)
"""

NEEDED = """
import sys
import tflgpu
from tflgpu.model.builder import ModelBuilder
from tflgpu.ops import MODULES

def families():
    return {name for name in MODULES if f"tflgpu.ops.{name}" in sys.modules}

assert not families(), families()
model = ModelBuilder()
graph = model.graph()
graph.node("RELU", [graph.input("x", "FLOAT32", [2])], [y := graph.tensor("y", "FLOAT32", [2])])
graph.outputs(y)
tflgpu.Interpreter(model_content=model.build()).allocate_tensors()
assert families() == {"elementwise.activations"}, families()
"""


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_operator_is_in_the_row_of_its_module():
    run(ROWS)


def test_a_model_imports_no_operators_but_its_own():
    run(NEEDED)
