#!/usr/bin/env bash
# Installs the delegate, shows where it runs the nodes of a model, and tests whether it is right.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/examples/*}
venv=${TFLGPU_VENV:-$root/.venv}
"$venv/bin/python" -c 'import rich, tflgpu' 2> /dev/null ||
    "$root/ci/install.sh" "$venv" --editable "$root[cli]"
"$root/ci/install.sh" "$venv" --no-deps "$here"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work" # where nothing of the repository is imported by its folder
"$venv/bin/python" - << 'END'
from tflgpu.model.builder import ModelBuilder

m = ModelBuilder("relu(x * x + x), and its square root")
g = m.graph()
x = g.input("x", "FLOAT32", [2, 3])
squared, summed, positive, root = (g.tensor(name, "FLOAT32", [2, 3]) for name in ("squared", "summed", "positive", "root"))
g.node("MUL", [x, x], [squared])
g.node("ADD", [squared, x], [summed])
g.node("RELU", [summed], [positive])
g.node("SQRT", [positive], [root])
g.outputs(root)
open("model.tflite", "wb").write(m.build())
END
"$venv/bin/python" -m tflgpu inspect model.tflite --delegate numpy
"$venv/bin/python" -m tflgpu conformance --delegate numpy --quick --cases '^(ADD|MUL|RELU|CONTRACT)\[' --output report
