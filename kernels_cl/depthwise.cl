// out (n, oh, ow, c) = x (n, h, w, c), each channel convolved with its own weights (kh, kw, c), plus bias (c), VW channels
// at a time. A work-item takes `share` rows of places one after another. CODES: sums are rescaled in fixed point.
// Only for OpenCL: CUDA has kernels of its own for this.

#pragma OPENCL FP_CONTRACT ON
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(ACC, VW)
#define LOAD(p) CAT(convert_, V)(CAT(vload, VW)(0, p))

#ifdef CODES
#define SCALES global const i32 *multipliers, global const i32 *exponents,
#define ENDS i32 x_zero, i32 out_zero, i32 low, i32 high
#define VALUE(p) (LOAD(p) - x_zero)
#else
#define SCALES
#define ENDS f32 low, f32 high
#define VALUE(p) LOAD(p)
#endif

#ifdef ALONE
__attribute__((reqd_work_group_size(1, 1, 1)))
#endif
kernel void depthwise_rows(global const X_T* restrict x, global const W_T* restrict weights,
                           global const ACC* restrict bias, SCALES global OUT_T* restrict out, i32 rows, i32 share,
                           i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 kh, i32 kw, i32 stride_h, i32 stride_w,
                           i32 dilation_h, i32 dilation_w, i32 top, i32 left, ENDS) {
    i32 first = get_global_id(0) * share, last = min(first + share, rows);
    for (i32 row = first; row < last; row++) {
        i32 y0 = row % oh * stride_h - top, image = row / oh;
        for (i32 c0 = 0; c0 < c; c0 += VW) {
            // The last vector may lie over the one before: its channels come out the same.
            i32 n = min(c0, c - VW);
            V start = CAT(vload, VW)(0, bias + n);
            for (i32 ox = 0; ox < ow; ox++) {
                i32 x0 = ox * stride_w - left;
                V acc = start;
                for (i32 ky = 0; ky < kh; ky++) {
                    i32 iy = y0 + ky * dilation_h;
                    if (iy < 0 || iy >= h) continue;
                    for (i32 kx = 0; kx < kw; kx++) {
                        i32 ix = x0 + kx * dilation_w;
                        if (ix < 0 || ix >= w) continue;
                        acc += VALUE(x + ((image * h + iy) * w + ix) * c + n) * LOAD(weights + (ky * kw + kx) * c + n);
                    }
                }
                global OUT_T* to = out + (row * ow + ox) * c + n;
#ifdef CODES
                i32 sums[VW];
                CAT(vstore, VW)(acc, 0, sums);
                for (i32 e = 0; e < VW; e++)
                    to[e] = clamp_i32(mbqm(sums[e], multipliers[n + e], exponents[n + e]) + out_zero, low, high);
#else
                acc = acc < (V)low ? (V)low : acc;
                acc = (V)high < acc ? (V)high : acc;
                CAT(vstore, VW)(acc, 0, to);
#endif
            }
        }
    }
}
