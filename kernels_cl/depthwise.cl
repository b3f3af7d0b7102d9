// out (n, oh, ow, c) = x (n, h, w, c), each channel convolved with its own weights (kh, kw, c), plus bias (c), VW channels
// at a time. A work-item takes `share` rows of places one after another.
// PLACES: as many places side by side are computed from values loaded once, for KH, KW and STRIDE_W that are known.
// Only for OpenCL: CUDA has kernels of its own for this.

#pragma OPENCL FP_CONTRACT ON
#define LOAD(p) TO_FLOATS(VLOAD(p))

#ifdef CODES
#define VALUE(p) (LOAD(p) - x_zero)
#define ZERO , f32 x_zero
#define SUMS(v) TO_INTS(v)
#define BIAS_T i32
#else
#define VALUE(p) LOAD(p)
#define ZERO
#define SUMS(v) (v)
#define BIAS_T f32
#endif

#ifdef ALONE
__attribute__((reqd_work_group_size(1, 1, 1)))
#endif
kernel void depthwise_rows(global const X_T* restrict x, global const f32* restrict weights,
                           global const BIAS_T* restrict bias, SCALES global OUT_T* restrict out, i32 rows, i32 share,
                           i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 kh, i32 kw, i32 stride_h, i32 stride_w,
                           i32 dilation_h, i32 dilation_w, i32 top, i32 left ZERO, ENDS EXTRA) {
    i32 first = get_global_id(0) * share, last = min(first + share, rows);
    for (i32 row = first; row < last; row++) {
        i32 y0 = row % oh * stride_h - top, image = row / oh;
        for (i32 c0 = 0; c0 < c; c0 += VW) {
            // The last vector may lie over the one before: its channels come out the same.
            i32 n = min(c0, c - VW), ox = 0;
#ifdef PLACES
            i32 inner = y0 >= 0 && y0 + KH <= h ? min((left + STRIDE_W - 1) / STRIDE_W, ow) : ow;
            i32 end = w + left >= KW ? min((w + left - KW) / STRIDE_W + 1, ow) : 0;
#else
            i32 inner = ow;
#endif
            for (;;) {
                for (; ox < inner; ox++) {
                    i32 x0 = ox * stride_w - left;
                    VF acc = 0;
                    for (i32 ky = 0; ky < kh; ky++) {
                        i32 iy = y0 + ky * dilation_h;
                        if (iy < 0 || iy >= h) continue;
                        for (i32 kx = 0; kx < kw; kx++) {
                            i32 ix = x0 + kx * dilation_w;
                            if (ix < 0 || ix >= w) continue;
                            acc += VALUE(x + ((image * h + iy) * w + ix) * c + n) * LOAD(weights + (ky * kw + kx) * c + n);
                        }
                    }
                    i32 m = row * ow + ox;
                    store(finish(SUMS(acc), bias, m, n, c, ALL, FINISH EXTRA_PASSED), out + m * c + n, VW);
                }
                if (ox >= ow) break;
#ifdef PLACES
                VF taps[KH * KW];
                #pragma unroll
                for (i32 k = 0; k < KH * KW; k++) taps[k] = VLOAD(weights + k * c + n);
                for (; ox + PLACES <= end; ox += PLACES) {
                    global const X_T* from = x + ((image * h + y0) * w + ox * STRIDE_W - left) * c + n;
                    VF acc[PLACES];
                    #pragma unroll
                    for (i32 i = 0; i < PLACES; i++) acc[i] = 0;
                    #pragma unroll
                    for (i32 ky = 0; ky < KH; ky++) {
                        VF values[(PLACES - 1) * STRIDE_W + KW];
                        #pragma unroll
                        for (i32 i = 0; i < (PLACES - 1) * STRIDE_W + KW; i++) values[i] = VALUE(from + (ky * w + i) * c);
                        #pragma unroll
                        for (i32 kx = 0; kx < KW; kx++)
                            #pragma unroll
                            for (i32 i = 0; i < PLACES; i++) acc[i] += values[i * STRIDE_W + kx] * taps[ky * KW + kx];
                    }
#ifdef PLAIN
                    #pragma unroll
                    for (i32 i = 0; i < PLACES; i++)
                        VSTORE(finish(acc[i], bias, row * ow + ox + i, n, c, ALL, FINISH EXTRA_PASSED),
                               out + (row * ow + ox + i) * c + n);
#else
                    f32 sums[PLACES * VW];
                    #pragma unroll
                    for (i32 i = 0; i < PLACES; i++) VSTORE(acc[i], sums + i * VW);
                    for (i32 i = 0, m = row * ow + ox; i < PLACES; i++, m++)
                        store(finish(SUMS(VLOAD(sums + i * VW)), bias, m, n, c, ALL, FINISH EXTRA_PASSED),
                              out + m * c + n, VW);
#endif
                }
                inner = ow;
#endif
            }
            LOOK_UP(out + row * ow * c + n, ow, c, VW)
        }
    }
}
