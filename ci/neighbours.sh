#!/usr/bin/env bash
# Runs tests/opencl/test_neighbours.py in an environment with TensorFlow, PyTorch, OpenVINO, ONNX Runtime, JAX and Numba, and
# with Debian's PoCL, which is unpacked and not installed. Usage: ci/neighbours.sh [FOLDER], where all of it is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath --canonicalize-missing "${1:-.neighbours}")
mkdir -p "$folder/debs"
[ -x "$folder/venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test,opencl-intel]' \
    tensorflow-cpu torch openvino onnxruntime jax numba

if command -v apt-get >/dev/null && [ ! -d "$folder/pocl" ]; then
    packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances pocl-opencl-icd | grep -E '^(lib)?(pocl|llvm|clang|hwloc)' | sort --unique)
    (cd "$folder/debs" && apt-get download --quiet=2 $packages)
    for package in "$folder"/debs/*.deb; do dpkg --extract "$package" "$folder/pocl"; done
fi
[ -d "$folder/pocl" ] && export TFLGPU_DEBIAN_POCL="$folder/pocl"
"$folder/venv/bin/python" -m pytest --numprocesses 0 -rs tests/opencl/test_neighbours.py
