#!/usr/bin/env bash
# Makes the environment VENV unless it is there, with $PYTHON, and installs requirements into it with pip, showing a line
# of what pip does while it does it. What pip says besides, such as errors and warnings, is shown whole.
# Usage: ci/install.sh VENV REQUIREMENT...
set -euo pipefail
venv=$1
shift
[ -x "$venv/bin/python" ] || { echo "making an environment in $venv" && "${PYTHON:-python3}" -m venv "$venv"; }
echo "pip install $*"
terminal=$([ -t 1 ] && echo 1 || echo 0)
"$venv/bin/python" -m pip install --disable-pip-version-check --no-compile --progress-bar off "$@" 2>&1 |
    awk -v terminal="$terminal" -v columns="${COLUMNS:-80}" '
    function show(line) {
        if (terminal) printf "\r\033[K%s", substr(line, 1, columns - 1); else print line
        fflush()
    }
    /^ *(Requirement already|Looking in|Using cached|Preparing (editable )?metadata|Checking if|Created wheel|Stored in)/ { next }
    /^ *(Attempting uninstall|Found existing|Uninstalling|Successfully uninstalled|Successfully built|Using pip)/ { next }
    /^ *(Obtaining|Downloading [^ ]*\.metadata|Getting requirements|Installing (build|backend)|Building (wheel|editable))/ { next }
    /^ *(Collecting|Processing|Downloading|Installing collected)/ { show($0); last = 1; next }
    /^Successfully installed/ { show(NF - 2 " packages installed"); if (terminal) print ""; last = 0; next }
    { if (last && terminal) print ""; last = 0; print; fflush() }'
