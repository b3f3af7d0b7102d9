#!/usr/bin/env bash
# Installs tflgpu in .venv and classifies the held-out digits on the CPU and on every delegate that is here.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${TFLGPU_VENV:-.venv}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[cli,opencl,examples]'
exec "$venv/bin/python" examples/digits/classify.py
