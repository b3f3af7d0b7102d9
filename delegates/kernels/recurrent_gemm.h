// The GEMM of a step of a recurrent layer: z (rows, n) = start + x (rows, k) times w (k, n). Row r of start begins at
// start_offset + r * start_step. A work-item computes COLUMNS outputs of a row, n / COLUMNS apart.
//
// accumulate                        f32 x and w
// accumulate_hybrid (HYBRID)        int8 x, each row with its scale and zero point; w has a scale and a sum by column
// accumulate_quantized (QUANTIZED)  int8 x and w; w_sums are biases; sums are requantized and clamped
// diagonal (DIAGONAL)               z += h (rows, n) times w (n), element by element, into columns from `at` on of rows
//                                   of `width`
//
// | macro   | meaning                                |
// | COLUMNS | 1 or 4                                 |
// | W_T     | the type of w, in which sums are exact |
// | ONE_ROW | rows is 1                              |

#include "row_column.inc"
#if COLUMNS == 4
#define EACH_COLUMN(F) F(0) F(1) F(2) F(3)
#else
#define EACH_COLUMN(F) F(0)
#endif
#define SUM(c) W_T acc##c = 0;
#define ADD(c) acc##c = fma(v, w[c * across], acc##c);
#define ADD_INT8(c) acc##c += v * w[c * across];
#define STORE(c) z[c * across] = start[c * across] + acc##c;
#define STORE_HYBRID(c)                                                                                                \
    z[c * across] =                                                                                                    \
        start[c * across] + (f32)((i32)acc##c - zero_point * w_sums[c * across]) * (w_scales[c * across] * scale);

#if defined(HYBRID)
KERNEL accumulate_hybrid(IN(i8) RESTRICT x, IN(f32) RESTRICT scales, IN(i32) RESTRICT zero_points, IN(W_T) RESTRICT w,
                         IN(f32) RESTRICT w_scales, IN(i32) RESTRICT w_sums, IN(f32) start, OUT(f32) z, i32 size, i32 n,
                         i32 k, i32 start_step, i32 start_offset) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 across = n / COLUMNS, r = ROW(i, across), j = COLUMN(i, across);
    x += r * k;
    w += j;
    EACH_COLUMN(SUM)
    for (i32 q = 0; q < k; q++, w += n) {
        W_T v = x[q];
        EACH_COLUMN(ADD_INT8)
    }
    i32 zero_point = zero_points[r];
    f32 scale = scales[r];
    start += start_offset + r * start_step + j;
    z += r * n + j;
    w_scales += j;
    w_sums += j;
    EACH_COLUMN(STORE_HYBRID)
}
#elif defined(QUANTIZED)
KERNEL accumulate_quantized(IN(i8) RESTRICT x, IN(i8) RESTRICT w, IN(i32) RESTRICT w_sums, IN(i32) RESTRICT multipliers,
                            IN(i32) RESTRICT exponents, IN(i32) start, OUT(i32) z, i32 size, i32 n, i32 k,
                            i32 start_step, i32 start_offset, i32 low, i32 high) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = COLUMN(i, n);
    i32 acc = 0;
    for (i32 q = 0; q < k; q++) acc += x[r * k + q] * w[q * n + j];
    acc = (i32)((u32)acc + (u32)w_sums[j]);
    i64 sum = (i64)mbqm(acc, multipliers[j], exponents[j]) + start[start_offset + r * start_step + j];
    z[i] = (i32)clamp_i64(sum, low, high);
}
#elif defined(DIAGONAL)
KERNEL diagonal(IN(f32) RESTRICT h, IN(f32) RESTRICT w, OUT(f32) z, i32 size, i32 n, i32 width, i32 at) {
    i32 i = GLOBAL_ID;
    if (i < size) z[ROW(i, n) * width + at + COLUMN(i, n)] += h[i] * w[COLUMN(i, n)];
}
#else
KERNEL accumulate(IN(f32) RESTRICT x, IN(f32) RESTRICT w, IN(f32) start, OUT(f32) z, i32 size, i32 n, i32 k,
                  i32 start_step, i32 start_offset) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 across = n / COLUMNS, r = ROW(i, across), j = COLUMN(i, across);
    x += r * k;
    w += j;
    EACH_COLUMN(SUM)
    for (i32 q = 0; q < k; q++, w += n) {
        f32 v = x[q];
        EACH_COLUMN(ADD)
    }
    start += start_offset + r * start_step + j;
    z += r * n + j;
    EACH_COLUMN(STORE)
}
#endif
