// out (m, n) = x (m, k) of int8 times 4-bit weights, plus bias (n). y: words (k / 8, n), as lowering/gemm/int4.py packs
// them; x is read in words of 4 values. One work-item a column of ROWS rows, so that neighbours read neighbouring words.
//
// | macro       | meaning                                                                                    |
// | ROWS        | rows of a work-item                                                                        |
// | QUANTIZED   | to int8, requantized by float64 scales; the bias accounts for x's zero point               |
// | BLOCKWISE   | rows quantized at run time to float32, a column has `blocks` scales (blocks, n) of SCALE_T |
// | HALF_SCALES | BLOCKWISE, scales are float16                                                              |
// Without QUANTIZED and BLOCKWISE: rows quantized at run time to float32, one scale a column.

#ifdef HALF_SCALES
#define SCALE_OF(v) from_f16(v)
#else
#define SCALE_OF(v) (v)
#endif
#ifndef BLOCKWISE
#define SCALE_T f32
#define SUM_T i32
#else
#define SUM_T f32
#endif
#ifdef QUANTIZED
#define OUT_T i8
#define OPERANDS IN(i32) RESTRICT bias, IN(f64) RESTRICT scales
#define BOUNDS i32 out_zero, i32 low, i32 high
#else
#define OUT_T f32
#define OPERANDS                                                                                                       \
    IN(f32) RESTRICT bias, IN(SCALE_T) RESTRICT weight_scales, IN(SUM_T) RESTRICT weight_sums, IN(f32) RESTRICT scales,    \
        IN(i32) RESTRICT zero_points
#define BOUNDS f32 low, f32 high
#endif

// The dot product of 4 int8 values with 4 values in the high bits of bytes, plus acc.
FN i32 dot(u32 x, u32 y, i32 acc) {
    for (i32 e = 0; e < 4; e++) acc += (i32)(i8)(x >> 8 * e) * (i32)(i8)(y >> 8 * e);
    return acc;
}

KERNEL gemm_int4(IN(u32) RESTRICT x, IN(u32) RESTRICT y, OPERANDS, OUT(OUT_T) RESTRICT out, i32 size, i32 m, i32 n,
                 i32 blocks, i32 words, BOUNDS) {
    i32 item = GLOBAL_ID;
    if (item >= size) return;
    i32 column = item % n, first = item / n * ROWS, pitch = blocks * words * 2;
    i32 acc[ROWS];
#ifdef BLOCKWISE
    f32 sums[ROWS];
    for (i32 i = 0; i < ROWS; i++) sums[i] = 0;
#endif
    y += column;
    for (i32 b = 0; b < blocks; b++) {
        for (i32 i = 0; i < ROWS; i++) acc[i] = 0;
        for (i32 w = b * words; w < (b + 1) * words; w++) {
            u32 word = y[w * n] ^ 0x88888888, lows = word << 4 & 0xf0f0f0f0, highs = word & 0xf0f0f0f0;
            for (i32 i = 0; i < ROWS; i++) {
                IN(u32) row = x + min(first + i, m - 1) * pitch + 2 * w;
                acc[i] = dot(row[1], highs, dot(row[0], lows, acc[i]));
            }
        }
        // Values in high bits are 16 times themselves.
        for (i32 i = 0; i < ROWS; i++) acc[i] >>= 4;
#ifdef BLOCKWISE
        for (i32 i = 0; i < ROWS; i++) sums[i] += (f32)acc[i] * SCALE_OF(weight_scales[b * n + column]);
#endif
    }
    for (i32 i = 0, row = first; i < ROWS && row < m; i++, row++) {
#ifdef QUANTIZED
        out[row * n + column] = requantize_f64((i64)acc[i] + bias[column], scales[column], out_zero, low, high);
#elif defined(BLOCKWISE)
        f32 sum = sums[i] - (f32)zero_points[row] * weight_sums[column];
        out[row * n + column] = clamp_f32(sum * scales[row] + bias[column], low, high);
#else
        f32 sum = (f32)(acc[i] - zero_points[row] * weight_sums[column]);
        out[row * n + column] = clamp_f32(bias[column] + sum * (scales[row] * weight_scales[column]), low, high);
#endif
    }
}
