// GEMM, for gemm.cu, gemm_mma.cu and gemm_epilogue.cu: operand types and the epilogue.
//
// out (m, n) = x (m, k) times weights (k, n), plus bias (n). Row m of x is the window over output pixel m of images
// (h, w, c), k running over (kh, kw, c): implicit GEMM. Operands are words: a float, or four int8 along k.
//
// | macro                    | meaning                                                                          |
// | QUANTIZED                | int8 operands, requantized in fixed point; with FLOAT64_SCALES by float64 scales |
// | UNSIGNED                 | x is uint8, from which 128 is subtracted                                         |
// | HYBRID                   | int8 to float32; `each` rows of x share a scale and a zero point                 |
// | WEIGHT_SCALE_FIRST       | HYBRID, sums times the weight scale, then times the row scale                    |
// | SPLIT                    | k is divided among gridDim.z blocks: gemm_store.cuh                              |
// | EPILOGUE, _PARAMS, _ARGS | statements on `acc`, their parameters and these parameters' names                |
// w_zero: the zero point of unsigned weights less 128; it is subtracted by way of the sums of the rows of x.

#ifdef HYBRID
#define QUANTIZED
#endif

#ifdef QUANTIZED
typedef i32 word;
typedef i32 sum;
typedef int4 words;
#ifdef UNSIGNED
#define X_T u8
#define SIGNED(v) ((v) ^ 0x80808080u)
#define ZERO_POINT i32 w_zero,
#define ZERO_POINT_ARGS w_zero,
#else
#define X_T i8
#define SIGNED(v) (v)
#define ZERO_POINT
#define ZERO_POINT_ARGS
#endif
#define LANES 4
#define MAC(a, b, acc) __dp4a(a, b, acc)
#else
typedef f32 word;
typedef f32 sum;
typedef float4 words;
#define X_T f32
#define SIGNED(v) (v)
#define ZERO_POINT
#define ZERO_POINT_ARGS
#define LANES 1
#define MAC(a, b, acc) fma(a, b, acc)
#endif

#ifdef HYBRID
#define BIAS_T f32
#define Y_T f32
#else
#define BIAS_T sum
#define Y_T X_T
#endif
#if defined(QUANTIZED) && !defined(HYBRID)
typedef u32 quad;  // four outputs in a row
#else
typedef float4 quad;
#endif

#define IMAGE i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 kw, i32 sh, i32 sw, i32 dh, i32 dw, i32 top, i32 left
#define IMAGE_ARGS h, w, c, oh, ow, kw, sh, sw, dh, dw, top, left
#if defined(HYBRID)
#define SCALES                                                                                                         \
    const f32 *__restrict__ weight_scales, const i32 *__restrict__ weight_sums, const f32 *__restrict__ scales,        \
        const i32 *__restrict__ zero_points,
#define SCALES_ARGS weight_scales, weight_sums, scales, zero_points,
#define BOUNDS f32 low, f32 high, i32 each
#define BOUNDS_ARGS low, high, each
#elif defined(FLOAT64_SCALES)
#define SCALES const f64 *__restrict__ scales,
#define SCALES_ARGS scales,
#define BOUNDS i32 out_zero, i32 low, i32 high
#define BOUNDS_ARGS out_zero, low, high
#elif defined(QUANTIZED)
#define SCALES const i32 *__restrict__ multipliers, const i32 *__restrict__ exponents,
#define SCALES_ARGS multipliers, exponents,
#define BOUNDS i32 out_zero, i32 low, i32 high
#define BOUNDS_ARGS out_zero, low, high
#else
#define SCALES
#define SCALES_ARGS
#define BOUNDS f32 low, f32 high
#define BOUNDS_ARGS low, high
#endif

#ifdef SPLIT
#define PARTIALS sum *partials,
#define PARTIALS_ARGS partials,
#define COUNTERS , u32 *counters
#define COUNTERS_ARGS , counters
#else
#define PARTIALS
#define PARTIALS_ARGS
#define COUNTERS
#define COUNTERS_ARGS
#endif

// The output in row m and column n, of oc, from its sum.
FN Y_T epilogue(sum total, const BIAS_T* bias, i32 m, i32 n, i32 oc, SCALES BOUNDS EPILOGUE_PARAMS) {
    BIAS_T acc = total;
#if defined(HYBRID)
    f32 real = (f32)(total - zero_points[m / each] * weight_sums[n]);
#ifdef WEIGHT_SCALE_FIRST
    real = real * weight_scales[n] * scales[m / each];
#else
    real = real * (scales[m / each] * weight_scales[n]);
#endif
    acc = clamp_f32(real + bias[n], low, high);
#elif defined(FLOAT64_SCALES)
    acc = requantize_f64((i64)acc + bias[n], scales[n], out_zero, low, high);
#elif defined(QUANTIZED)
    acc = clamp_i32(mbqm(acc + bias[n], multipliers[n], exponents[n]) + out_zero, low, high);
#else
    acc = clamp_f32(acc + bias[n], low, high);
#endif
    EPILOGUE
    return acc;
}
