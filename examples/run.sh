#!/usr/bin/env bash
# Runs a program of this folder in .venv (or $TFLGPU_VENV), where it installs what the examples need the first time:
#   examples/run.sh detection/boxes.py [arguments]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/*}
venv=${TFLGPU_VENV:-$root/.venv}
"$venv/bin/python" -c 'import PIL, pyopencl, rich, sklearn, tflgpu' 2> /dev/null ||
    "$root/ci/install.sh" "$venv" --editable "$root[cli,opencl,examples]"
program=$1
shift
exec "$venv/bin/python" "$here/$program" "$@"
