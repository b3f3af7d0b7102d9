#!/usr/bin/env bash
# Brings the OpenCL implementations that the tests name, and says which are there: Intel's runtime for CPUs, from PyPI, and
# from Debian's and Ubuntu's archives PoCL and Mesa's Rusticl, the second and third compiler, and Oclgrind, a simulator.
# Usage: ci/opencl.sh VENV
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1/bin/python

# An earlier version of the extra brought PoCL 3.0, which does not know the CPUs of today.
"$python" -m pip uninstall --quiet --yes pocl-binary-distribution 2>/dev/null
ci/install.sh "$1" --editable '.[opencl]'

device() {
    "$python" -c "from tflgpu.delegates.opencl.choice import find_device; print(find_device('$1').version)" 2>/dev/null
}
from_apt() {
    local as_root
    as_root=$([ "$(id -u)" = 0 ] || echo "sudo --non-interactive")
    echo "apt-get install $1" >&3
    command -v apt-get && $as_root apt-get update --quiet=2 &&
        $as_root apt-get install --quiet=2 --yes --no-install-recommends "$1"
} >/dev/null 2>&1
exec 3>&1

device "intel cpu" || echo "Intel's OpenCL runtime: NOT THERE; its tests are skipped (it is for Linux x86-64)"
device portable || { from_apt pocl-opencl-icd && device portable; } ||
    echo "PoCL: NOT THERE; its tests are skipped (apt-get install pocl-opencl-icd)"
RUSTICL_ENABLE=llvmpipe device llvmpipe || { from_apt mesa-opencl-icd && RUSTICL_ENABLE=llvmpipe device llvmpipe; } ||
    echo "Mesa's Rusticl: NOT THERE; its test is skipped (apt-get install mesa-opencl-icd)"
command -v oclgrind || { from_apt oclgrind && command -v oclgrind; } ||
    echo "Oclgrind: NOT THERE; no kernel is checked for races and bounds (apt-get install oclgrind)"
