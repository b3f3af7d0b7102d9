#!/usr/bin/env bash
# Everything about CUDA that needs a GPU, in one command, under nine minutes: the suite, compute-sanitizer, flat memory, and
# benchmarks beside PyTorch. Wants Python with CuPy, NumPy, flatbuffers, pytest and, for the comparison, PyTorch; no network.
#     ci/gpu.sh [--device 0]        on a GPU; writes benchmarks/results/<gpu>-<date>.json and .md
#     ci/gpu.sh --dry-run           on the emulator, everything small: shows that this script itself works
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
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

# The package as its wheel lays it out, since nothing can be installed without a network. Commands run there: in the
# repository's root Python would find the links instead.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp -r tflgpu "$stage/tflgpu"
for folder in delegates kernels_cuda kernels_cl; do
    rm "$stage/tflgpu/$folder" # a link into the checkout
    cp -r "$folder" "$stage/tflgpu/$folder"
done
cd "$stage"
export PYTHONPATH="$stage:$root/tests" PYTHONDONTWRITEBYTECODE=1
if [ -z "$dry" ]; then # every step finds the kernels that the ones before it have compiled
    export TFLGPU_CUDA_DEVICE=$device XDG_CACHE_HOME="$stage/cache" CUPY_CACHE_DIR="$stage/cache/cupy"
fi

step "machine"
"$python" --version
[ -n "$dry" ] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv || true
"$python" - <<PYTHON
import importlib
for name in ("tflgpu", "numpy", "cupy", "torch", "pytest", "flatbuffers"):
    try:
        module = importlib.import_module(name)
        print(name, getattr(module, "__version__", module.__file__))
    except ImportError as error:
        print(name, "is missing:", error)
import tflgpu
delegate = tflgpu.load_delegate("cuda", {"device": "$device", "autotune": True})
print(delegate, *delegate.notes, sep="\n")
PYTHON

failed=0
# run SECONDS COMMAND: what takes longer is stopped, and has failed.
run() { timeout "$1" "${@:2}" || { echo "FAILED ($?): ${*:2}"; failed=1; }; }
pytest=("$python" -m pytest -q -c "$root/pyproject.toml" --rootdir "$root" -p no:cacheprovider)
suite=("$root/tests/cuda/test_cuda.py" "$root/tests/cuda/test_cuda_gpu.py" "$root/tests/cuda/test_cuda_calls.py" "$root/tests/fusion/test_patterns.py")
only=()
[ -z "$dry" ] || only=(-k "softmax or float or replayed or replays or remembered")
# Most of the time goes into compiling, which several processes do at once where pytest-xdist is there.
[ -n "$dry" ] || ! "$python" -c "import xdist" 2> /dev/null || only=(-n 8)

step "the CUDA suite"
run 130 "${pytest[@]}" "${suite[@]}" "${only[@]}"

if [ -z "$dry" ]; then
    # What is compiled only here first: a loop on several blocks, attention and rows of more than one operator.
    checked=("$root/tests/cuda/test_cuda_gpu.py" "$root/tests/fusion/test_patterns.py" "$root/tests/cuda/test_cuda.py")
    if command -v compute-sanitizer > /dev/null; then
        for tool in memcheck racecheck; do
            step "compute-sanitizer $tool, as far as it comes in its time"
            status=0
            timeout 45 compute-sanitizer --tool "$tool" --error-exitcode 9 --log-file "$stage/$tool.log" \
                "${pytest[@]}" -x "${checked[@]}" -k "blocks_share or one_launch or fast_kernel or operator" || status=$?
            tail -n 3 "$stage/$tool.log" || true
            if [ "$status" != 0 ] && [ "$status" != 124 ] || grep -q "========= \(Error\|Invalid\|Race\|Hazard\)" "$stage/$tool.log"; then
                echo "FAILED ($status): $tool"
                failed=1
            fi
        done
    else
        echo "compute-sanitizer is not installed: the kernels' accesses were checked by the emulator only"
    fi
fi

step "flat memory"
if [ -n "$dry" ]; then run 60 "$python" "$root/ci/gpu_leak.py" --device emulator --invokes 200 --resizes 20
else run 45 "$python" "$root/ci/gpu_leak.py" --device "$device"; fi

step "benchmarks"
if [ -n "$dry" ]; then run 240 "$python" "$root/benchmarks/gpu.py" --dry-run --seconds 1 --only mobilenet_v2
else run 250 "$python" "$root/benchmarks/gpu.py" --device "$device" --seconds 190; fi

step "done"
exit "$failed"
