#!/usr/bin/env bash
# Runs mypy over the package, delegates and kernels included. $1: the mypy to run.
set -euo pipefail
cd "$(dirname "$0")/.."
mypy=${1:-mypy}
# The oldest Python is the rule; but NumPy's own types from 2.5 on need 3.12: with them, the Python that runs mypy.
newest=$("$(dirname "$mypy")/python" - << 'END'
import sys, numpy
if numpy.lib.NumpyVersion(numpy.__version__) >= "2.5.0":
    print(f"--python-version={sys.version_info.major}.{sys.version_info.minor}")
END
)
"$mypy" $newest
