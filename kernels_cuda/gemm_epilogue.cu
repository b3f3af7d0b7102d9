// out (m, n) = the epilogue of sums (m, n) that cuBLAS has computed. One thread an output.
// Only for CUDA.
#include "gemm.cuh"

extern "C" __global__ void gemm_epilogue(const sum* __restrict__ sums, const BIAS_T* __restrict__ bias, SCALES
                                       Y_T* __restrict__ out, i32 size, i32 n, BOUNDS EPILOGUE_PARAMS) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < size) out[i] = epilogue(sums[i], bias, i / n, i % n, n, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS);
}
