"""Uses an installed wheel with the core's dependencies alone: every module and kernel source is there and works."""

import subprocess
import sys
from importlib.resources import files

import numpy as np

import tflgpu
from tflgpu.model.builder import ModelBuilder

SOURCES = {
    "tflgpu.delegates.kernels": ".h",
    "tflgpu.kernels_cl": (".cl", ".clh"),
    "tflgpu.kernels_cuda": (".cu", ".cuh"),
}
for package, suffixes in SOURCES.items():
    sources = [entry for entry in files(package).iterdir() if entry.name.endswith(suffixes)]
    assert sources and all(entry.read_text() for entry in sources), package
    print(f"{package}: {len(sources)} sources")

m = ModelBuilder()
g = m.graph()
x = g.input("x", "FLOAT32", [2, 3])
y = g.tensor("y", "FLOAT32", [2, 3])
g.node("RELU", [x], [y])
g.outputs(y)
interpreter = tflgpu.Interpreter(model_content=m.build())
interpreter.allocate_tensors()
interpreter.set_tensor(0, np.array([[-1, 0, 1], [2, -3, 4]], np.float32))
interpreter.invoke()
np.testing.assert_array_equal(interpreter.get_tensor(1), [[0, 0, 1], [2, 0, 4]])

# The command's own libraries are an extra: without them it says so, and does not fail with a traceback.
told = subprocess.run([sys.executable, "-m", "tflgpu", "doctor"], capture_output=True, text=True)
assert "tflgpu[cli]" in told.stdout + told.stderr and "Traceback" not in told.stderr, told
print(f"tflgpu {tflgpu.__version__} from the wheel: ok")
