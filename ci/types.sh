#!/usr/bin/env bash
# Runs mypy over the package as it is installed, delegates and all: mypy does not know setuptools' folder mapping.
# $1: the mypy to run.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
mypy=$(realpath -s "${1:-mypy}")
tree=build/types/tflgpu
rm -rf build/types
mkdir -p "$tree"
ln -s "$root"/tflgpu/* "$tree"
for folder in delegates kernels kernels_cl kernels_cuda; do ln -s "$root/$folder" "$tree/$folder"; done
cd build/types
# The oldest Python is the rule; but NumPy's own types from 2.5 on need 3.12: with them, the Python that runs mypy.
newest=$("$(dirname "$mypy")/python" - << 'END'
import sys, numpy
if numpy.lib.NumpyVersion(numpy.__version__) >= "2.5.0":
    print(f"--python-version={sys.version_info.major}.{sys.version_info.minor}")
END
)
"$mypy" $newest --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache"
