#!/usr/bin/env bash
# Brings the OpenCL implementations that the tests use beside PoCL, where they can be had, and says which are there:
# Intel's runtime for CPUs, from PyPI, and Oclgrind, from Debian's and Ubuntu's archives. Usage: ci/opencl.sh VENV
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1/bin/python

if "$python" -m pip install --quiet --disable-pip-version-check --editable '.[opencl-intel]' &&
    "$python" -c 'from tflgpu.delegates.opencl.device import find_device; find_device("intel cpu")' 2>/dev/null; then
    echo "Intel's OpenCL runtime: there"
else
    echo "Intel's OpenCL runtime: NOT THERE; its tests are skipped (pip install 'tflgpu[opencl-intel]', Linux x86-64)"
fi

as_root=$([ "$(id -u)" = 0 ] || echo "sudo --non-interactive")
if ! command -v oclgrind >/dev/null && command -v apt-get >/dev/null; then
    { $as_root apt-get update --quiet=2 && $as_root apt-get install --quiet=2 --yes --no-install-recommends oclgrind; } \
        >/dev/null 2>&1 || true
fi
if command -v oclgrind >/dev/null; then
    echo "Oclgrind: there"
else
    echo "Oclgrind: NOT THERE; no kernel is checked for races and bounds (apt-get install oclgrind)"
fi
