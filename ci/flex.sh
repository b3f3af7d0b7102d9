#!/usr/bin/env bash
# Runs tests/flex_against_tensorflow.py in an environment with TensorFlow: every Flex operator against TensorFlow itself.
# Usage: ci/flex.sh [--in FOLDER] [PART OF A NAME ...], where FOLDER keeps the environment (1 GB, .flex by default).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.flex
[ "${1:-}" = "--in" ] && { folder=$2; shift 2; }
[ -x "$folder/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable . tensorflow-cpu pytest
"$folder/bin/python" tests/flex_against_tensorflow.py "$@"
