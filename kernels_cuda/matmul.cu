// out (b, m, n) = x (b, m, k) times y (b, k, n), plus bias (n). One thread an output.
// FLOAT clamps; HYBRID has rows of codes with scales of their own; SCALED rescales codes by doubles; otherwise they are
// rescaled in fixed point.

// Of one row, work-items side by side have memory side by side, as compilers that make vectors of them like it.
#ifdef ONE_ROW
#define WHERE i32 column = i, row = 0, b = 0;
#else
#define WHERE i32 column = i % n, row = i / n % m, b = i / n / m;
#endif
#define PLACE                                                                                                          \
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;                                                                     \
    if (i >= size) return;                                                                                             \
    WHERE                                                                                                              \
    x += X_BATCH + row * x_row;                                                                                        \
    y += Y_BATCH + column * y_column;

#define PLAIN(acc, multiplier, exponent) (acc)

#ifdef FLOAT
extern "C" __global__ void matmul_float(const f32* __restrict__ x, const f32* __restrict__ y,
                                        const f32* __restrict__ bias, f32* __restrict__ out, i32 size, i32 m, i32 n,
                                        i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column, f32 low, f32 high) {
    PLACE
    f32 acc = 0;
    for (i32 j = 0; j < k; j++) acc += x[j * x_column] * y[j * y_row];
    out[i] = clamp_f32(acc + bias[column], low, high);
}
#elif defined(HYBRID)
extern "C" __global__ void matmul_hybrid(const i8* __restrict__ x, const i8* __restrict__ y,
                                         const f32* __restrict__ bias, const f32* __restrict__ y_scales,
                                         const f32* __restrict__ scales, const i32* __restrict__ zero_points,
                                         f32* __restrict__ out, i32 size, i32 m, i32 n, i32 k, i32 x_row, i32 x_column,
                                         i32 y_row, i32 y_column, f32 low, f32 high) {
    PLACE
    i32 zero_point = zero_points[row];
    i32 acc = 0;
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - zero_point) * y[j * y_row];
    out[i] = clamp_f32(bias[column] + (f32)acc * (scales[row] * y_scales[column]), low, high);
}
#elif defined(SCALED)
extern "C" __global__ void matmul_scaled(const X_T* __restrict__ x, const Y_T* __restrict__ y,
                                         const BIAS_T* __restrict__ bias, const f64* __restrict__ scales,
                                         OUT_T* __restrict__ out, i32 size, i32 m, i32 n, i32 k, i32 x_row,
                                         i32 x_column, i32 y_row, i32 y_column, i32 x_zero, i32 y_zero, i32 out_zero,
                                         i32 low, i32 high) {
    PLACE
    ACC_T acc = 0;
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - x_zero) * (y[j * y_row] - y_zero);
    f64 scaled = (f64)((i64)acc + bias[column]) * scales[column];
    scaled = trunc(scaled + (scaled < 0 ? -0.49999999999999994 : 0.49999999999999994)) + out_zero;
    out[i] = scaled < low ? low : scaled > high ? high : (i32)scaled;
}
#else
extern "C" __global__ void matmul_fixed(const X_T* __restrict__ x, const Y_T* __restrict__ y,
                                        const BIAS_T* __restrict__ bias, const i32* __restrict__ multipliers,
                                        const i32* __restrict__ exponents, OUT_T* __restrict__ out, i32 size, i32 m,
                                        i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column, i32 x_zero,
                                        i32 y_zero, i32 out_zero, i32 low, i32 high) {
    PLACE
    ACC_T acc = bias[column];
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - x_zero) * (y[j * y_row] - y_zero);
    i64 code = (i64)RESCALE(acc, multipliers[column], exponents[column]) + out_zero;
    out[i] = clamp_i64(code, low, high);
}
#endif
