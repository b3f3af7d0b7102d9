// out (b, m, n) = x (b, m, k) times y (b, k, n), of codes; what each sum is scaled by is a row's scale times a column's.
// Rows are counted in groups of group_rows, whose scales are those of group scale_of, and whose zero points times the
// column sums of matrix weight_of are taken off where ASYMMETRIC. One thread an output.

extern "C" __global__ void batch_matmul(const i8* __restrict__ x, const i8* __restrict__ y, const f32* __restrict__ y_scales, const f32* __restrict__ scales,
                         const i32* __restrict__ zero_points, const i32* __restrict__ scale_of, const i32* __restrict__ weight_of,
                         f32* __restrict__ out, i32 size, i32 m, i32 n, i32 k, i32 y_row, i32 y_column, i32 group_rows) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
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
