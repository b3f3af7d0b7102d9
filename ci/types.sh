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
for folder in delegates kernels_cl kernels_cuda; do ln -s "$root/$folder" "$tree/$folder"; done
cd build/types
"$mypy" --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache"
