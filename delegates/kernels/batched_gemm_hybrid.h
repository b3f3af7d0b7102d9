// out (b, m, n) = x (b, m, k) times y (b, k, n): int8 values to float32, scaled by row and by column. A group of
// group_rows rows takes the scales of group scale_of[group]; with ASYMMETRIC, its zero points times the column sums of
// matrix weight_of[group] are subtracted. One work-item an output.

KERNEL batched_gemm_hybrid(IN(i8) RESTRICT x, IN(i8) RESTRICT y, IN(f32) RESTRICT y_scales, IN(f32) RESTRICT scales,
                    IN(i32) RESTRICT zero_points, IN(i32) RESTRICT scale_of, IN(i32) RESTRICT weight_of,
                    OUT(f32) RESTRICT out, i32 size, i32 m, i32 n, i32 k, i32 y_row, i32 y_column, i32 group_rows) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 column = i % n, row = i / n % m, b = i / n / m, group = i / n / group_rows;
    x += X_BATCH + row * k;
    i32 acc = 0, at = column * y_column, scale = scale_of[group] * group_rows + i / n % group_rows;
    for (i32 j = 0; j < k; j++) acc += x[j] * y[Y_BATCH + at + j * y_row];
    f32 total = (f32)acc;
#ifdef ASYMMETRIC
    i32 sum = 0, start = weight_of[group] * k * n + at;
    for (i32 j = 0; j < k; j++) sum += y[start + j * y_row];
    total = trunc(total - (f32)sum * (f32)zero_points[scale]);
#endif
    out[i] = scales[scale] * y_scales[column] * total;
}
