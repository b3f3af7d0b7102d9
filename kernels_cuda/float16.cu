// out[i] = x[i] rounded to float16, for i < n.
// Only for CUDA.
#include <cuda_fp16.h>

extern "C" __global__ void to_float16(const f32* __restrict__ x, half* __restrict__ out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = __float2half(x[i]);
}
