// Batched GEMM, for batched_gemm.cu and batched_gemm_mma.cu: out (b, m, n) = x (b, m, k) times y (b, k, n), both
// computed at run time, with a step from one row and one column to the next. A block computes SIDE x SIDE outputs of
// matrix b = blockIdx.z, DEPTH words along k at a time.
//
// | macro                     | meaning                                                                            |
// | SIDE                      | rows and columns of a block's outputs                                              |
// | X_BATCH, Y_BATCH          | C for where matrix `b` of each begins                                              |
// | X_ALONG_K, Y_ALONG_K      | 1 where x and y are contiguous along k                                             |
// | X_WORDS, Y_WORDS          | 1 where four int8 along k are one word of memory                                   |
// | QUANTIZED, RESCALE, OUT_T | int8 less their zero points, requantized by RESCALE, or left as they are: UNSCALED |
// | HYBRID, ASYMMETRIC        | int8 y; x quantized at run time, with scales as in batched_gemm_hybrid.h           |

#ifdef HYBRID
#define QUANTIZED
#endif

#ifdef QUANTIZED
typedef i32 word;
typedef i32 sum;
#define IN_T i8
#define LANES 4
#define MAC(a, b, acc) __dp4a(a, b, acc)
#else
typedef f32 word;
typedef f32 sum;
#define IN_T f32
#define OUT_T f32
#define LANES 1
#define MAC(a, b, acc) fma(a, b, acc)
#endif
#define LOADS (SIDE * DEPTH / THREADS)

#ifdef HYBRID
#define OUT_T f32
#define SCALES                                                                                                         \
    const f32 *__restrict__ y_scales, const f32 *__restrict__ scales, const i32 *__restrict__ zero_points,             \
        const i32 *__restrict__ scale_of,
#define SCALES_ARGS , y_scales, scales, zero_points, scale_of
#define BOUNDS , i32 group_rows
#define BOUNDS_ARGS , group_rows
#elif defined(QUANTIZED)
#define SCALES
#define SCALES_ARGS
#define BOUNDS , i32 x_zero, i32 y_zero, i32 multiplier, i32 exponent, i32 out_zero, i32 low, i32 high
#define BOUNDS_ARGS , x_zero, y_zero, multiplier, exponent, out_zero, low, high
#else
#define SCALES
#define BOUNDS
#endif
#define UNSCALED(acc, multiplier, exponent) (acc)

// LANES elements, from `at` on, of a row or column of k elements that begins at p; 0 after its end. whole: they are one
// word of memory.
FN word load_lanes(const IN_T* p, bool inside, i32 at, i32 k, i32 step, bool whole) {
#ifdef QUANTIZED
    if (whole) return inside && at < k ? *(const word*)(p + at) : 0;
    u32 v = 0;
    for (i32 e = 0; e < LANES; e++)
        if (inside && at + e < k) v |= (u32)(u8)p[(at + e) * step] << (8 * e);
    return v;
#else
    return inside && at < k ? p[at * step] : 0;
#endif
}

// The row and the word along k of unit u of a tile SIDE x DEPTH: neighbouring threads read neighbours in memory.
#define K_OF(u, along_k) ((along_k) ? (u) % DEPTH : (u) / SIDE)
#define ROW_OF(u, along_k) ((along_k) ? (u) / DEPTH : (u) % SIDE)

#ifdef QUANTIZED
// The output of the sum in row r of all matrices and a column, whose values sum to x_sum and y_sum.
FN OUT_T epilogue(sum total, sum x_sum, sum y_sum, i32 r, i32 column, SCALES i32 k BOUNDS) {
#ifdef HYBRID
    i32 scale = scale_of[r / group_rows] * group_rows + r % group_rows;
    f32 real = (f32)total;
#ifdef ASYMMETRIC
    real = trunc(real - (f32)y_sum * (f32)zero_points[scale]);
#endif
    return scales[scale] * y_scales[column] * real;
#else
    total = total - y_zero * x_sum - x_zero * y_sum + k * x_zero * y_zero;
    return clamp_i64((i64)RESCALE(total, multiplier, exponent) + out_zero, low, high);
#endif
}
#endif
