#!/usr/bin/env bash
# Checks everything, from a fresh clone with nothing installed but Python: lint, types, tests, and the wheel in use.
# Everything it installs goes into .venv (or $TFLGPU_VENV); PYTHON names the interpreter to build it with.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${TFLGPU_VENV:-.venv}
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

step "environment in $venv"
ci/install.sh "$venv" --editable '.[test]'

step "OpenCL runtimes"; ci/opencl.sh "$venv"

step "ruff";        "$venv/bin/ruff" check
step "ruff format"; "$venv/bin/ruff" format --check
step "mypy";        ci/types.sh "$venv/bin/mypy"
step "pytest";      "$venv/bin/python" -m pytest --numprocesses 2 "$@"
step "documentation"; ci/docs.sh "$venv"
step "fuzz"; for device in cpu opencl emulator; do "$venv/bin/python" ci/fuzz.py --device $device --seconds 8; done
step "batch jobs and the server"; ci/scale.sh quick
[ "${CI:-}" != true ] || { step "programs of others"; "$venv/bin/python" ci/clients.py; }
step "the GPU's command, on the emulator"; PYTHON="$(cd "$venv" && pwd)/bin/python" ci/gpu.sh --dry-run

step "wheel and sdist, and the wheel in an environment of its own"; ci/release.sh "$venv"
step "all passed"
