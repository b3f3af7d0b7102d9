// out[i] = EXPR of what STEPS make of the INPUTS, for i < n: element-wise operators that feed one another.

extern "C" __global__ void chain(INPUTS OUT_T* out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    STEPS
    out[i] = EXPR;
}
