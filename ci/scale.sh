#!/usr/bin/env bash
# Tests batch jobs, the server and its real client, and with all of them Ray, in an environment of its own, .scale (or
# $TFLGPU_SCALE). TFLGPU_SOAK and TFLGPU_ZOO say how much is run, see tests/serving.
# Use: ci/scale.sh [quick]
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${TFLGPU_SCALE:-.scale}
extras=batch,serve
tests=(tests/serving/test_batch.py tests/serving/test_serve.py)
if [ "${1:-}" != quick ]; then
  extras+=,opencl,ray,examples
  tests=(tests/serving)
fi
ci/install.sh "$venv" --editable ".[$extras]" 'tritonclient[http,grpc]' 'pytest>=8'
"$venv/bin/python" -m pytest --noconftest "${tests[@]}" # whose fixtures want other packages
[ "${1:-}" = quick ] || "$venv/bin/python" ci/check_manifest.py examples/scale/inferenceservice.yaml
