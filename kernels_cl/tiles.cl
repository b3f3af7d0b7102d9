// out (n, oh, ow, oc) = x (n, h, w, c) convolved with weights, plus bias (oc): tiles of MR pixels by NV vectors of VW
// channels, kept in registers. A work-item takes `share` tiles one after another.
// weights: panels of NR = NV * VW channels, each (kh, kw, c, NR); `step` elements from one input channel to the next,
// `panel` from one panel to the next. zeros: the c values of a pixel in the padding.
// CODES: sums are rescaled in fixed point, or, with DOUBLES, by doubles; what x's zero point amounts to is in the bias.
// Only for OpenCL: CUDA has kernels of its own for this.

// HYBRID: every pixel's codes have a scale and a zero point of their own, and the weights' scales make floats of the sums.
// Everything is a named variable and nothing an array, which PoCL would keep in memory.

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(ACC, VW)
#define LOAD(p) CAT(convert_, V)(CAT(vload, VW)(0, p))
#define NR (VW * NV)

#if defined(HYBRID)
#define SCALES                                                                                                         \
    global const f32 *weight_scales, global const i32 *weight_sums, global const f32 *scales,                          \
        global const i32 *zero_points,
#define ENDS f32 low, f32 high
#define FINISH weight_scales, weight_sums, scales, zero_points, low, high
#elif defined(DOUBLES)
#define SCALES global const f64 *scales,
#define ENDS i32 out_zero, i32 low, i32 high
#define FINISH scales, out_zero, low, high
#elif defined(CODES)
#define SCALES global const i32 *multipliers, global const i32 *exponents,
#define ENDS i32 out_zero, i32 low, i32 high
#define FINISH multipliers, exponents, out_zero, low, high
#else
#define SCALES
#define ENDS f32 low, f32 high
#define FINISH low, high
#endif

// ROWS(F) is F(0) ... F(MR - 1); COLUMNS(F, i) is F(i, 0) ... F(i, NV - 1).
#if MR == 1
#define ROWS(F) F(0)
#elif MR == 2
#define ROWS(F) F(0) F(1)
#elif MR == 4
#define ROWS(F) F(0) F(1) F(2) F(3)
#elif MR == 6
#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5)
#elif MR == 8
#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#endif
#if NV == 1
#define COLUMNS(F, i) F(i, 0)
#elif NV == 2
#define COLUMNS(F, i) F(i, 0) F(i, 1)
#elif NV == 4
#define COLUMNS(F, i) F(i, 0) F(i, 1) F(i, 2) F(i, 3)
#endif

#define SUM_START(i, j) V acc##i##j = 0;
#define ROW_START(i)                                                                                                   \
    i32 at##i = min(m0 + i, pixels - 1), x##i = at##i % ow * stride_w - left;                                            \
    i32 y##i = at##i / ow % oh * stride_h - top, image##i = at##i / ow / oh * h;                                         \
    COLUMNS(SUM_START, i)
#define PIXEL(i)                                                                                                       \
    i32 iy##i = y##i + ky * dilation_h, ix##i = x##i + kx * dilation_w;                                                \
    i32 inside##i = iy##i >= 0 && iy##i < h && ix##i >= 0 && ix##i < w;                                                \
    global const X_T* a##i = inside##i ? x + ((image##i + iy##i) * w + ix##i) * c : zeros;
#define WEIGHT(i, j) V weight##j = LOAD(b + j * VW);
#define ADD(i, j) acc##i##j += value##i * weight##j;
#define ROW_ADD(i)                                                                                                     \
    V value##i = (V)((ACC)a##i[k]);                                                                                    \
    COLUMNS(ADD, i)
#define STORE(i, j) store(acc##i##j, bias, out + (m0 + i) * oc, m0 + i, n0 + j * VW, oc, FINISH);
#define ROW_STORE(i)                                                                                                   \
    if (m0 + i < pixels) {                                                                                             \
        COLUMNS(STORE, i)                                                                                              \
    }

FN void store(V acc, global const BIAS_T* bias, global OUT_T* out, i32 m, i32 n, i32 oc, SCALES ENDS) {
#if defined(HYBRID)
    ACC sums[VW];
    CAT(vstore, VW)(acc, 0, sums);
    for (i32 e = 0; e < VW; e++)
        if (n + e < oc) {
            f32 sum = (i32)sums[e] - zero_points[m] * weight_sums[n + e];
            out[n + e] = clamp_f32(bias[n + e] + sum * (scales[m] * weight_scales[n + e]), low, high);
        }
#elif defined(DOUBLES)
    ACC sums[VW];
    CAT(vstore, VW)(acc, 0, sums);
    for (i32 e = 0; e < VW; e++)
        if (n + e < oc) out[n + e] = scaled_code((i64)sums[e] + bias[n + e], scales[n + e], out_zero, low, high);
#elif defined(CODES)
    ACC sums[VW];
    CAT(vstore, VW)(acc, 0, sums);
    for (i32 e = 0; e < VW; e++)
        if (n + e < oc)
            out[n + e] = clamp_i32(mbqm((i32)sums[e] + bias[n + e], multipliers[n + e], exponents[n + e]) + out_zero,
                                   low, high);
#else
    acc += CAT(vload, VW)(0, bias + n);
    acc = acc < (V)low ? (V)low : acc;
    acc = (V)high < acc ? (V)high : acc;
    if (n + VW <= oc) {
        CAT(vstore, VW)(acc, 0, out + n);
    } else {
        f32 values[VW];
        CAT(vstore, VW)(acc, 0, values);
        for (i32 e = 0; e < VW; e++)
            if (n + e < oc) out[n + e] = values[e];
    }
#endif
}

#pragma OPENCL FP_CONTRACT ON

#ifdef ALONE
__attribute__((reqd_work_group_size(1, 1, 1)))
#endif
kernel void conv_tiles(global const X_T* restrict x, global const X_T* restrict zeros,
                       global const W_T* restrict weights, global const BIAS_T* restrict bias, SCALES
                       global OUT_T* restrict out, i32 tiles, i32 share, i32 pixels, i32 h, i32 w, i32 c, i32 oh,
                       i32 ow, i32 oc, i32 kh, i32 kw, i32 stride_h, i32 stride_w, i32 dilation_h, i32 dilation_w,
                       i32 top, i32 left, i32 step, i32 panel, ENDS) {
    i32 first = get_global_id(0) * share, last = min(first + share, tiles);
    i32 panels = (oc + NR - 1) / NR, rows = (pixels + MR - 1) / MR;
    for (i32 t = first; t < last; t++) {
#ifdef CHANNELS_FIRST
        i32 n0 = t % panels * NR, m0 = t / panels * MR;
#else
        i32 n0 = t / rows * NR, m0 = t % rows * MR;
#endif
        ROWS(ROW_START)
        global const W_T* b = weights + n0 / NR * panel;
        for (i32 ky = 0; ky < kh; ky++)
            for (i32 kx = 0; kx < kw; kx++) {
                ROWS(PIXEL)
                for (i32 k = 0; k < c; k++, b += step) {
                    COLUMNS(WEIGHT, 0)
                    ROWS(ROW_ADD)
                }
            }
        ROWS(ROW_STORE)
    }
}
