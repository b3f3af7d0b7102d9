// What becomes of sums that other kernels have made.
// Only for CUDA.
#include "gemm.cuh"

// out (m, n) from the sums of `slices` stretches of k, each (m, n). One thread an output.
extern "C" __global__ void gemm_finish(const sum* __restrict__ sums, const BIAS_T* __restrict__ bias, SCALES,
                                       Y_T* __restrict__ out, i32 size, i32 n, i32 slices, ENDS EXTRA) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    sum acc = 0;
    for (i32 s = 0; s < slices; s++) acc += sums[(i64)s * size + i];
    out[i] = finished(acc, bias, i / n, i % n, n, SCALES_ARGS, ENDS_ARGS EXTRA_PASSED);
}
