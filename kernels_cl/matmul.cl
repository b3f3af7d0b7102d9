// out (b, m, n) = x (b, m, k) times y (b, k, n), plus bias (n). One work-item an output.
// FLOAT clamps; HYBRID has rows of codes with scales of their own; SCALED rescales codes by doubles; otherwise they are rescaled in fixed point.

// Of one row, work-items side by side have memory side by side, as compilers that make vectors of them like it.
#ifdef ONE_ROW
#define WHERE i32 column = i, row = 0, b = 0;
#else
#define WHERE i32 column = i % n, row = i / n % m, b = i / n / m;
#endif
#define PLACE                                                                                                          \
    i32 i = get_global_id(0);                                                                                          \
    if (i >= size) return;                                                                                             \
    WHERE                                                                                                              \
    x += X_BATCH + row * x_row;                                                                                        \
    y += Y_BATCH + column * y_column;

#define PLAIN(acc, multiplier, exponent) (acc)

#ifdef FLOAT
kernel void matmul_float(global const f32* x, global const f32* y, global const f32* bias, global f32* out, i32 size,
                         i32 m, i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column, f32 low, f32 high) {
    PLACE
    f32 acc = 0;
    for (i32 j = 0; j < k; j++) acc += x[j * x_column] * y[j * y_row];
    out[i] = clamp_f32(acc + bias[column], low, high);
}
#elif defined(HYBRID)
kernel void matmul_hybrid(global const i8* x, global const i8* y, global const f32* bias, global const f32* y_scales,
                          global const f32* scales, global const i32* zero_points, global f32* out, i32 size, i32 m,
                          i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column, f32 low, f32 high) {
    PLACE
    i32 zero_point = zero_points[row];
    i32 acc = 0;
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - zero_point) * y[j * y_row];
    out[i] = clamp_f32(bias[column] + (f32)acc * (scales[row] * y_scales[column]), low, high);
}
#elif defined(SCALED)
kernel void matmul_scaled(global const X_T* x, global const Y_T* y, global const BIAS_T* bias, global const f64* scales,
                          global OUT_T* out, i32 size, i32 m, i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row,
                          i32 y_column, i32 x_zero, i32 y_zero, i32 out_zero, i32 low, i32 high) {
    PLACE
    ACC_T acc = 0;
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - x_zero) * (y[j * y_row] - y_zero);
    out[i] = scaled_code((i64)acc + bias[column], scales[column], out_zero, low, high);
}
#else
kernel void matmul_fixed(global const X_T* x, global const Y_T* y, global const BIAS_T* bias,
                         global const i32* multipliers, global const i32* exponents, global OUT_T* out, i32 size, i32 m,
                         i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column, i32 x_zero, i32 y_zero,
                         i32 out_zero, i32 low, i32 high) {
    PLACE
    ACC_T acc = bias[column];
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - x_zero) * (y[j * y_row] - y_zero);
    i64 code = (i64)RESCALE(acc, multipliers[column], exponents[column]) + out_zero;
    out[i] = clamp_i64(code, low, high);
}
#endif
