// Sums (SIGN + or -) and products of codes, rescaled in fixed point and clamped. One thread an output.
// X_AT, Y_AT: where output element i reads each input.

#if defined(PRODUCT)
extern "C" __global__ void product(const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ out, i32 n,
                                   i32 x_zero, i32 y_zero, i32 multiplier, i32 exponent, i32 out_zero, i32 low,
                                   i32 high) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    i32 value = mbqm((x[X_AT] - x_zero) * (y[Y_AT] - y_zero), multiplier, exponent);
    out[i] = clamp_i64((i64)value + out_zero, low, high);
}
#elif defined(SHIFTED)
extern "C" __global__ void shifted_sum(const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ out, i32 n,
                                       i32 x_shift, i32 y_shift, i32 low, i32 high) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = clamp_i32(rdbp(x[X_AT], x_shift) SIGN rdbp(y[Y_AT], y_shift), low, high);
}
#else
extern "C" __global__ void sum(const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ out, i32 n, i32 x_zero,
                               i32 y_zero, i32 bits, i32 x_multiplier, i32 x_exponent, i32 y_multiplier, i32 y_exponent,
                               i32 multiplier, i32 exponent, i32 out_zero, i32 low, i32 high) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    i32 a = mbqm((x[X_AT] - x_zero) * (1 << bits), x_multiplier, x_exponent);
    i32 b = mbqm((y[Y_AT] - y_zero) * (1 << bits), y_multiplier, y_exponent);
    out[i] = clamp_i64((i64)mbqm(a SIGN b, multiplier, exponent) + out_zero, low, high);
}
#endif
