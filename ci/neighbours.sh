#!/usr/bin/env bash
# Runs tests/opencl/test_neighbours.py in an environment with TensorFlow, PyTorch, OpenVINO, ONNX Runtime, JAX and Numba.
# Usage: ci/neighbours.sh [FOLDER], where all of it is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath --canonicalize-missing "${1:-.neighbours}")
mkdir -p "$folder"
[ -x "$folder/venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test]' \
    tensorflow-cpu torch openvino onnxruntime jax numba
ci/opencl.sh "$folder/venv"
"$folder/venv/bin/python" -m pytest --numprocesses 0 -rs tests/opencl/test_neighbours.py
