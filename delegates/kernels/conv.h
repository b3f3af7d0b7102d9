// out (n, oh, ow, oc) = x (n, h, w, c) convolved with weights (kh, kw, c / groups, oc), plus bias (oc). One work-item
// LANES consecutive channels of a pixel, all in one group.
//
// | macro                  | meaning                                                                  |
// | FLOAT                  | conv_float: float32                                                      |
// | HYBRID                 | conv_hybrid: int8 images, each with a scale and a zero point, to float32 |
// | T, W_T, ACC_T, RESCALE | conv_integer: types of x and out, weights, sums; the requantizer         |
// | TRANSPOSED             | a transposed convolution: the window slides over out, its taps backwards |
// | LANES                  | outputs of a work-item, 1 on GPUs; size counts work-items                |
// | WEIGHT_SCALE_FIRST     | HYBRID, sums times the weight scale, then times the image's scale        |

// Runs BODY for every tap (ky, kx) with its input pixel (iy, ix).
#ifdef TRANSPOSED
#define TAPS(BODY)                                                                                                     \
    for (i32 ky = kh - 1; ky >= 0; ky--) {                                                                             \
        i32 iy = oy + top - ky * dilation_h;                                                                           \
        if (iy < 0 || iy % stride_h || iy / stride_h >= h) continue;                                                   \
        iy /= stride_h;                                                                                                \
        for (i32 kx = kw - 1; kx >= 0; kx--) {                                                                         \
            i32 ix = ox + left - kx * dilation_w;                                                                      \
            if (ix < 0 || ix % stride_w || ix / stride_w >= w) continue;                                               \
            ix /= stride_w;                                                                                            \
            BODY                                                                                                       \
        }                                                                                                              \
    }
#else
#define TAPS(BODY)                                                                                                     \
    for (i32 ky = 0; ky < kh; ky++) {                                                                                  \
        i32 iy = oy * stride_h - top + ky * dilation_h;                                                                \
        if (iy < 0 || iy >= h) continue;                                                                               \
        for (i32 kx = 0; kx < kw; kx++) {                                                                              \
            i32 ix = ox * stride_w - left + kx * dilation_w;                                                           \
            if (ix < 0 || ix >= w) continue;                                                                           \
            BODY                                                                                                       \
        }                                                                                                              \
    }
#endif

// The channels of the input pixel, and the weights of the tap, in the group of this output.
#define PIXEL (x + ((image * h + iy) * w + ix) * c + group * depth)
#define TAP (weights + (ky * kw + kx) * depth * oc + o)

#define EACH_LANE for (i32 lane = 0; lane < LANES; lane++)

#define OUTPUT_PIXEL                                                                                                   \
    i32 i = GLOBAL_ID * LANES;                                                                                         \
    if (GLOBAL_ID >= size) return;                                                                                     \
    i32 o = i % oc, ox = i / oc % ow, oy = i / oc / ow % oh, image = i / oc / ow / oh;                                 \
    i32 depth = c / groups, group = o / (oc / groups);

#ifdef FLOAT
#if LANES > 1
ONE_WORK_ITEM
#endif
KERNEL conv_float(IN(f32) RESTRICT x, IN(f32) RESTRICT weights, IN(f32) RESTRICT bias, OUT(f32) RESTRICT out, i32 size,
                  i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 oc, i32 kh, i32 kw, i32 groups, i32 stride_h, i32 stride_w,
                  i32 dilation_h, i32 dilation_w, i32 top, i32 left, f32 low, f32 high) {
    OUTPUT_PIXEL
    f32 acc[LANES];
    EACH_LANE acc[lane] = 0;
    TAPS({
        IN(f32) pixel = PIXEL;
        IN(f32) tap = TAP;
        for (i32 k = 0; k < depth; k++) EACH_LANE acc[lane] += pixel[k] * tap[k * oc + lane];
    })
    EACH_LANE out[i + lane] = clamp_f32(acc[lane] + bias[o + lane], low, high);
}
#elif defined(HYBRID)
#if LANES > 1
ONE_WORK_ITEM
#endif
KERNEL conv_hybrid(IN(i8) RESTRICT x, IN(i8) RESTRICT weights, IN(f32) RESTRICT bias, IN(f32) RESTRICT weight_scales,
                   IN(f32) RESTRICT scales, IN(i32) RESTRICT zero_points, OUT(f32) RESTRICT out, i32 size, i32 h, i32 w,
                   i32 c, i32 oh, i32 ow, i32 oc, i32 kh, i32 kw, i32 groups, i32 stride_h, i32 stride_w,
                   i32 dilation_h, i32 dilation_w, i32 top, i32 left, f32 low, f32 high) {
    OUTPUT_PIXEL
    i32 zero_point = zero_points[image];
    i32 acc[LANES];
    EACH_LANE acc[lane] = 0;
    TAPS({
        IN(i8) pixel = PIXEL;
        IN(i8) tap = TAP;
        for (i32 k = 0; k < depth; k++) EACH_LANE acc[lane] += (pixel[k] - zero_point) * tap[k * oc + lane];
    })
    EACH_LANE {
#ifdef WEIGHT_SCALE_FIRST
        f32 real = (f32)acc[lane] * weight_scales[o + lane] * scales[image];
#else
        f32 real = (f32)acc[lane] * (scales[image] * weight_scales[o + lane]);
#endif
        out[i + lane] = clamp_f32(real + bias[o + lane], low, high);
    }
}
#else
#if LANES > 1
ONE_WORK_ITEM
#endif
KERNEL conv_integer(IN(T) RESTRICT x, IN(W_T) RESTRICT weights, IN(ACC_T) RESTRICT bias, IN(i32) RESTRICT multipliers,
                    IN(i32) RESTRICT exponents, OUT(T) RESTRICT out, i32 size, i32 h, i32 w, i32 c, i32 oh, i32 ow,
                    i32 oc, i32 kh, i32 kw, i32 groups, i32 stride_h, i32 stride_w, i32 dilation_h, i32 dilation_w,
                    i32 top, i32 left, i32 x_zero, i32 weight_zero, i32 out_zero, i32 low, i32 high) {
    OUTPUT_PIXEL
    ACC_T acc[LANES];
    EACH_LANE acc[lane] = bias[o + lane];
    TAPS({
        IN(T) pixel = PIXEL;
        IN(W_T) tap = TAP;
        for (i32 k = 0; k < depth; k++) {
            i32 value = pixel[k] - x_zero;
            EACH_LANE acc[lane] += value * (tap[k * oc + lane] - weight_zero);
        }
    })
    EACH_LANE {
        i32 scaled = RESCALE(acc[lane], multipliers[o + lane], exponents[o + lane]);
        out[i + lane] = clamp_i32(scaled + out_zero, low, high);
    }
}
#endif
