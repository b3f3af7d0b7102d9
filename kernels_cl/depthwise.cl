// out (n, oh, ow, c) = x (n, h, w, c), each channel convolved with its own weights (kh, kw, c), plus bias (c), VW
// channels at a time. The `items` work-items share the rows of output pixels evenly, each cut into `slices` slices of
// channels.
//
// | macro                      | meaning                                                                       |
// | VW                         | channels at a time                                                            |
// | PIXELS                     | output pixels computed at once from values loaded once, with KH, KW, STRIDE_W |
// | QUANTIZED, FLOAT, EPILOGUE | the epilogue: vectors.clh                                                     |
// Only for OpenCL: CUDA has kernels of its own for this.

#pragma OPENCL FP_CONTRACT ON
#define LOAD(p) TO_FLOATS(VLOAD(p))

#ifdef QUANTIZED
#define VALUE(p) (LOAD(p) - x_zero)
#define ZERO_POINT , f32 x_zero
#define ZERO_POINT_ARGS , x_zero
#define SUMS(v) TO_INTS(v)
#define BIAS_T i32
#else
#define VALUE(p) LOAD(p)
#define ZERO_POINT
#define ZERO_POINT_ARGS
#define SUMS(v) (v)
#define BIAS_T f32
#endif

#ifdef PIXELS
#define KX0 max(-x0, 0)
#define KX1 min(w - x0, KW)
#else
#define KH kh
#define KW kw
#define KX0 (x0 < 0 ? (dilation_w - 1 - x0) / dilation_w : 0)
#define KX1 min((w - x0 + dilation_w - 1) / dilation_w, kw)
#endif
#define PUT(v, m) store(epilogue(v, bias, m, n, c, ALL, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS), out + (m) * c + n, VW)

// The sums of one output pixel, whose window begins at row y0 and column x0 of an image.
FN VF multiply(global const X_T* image, global const f32* weights, i32 y0, i32 x0, i32 h, i32 w, i32 c, i32 kh, i32 kw,
               i32 dilation_h, i32 dilation_w ZERO_POINT) {
    i32 kx1 = KX1;
    VF acc = 0;
    for (i32 ky = 0; ky < KH; ky++) {
        i32 iy = y0 + ky * dilation_h;
        if (iy < 0 || iy >= h) continue;
        for (i32 kx = KX0; kx < kx1; kx++)
            acc += VALUE(image + (iy * w + x0 + kx * dilation_w) * c) * LOAD(weights + (ky * KW + kx) * c);
    }
    return acc;
}

#ifdef PIXELS
// acc = the sums of PIXELS neighbouring output pixels; their windows begin at row y0, inside the columns of the image.
FN void multiply_pixels(VF* acc, global const X_T* image, const VF* taps, i32 y0, i32 h, i32 w, i32 c ZERO_POINT) {
    #pragma unroll
    for (i32 i = 0; i < PIXELS; i++) acc[i] = 0;
    #pragma unroll
    for (i32 ky = 0; ky < KH; ky++) {
        i32 iy = y0 + ky;
        if (iy >= 0 && iy < h) {
            VF values[(PIXELS - 1) * STRIDE_W + KW];
            #pragma unroll
            for (i32 i = 0; i < (PIXELS - 1) * STRIDE_W + KW; i++) values[i] = VALUE(image + (iy * w + i) * c);
            #pragma unroll
            for (i32 kx = 0; kx < KW; kx++)
                #pragma unroll
                for (i32 i = 0; i < PIXELS; i++) acc[i] += values[i * STRIDE_W + kx] * taps[ky * KW + kx];
        }
    }
}
#endif

ONE_WORK_ITEM
kernel void depthwise_rows(global const X_T* restrict x, global const f32* restrict weights,
                           global const BIAS_T* restrict bias, SCALES global OUT_T* restrict out, i32 rows, i32 items,
                           i32 slices, i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 kh, i32 kw, i32 stride_h, i32 stride_w,
                           i32 dilation_h, i32 dilation_w, i32 top, i32 left ZERO_POINT, BOUNDS EPILOGUE_PARAMS) {
    EVENLY(rows * slices)
    i32 slice = ((c + VW - 1) / VW + slices - 1) / slices * VW;
    for (i32 t = first; t < last; t++) {
        i32 row = t % rows, y0 = row % oh * stride_h - top;
        i32 from_channel = t / rows * slice, to_channel = min(from_channel + slice, c);
        for (i32 c0 = from_channel; c0 < to_channel; c0 += VW) {
            // The last vector may overlap the one before: its channels get the same values.
            i32 n = min(c0, c - VW), inner = ow, end = ow;
            global const X_T* image = x + row / oh * h * w * c + n;
#ifdef PIXELS
            i32 left_of = min((left + STRIDE_W - 1) / STRIDE_W, ow);
            i32 right_of = w + left >= KW ? min((w + left - KW) / STRIDE_W + 1, ow) : 0;
            if (right_of - left_of >= PIXELS) inner = left_of, end = right_of;
#endif
            for (i32 ox = 0; ox < ow; ox++) {
                if (ox == inner) {
                    ox = end;
                    if (ox == ow) break;
                }
                VF acc = multiply(image, weights + n, y0, ox * stride_w - left, h, w, c, kh, kw, dilation_h,
                                  dilation_w ZERO_POINT_ARGS);
                PUT(SUMS(acc), row * ow + ox);
            }
#ifdef PIXELS
            VF taps[KH * KW];
            #pragma unroll
            for (i32 k = 0; k < KH * KW; k++) taps[k] = VLOAD(weights + k * c + n);
            // The last pixels may overlap those before, too.
            for (i32 next = inner; next < end; next += PIXELS) {
                i32 ox = min(next, end - PIXELS);
                VF acc[PIXELS];
                multiply_pixels(acc, image + (ox * STRIDE_W - left) * c, taps, y0, h, w, c ZERO_POINT_ARGS);
#ifdef FLOAT
                #pragma unroll
                for (i32 i = 0; i < PIXELS; i++) PUT(acc[i], row * ow + ox + i);
#else
                f32 sums[PIXELS * VW];
                #pragma unroll
                for (i32 i = 0; i < PIXELS; i++) VSTORE(acc[i], sums + i * VW);
                for (i32 i = 0, m = row * ow + ox; i < PIXELS; i++, m++) PUT(SUMS(VLOAD(sums + i * VW)), m);
#endif
            }
#endif
            LOOK_UP(out + row * ow * c + n, ow, c, VW)
        }
    }
}
