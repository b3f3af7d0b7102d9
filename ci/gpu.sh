#!/usr/bin/env bash
# Everything about CUDA that needs a GPU, in one command, under nine minutes: what everything needs first, then evidence,
# then tuning. Wants Python with CuPy, NumPy, flatbuffers, threadpoolctl, pytest and, for the comparison, PyTorch and
# pyopencl, which $PYTHONPATH may lead to; no network.
#     ci/gpu.sh [--device 0]        on a GPU
#     ci/gpu.sh --dry-run           on the emulator, everything small, under four minutes: shows that this script works
# $OUT, else benchmarks/results: where results go as they are measured, so that what was done stays where it is cut off:
# <gpu>-<date>.json and .md, gpu.log, junit.xml, ncu.txt, sanitizer.txt. $CORPUS, else shared/corpus: the operator corpus
# and the zoo, of which samples run where they are.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=${PYTHON:-python3}
device=0 dry="" limit=535
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2; shift 2 ;;
        --dry-run) device=emulator dry=1 limit=240; shift ;;
        *) echo "unknown argument $1" >&2; exit 2 ;;
    esac
done

# The package as its wheel lays it out, since nothing can be installed without a network. Commands run there: in the
# repository's root Python would find the links instead.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
if [ -n "$dry" ]; then out=${OUT:-$stage/results}; else out=${OUT:-$root/benchmarks/results}; fi
mkdir -p "$out"
exec > >(tee "$out/gpu.log") 2>&1
cp -r tflgpu "$stage/tflgpu"
for folder in delegates kernels_cuda kernels_cl; do
    rm "$stage/tflgpu/$folder" # a link into the checkout
    cp -r "$folder" "$stage/tflgpu/$folder"
done
cd "$stage"
export PYTHONPATH="$stage:$root/tests${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
if [ -z "$dry" ]; then # every step finds the kernels that the ones before it have compiled
    export TFLGPU_CUDA_DEVICE=$device XDG_CACHE_HOME="$stage/cache" CUPY_CACHE_DIR="$stage/cache/cupy"
    # NVIDIA's OpenCL where its driver is there, as in containers, and no .icd file names it.
    opencl=$(find /usr/local/nvidia /usr/lib /usr/lib64 -name 'libnvidia-opencl.so.*' -print -quit 2> /dev/null || true)
    if [ -n "$opencl" ] && ! ls /etc/OpenCL/vendors/*nvidia* > /dev/null 2>&1; then
        mkdir "$stage/vendors"
        echo "$opencl" > "$stage/vendors/nvidia.icd"
        export OCL_ICD_VENDORS="$stage/vendors"
    fi
fi

failed=0
# step SECONDS NAME COMMAND: what takes longer is interrupted, so that it can still write what it has, then killed.
step() {
    local seconds=$1 name=$2 status=0
    shift 2
    [ "$seconds" -le $((limit - SECONDS)) ] || seconds=$((limit - SECONDS))
    printf '\n== %s (at %ds, for %ds)\n' "$name" "$SECONDS" "$seconds"
    if [ "$seconds" -lt 3 ]; then
        echo "SKIPPED: out of time"
        return
    fi
    timeout --signal=INT --kill-after=6 "$seconds" "$@" || status=$?
    case $status in
        0) ;;
        124 | 130 | 137) echo "CUT OFF after $seconds s: $name" ;;
        *) echo "FAILED ($status): $name"; failed=1 ;;
    esac
}
versions() {
    "$python" --version
    [ -n "$dry" ] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv || true
    "$python" - << 'PYTHON'
import importlib
for name in ("tflgpu", "numpy", "cupy", "torch", "pytest", "flatbuffers", "pyopencl"):
    try:
        module = importlib.import_module(name)
        print(name, getattr(module, "__version__", module.__file__))
    except ImportError as error:
        print(name, "is missing:", error)
PYTHON
}
gpu=("$python" "$root/benchmarks/gpu.py" --results "$out" --models "$stage/models")
if [ -n "$dry" ]; then gpu+=(--dry-run --only mobilenet_v2); else gpu+=(--device "$device"); fi
# Warnings of a newer CuPy or NumPy are no failures on the card.
pytest=("$python" -m pytest -q -c "$root/pyproject.toml" --rootdir "$root" -p no:cacheprovider -o filterwarnings=default)
suite=("$root"/tests/cuda/test_cuda_{results,tuning,bindings,delegate,epilogues,gpu,calls}.py "$root"/tests/fusion/test_patterns.py)
workers=()
if "$python" -c "import xdist" 2> /dev/null; then workers=(-n $((${dry:+-11} + 12))); fi

echo "== machine"; versions
step 40 "smoke" "$python" "$root/ci/gpu_smoke.py" --device "$device"
step 60 "programs" "${gpu[@]}" compile --seconds 60
step 80 "ours, untuned" "${gpu[@]}" ours --seconds 75
step 45 "PyTorch" "${gpu[@]}" torch --seconds 40
only=()
[ -z "$dry" ] || only=(-k "test_a_partition_is_recorded or remembers")
step 80 "the suite" "${pytest[@]}" --junitxml "$out/junit.xml" "${suite[@]}" "${workers[@]}" "${only[@]}"
step 35 "profile" "${gpu[@]}" profile --seconds 30
if [ -z "$dry" ]; then
    # What is compiled only here first: a loop on several blocks, attention and rows of more than one operator.
    few=("${pytest[@]}" -x "${suite[@]}" -k "blocks_share or one_launch or operator")
    if command -v ncu > /dev/null; then
        step 30 "ncu: tensor-core GEMM, separable GEMM, reductions" ncu --clock-control none --launch-count 12 \
            --kernel-name "regex:gemm_mma|gemm|reduce" --section SpeedOfLight --section Occupancy --log-file "$out/ncu.txt" \
            "${gpu[@]}" profile --only "mobilenet_v2|bert" --seconds 20
    fi
    if command -v compute-sanitizer > /dev/null; then
        for tool in memcheck racecheck; do
            # Calls that the delegate expects to fail are no errors.
            step 20 "compute-sanitizer $tool, as far as it comes" compute-sanitizer --tool "$tool" --report-api-errors no \
                --error-exitcode 9 --log-file "$stage/$tool.txt" "${few[@]}"
            cat "$stage/$tool.txt" >> "$out/sanitizer.txt" || true
        done
    else
        echo "compute-sanitizer is not installed: the kernels' accesses were checked by the emulator only"
    fi
fi
step 25 "OpenCL on the card" "${gpu[@]}" opencl --seconds 20
corpus=${CORPUS:-$root/shared/corpus}
if [ -z "$dry" ] && [ -e "$corpus/compare.py" ]; then
    step 30 "a sample of the operator corpus" "$python" "$corpus/compare.py" --module tflgpu --delegate cuda \
        --delegate-options "device=$device" --limit 400 --jobs 12
fi
if [ -z "$dry" ] && [ -e "$corpus/zoo/models.zip" ]; then
    step 20 "a sample of the zoo" "$python" "$corpus/zoo.py" --module tflgpu --delegate cuda \
        --delegate-options "device=$device" --model "mobilenet|face|bert"
fi
step 80 "tuned" "${gpu[@]}" tuned --seconds 75
if [ -n "$dry" ]; then step 60 "flat memory" "$python" "$root/ci/gpu_leak.py" --device emulator --invokes 200 --resizes 20
else step 30 "flat memory" "$python" "$root/ci/gpu_leak.py" --device "$device" --invokes 2000 --resizes 50; fi
step 15 "ceilings" "${gpu[@]}" ceilings
step 40 "what the model of cost says of the card" "${gpu[@]}" modelled --seconds 35
find "$out" -maxdepth 1 -name '*.txt' -size +16M -exec truncate -s 16M {} +
for file in "$out"/*.json "$out"/*.md "$out/junit.xml"; do
    [ -s "$file" ] || { echo "FAILED: no $file"; failed=1; }
done

printf '\n== done (%ds)\n' "$SECONDS"
exit "$failed"
