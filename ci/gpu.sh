#!/usr/bin/env bash
# Everything about CUDA that needs a GPU, in one command, under nine minutes: the suite, compute-sanitizer, flat memory, and
# benchmarks beside PyTorch. Wants Python with CuPy, NumPy, flatbuffers, pytest and, for the comparison, PyTorch; no network.
#     ci/gpu.sh [--device 0]        on a GPU; writes benchmarks/results/<gpu>-<date>.json and .md
#     ci/gpu.sh --dry-run           on the emulator, everything small: shows that this script itself works
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
device=0 dry=""
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2; shift 2 ;;
        --dry-run) device=emulator dry=1; shift ;;
        *) echo "unknown argument $1" >&2; exit 2 ;;
    esac
done
step() { printf '\n== %s (%ds)\n' "$1" "$SECONDS"; }

# The package as its wheel lays it out, since nothing can be installed without a network.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp -r tflgpu "$stage/tflgpu"
for folder in delegates kernels_cuda kernels_cl; do cp -r "$folder" "$stage/tflgpu/$folder"; done
export PYTHONPATH="$stage:$PWD/tests:$PWD/benchmarks" PYTHONDONTWRITEBYTECODE=1
[ -n "$dry" ] || export TFLGPU_CUDA_DEVICE=$device
[ -n "$dry" ] || export CUPY_CACHE_DIR="$stage/kernels"

step "machine"
"$python" --version
[ -n "$dry" ] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
"$python" - <<PYTHON
import importlib
for name in ("numpy", "cupy", "torch", "pytest", "flatbuffers"):
    try:
        print(name, importlib.import_module(name).__version__)
    except ImportError as error:
        print(name, "is missing:", error)
PYTHON

failed=0
run() { timeout "$1" "${@:2}" || { echo "FAILED ($?): ${*:2}"; failed=1; }; }
suite=(tests/test_cuda.py tests/test_cuda_gpu.py tests/test_cuda_calls.py)
only=()
[ -z "$dry" ] || only=(-k "softmax or float or replayed")

step "the CUDA suite"
run 100 "$python" -m pytest -q -p no:cacheprovider "${suite[@]}" "${only[@]}"

if [ -z "$dry" ]; then
    if command -v compute-sanitizer > /dev/null; then
        for tool in memcheck racecheck; do
            step "compute-sanitizer $tool"
            run 50 compute-sanitizer --tool "$tool" --error-exitcode 9 --log-file "$stage/$tool.log" \
                "$python" -m pytest -q -x -p no:cacheprovider tests/test_cuda.py -k "operator or fast_kernel"
            tail -n 3 "$stage/$tool.log" || true
        done
    else
        echo "compute-sanitizer is not installed: the kernels' accesses were checked by the emulator only"
    fi
fi

step "flat memory"
if [ -n "$dry" ]; then run 60 "$python" ci/gpu_leak.py --device emulator --invokes 200 --resizes 20
else run 60 "$python" ci/gpu_leak.py --device "$device"; fi

step "benchmarks"
if [ -n "$dry" ]; then run 120 "$python" benchmarks/gpu.py --dry-run --seconds 1 --only mobilenet_v2
else run 270 "$python" benchmarks/gpu.py --device "$device" --seconds 200; fi

step "done"
exit "$failed"
