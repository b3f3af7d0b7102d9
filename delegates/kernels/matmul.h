// out (b, m, n) = x (b, m, k) times y (b, k, n), plus bias (n), of all but matmul_fixed. One work-item an output.
//
// | macro            | meaning                                                                               |
// | FLOAT            | matmul_float: float32, clamped                                                        |
// | HYBRID           | matmul_hybrid: int8 values, each row with its own scale and zero point, to float32    |
// | SCALED           | matmul_scaled: quantized values, requantized by float64 scales                        |
// | RESCALE          | matmul_fixed: quantized values, requantized by RESCALE, or left as they are: UNSCALED |
// | X_BATCH, Y_BATCH | C for where matrix `b` of each begins                                                 |
// | ONE_ROW          | b and m are 1                                                                         |

// With one row, neighbouring work-items have neighbouring memory, so that compilers can vectorize over work-items.
#ifdef ONE_ROW
#define ROW_AND_COLUMN i32 column = i, row = 0, b = 0;
#else
#define ROW_AND_COLUMN i32 column = i % n, row = i / n % m, b = i / n / m;
#endif
#define OUTPUT_ELEMENT                                                                                                 \
    i32 i = GLOBAL_ID;                                                                                                 \
    if (i >= size) return;                                                                                             \
    ROW_AND_COLUMN                                                                                                     \
    x += X_BATCH + row * x_row;                                                                                        \
    y += Y_BATCH + column * y_column;

#define UNSCALED(acc, multiplier, exponent) (acc)

#ifdef FLOAT
KERNEL matmul_float(IN(f32) RESTRICT x, IN(f32) RESTRICT y, IN(f32) RESTRICT bias, OUT(f32) RESTRICT out, i32 size,
                    i32 m, i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column, f32 low, f32 high) {
    OUTPUT_ELEMENT
    f32 acc = 0;
    for (i32 j = 0; j < k; j++) acc += x[j * x_column] * y[j * y_row];
    out[i] = clamp_f32(acc + bias[column], low, high);
}
#elif defined(HYBRID)
KERNEL matmul_hybrid(IN(i8) RESTRICT x, IN(i8) RESTRICT y, IN(f32) RESTRICT bias, IN(f32) RESTRICT y_scales,
                     IN(f32) RESTRICT scales, IN(i32) RESTRICT zero_points, OUT(f32) RESTRICT out, i32 size, i32 m,
                     i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column, f32 low, f32 high) {
    OUTPUT_ELEMENT
    i32 zero_point = zero_points[row];
    i32 acc = 0;
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - zero_point) * y[j * y_row];
    out[i] = clamp_f32(bias[column] + (f32)acc * (scales[row] * y_scales[column]), low, high);
}
#elif defined(SCALED)
KERNEL matmul_scaled(IN(X_T) RESTRICT x, IN(Y_T) RESTRICT y, IN(BIAS_T) RESTRICT bias, IN(f64) RESTRICT scales,
                     OUT(OUT_T) RESTRICT out, i32 size, i32 m, i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row,
                     i32 y_column, i32 x_zero, i32 y_zero, i32 out_zero, i32 low, i32 high) {
    OUTPUT_ELEMENT
    ACC_T acc = 0;
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - x_zero) * (y[j * y_row] - y_zero);
    out[i] = requantize_f64((i64)acc + bias[column], scales[column], out_zero, low, high);
}
#else
KERNEL matmul_fixed(IN(X_T) RESTRICT x, IN(Y_T) RESTRICT y, IN(i32) RESTRICT multipliers, IN(i32) RESTRICT exponents,
                    OUT(OUT_T) RESTRICT out, i32 size, i32 m, i32 n, i32 k, i32 x_row, i32 x_column, i32 y_row,
                    i32 y_column, i32 x_zero, i32 y_zero, i32 out_zero, i32 low, i32 high) {
    OUTPUT_ELEMENT
    ACC_T acc = 0;
    for (i32 j = 0; j < k; j++) acc += (x[j * x_column] - x_zero) * (y[j * y_row] - y_zero);
    out[i] = clamp_i64((i64)RESCALE(acc, multipliers[column], exponents[column]) + out_zero, low, high);
}
#endif
