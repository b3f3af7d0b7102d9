#!/usr/bin/env bash
# Checks what programs make of the documentation, and builds the site strictly into site/: a link, an anchor or a name of
# the Python reference that does not exist fails it. tests/test_docs.py runs snippets and commands, tests/examples the
# examples and the notebooks.
# Usage: ci/docs.sh VENV
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
"$venv/bin/python" -c 'import mkdocstrings_handlers.python, pyopencl, zensical' 2> /dev/null ||
    ci/install.sh "$venv" --editable '.[opencl,docs]'
for made in operators pictures plots support; do "$venv/bin/python" "docs/make_$made.py" --check; done
"$venv/bin/python" -m zensical build --strict --clean
