#!/usr/bin/env bash
# Builds wheel and sdist of git's files, twice, and checks them; then uses the wheel in an environment of its own.
# Usage: ci/release.sh VENV [DIST]   VENV has hatchling, or gets it; the two files are left in DIST, if one is named.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(cd "$1" && pwd)/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -c 'import hatchling' 2> /dev/null || ci/install.sh "$1" 'hatchling>=1.26'

# The same commit gives the same bytes, whoever builds it and when.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct || date +%s)
export SOURCE_DATE_EPOCH
sources() { # git's files; where there is no git, all but what is made
    git ls-files -z || find . \( -name '.*venv*' -o -name .git -o -name __pycache__ -o -name site \) -prune -o ! -type d -print0
}
built() { # $1: sources, $2: where to
    (cd "$1" && "$python" -m hatchling build --directory "$2") > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
}
for number in 1 2; do
    mkdir "$work/source$number"
    sources | tar --create --null --files-from - | tar --extract --directory "$work/source$number"
    built "$work/source$number" "$work/dist$number"
done
mkdir "$work/unpacked"
tar --extract --strip-components=1 --directory "$work/unpacked" --file "$work"/dist1/*.tar.gz
built "$work/unpacked" "$work/dist3"
"$python" ci/check_release.py "$work/dist1" "$work/dist2" "$work/dist3"

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$work"/dist1/*.whl
(cd "$work" && "$work/venv/bin/python" - < "$OLDPWD/ci/check_wheel.py")
[ -z "${2:-}" ] || { mkdir -p "$2" && cp "$work"/dist1/* "$2" && ls -l "$2"; }
