// conv_3d: out (n, od, oh, ow, oc) = x (n, d, h, w, c) convolved with weights (kd, kh, kw, c, oc), plus bias, clamped;
// TRANSPOSED: the transposed convolution with weights (kd, kh, kw, oc, c). One work-item an output.
// depth_windows (DEPTHS): out (n, od, h, w, kd, C) = the kd depths of x (n, d, h, w, C) under the window of each output
// depth, zeros outside of x.
// sum_taps (TAPS): the transposed convolution from x (n, d, h, w, kd, kh, kw, oc), x times the weights of every tap.
// CPU: a work-item of depth_windows and sum_taps computes a row (of w, or of ow), else one element.

#if defined(DEPTHS)
#ifdef CPU
ONE_WORK_ITEM
#endif
KERNEL depth_windows(IN(f32) RESTRICT x, OUT(f32) RESTRICT out, i32 size, i32 d, i32 h, i32 w, i32 od, i32 kd,
                     i32 stride, i32 dilation, i32 pad) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
#ifdef CPU
    i32 y = i % h, oz = i / h % od, image = i / h / od;
    for (i32 tap = 0; tap < kd; tap++) {
        i32 z = oz * stride - pad + tap * dilation, inside = z >= 0 && z < d;
        IN(f32) from = x + (inside ? ((i64)(image * d + z) * h + y) * w * C : 0);
        OUT(f32) to = out + ((i64)i * w * kd + tap) * C;
        for (i32 at = 0; at < w; at++, from += C, to += kd * C)
            for (i32 k = 0; k < C; k++) to[k] = inside ? from[k] : 0;
    }
#else
    i32 tap = i / C % kd, pixel = i / C / kd, row = pixel / w, y = row % h, oz = row / h % od, image = row / h / od;
    i32 z = oz * stride - pad + tap * dilation;
    out[i] = z >= 0 && z < d ? x[(((i64)(image * d + z) * h + y) * w + pixel % w) * C + i % C] : 0;
#endif
}
#else
// The input location that a tap of an output reads; negative where there is none.
#if defined(TRANSPOSED) || defined(TAPS)
#define SOURCE(o, pad, tap, dilation, stride)                                                                          \
    (((o) + (pad) - (tap) * (dilation)) % (stride) ? -1 : ((o) + (pad) - (tap) * (dilation)) / (stride))
#define WEIGHT ((tap * oc + channel) * c)
#define WEIGHT_STEP 1
#else
#define SOURCE(o, pad, tap, dilation, stride) ((o) * (stride) - (pad) + (tap) * (dilation))
#define WEIGHT (tap * c * oc + channel)
#define WEIGHT_STEP oc
#endif

#ifdef TAPS
#ifdef CPU
ONE_WORK_ITEM
#endif
KERNEL sum_taps(IN(f32) RESTRICT x, IN(f32) RESTRICT bias, OUT(f32) RESTRICT out, i32 size, i32 d, i32 h, i32 w, i32 c,
                i32 od, i32 oh, i32 ow, i32 oc, i32 kd, i32 kh, i32 kw, i32 stride_d, i32 stride_h, i32 stride_w,
                i32 dilation_d, i32 dilation_h, i32 dilation_w, i32 pad_d, i32 pad_h, i32 pad_w, f32 low, f32 high) {
    i32 i = GLOBAL_ID, taps = kd * kh * kw;
    if (i >= size) return;
#ifdef CPU
    i32 oy = i % oh, oz = i / oh % od, image = i / oh / od;
    out += (i64)i * ow * oc;
    for (i32 k = 0; k < ow * oc; k++) out[k] = bias[k % oc];
#else
    i32 channel = i % oc, ox = i / oc % ow, oy = i / oc / ow % oh, oz = i / oc / ow / oh % od;
    i32 image = i / oc / ow / oh / od;
    f32 sum = bias[channel];
#endif
    for (i32 kz = 0; kz < kd; kz++) {
        i32 z = SOURCE(oz, pad_d, kz, dilation_d, stride_d);
        if (z < 0 || z >= d) continue;
        for (i32 ky = 0; ky < kh; ky++) {
            i32 y = SOURCE(oy, pad_h, ky, dilation_h, stride_h);
            if (y < 0 || y >= h) continue;
            IN(f32) row = x + ((i64)((image * d + z) * h + y) * w * taps + (kz * kh + ky) * kw) * oc;
            for (i32 kx = 0; kx < kw; kx++, row += oc) {
#ifdef CPU
                for (i32 at = 0, to = kx * dilation_w - pad_w; at < w; at++, to += stride_w)
                    if (to >= 0 && to < ow)
                        for (i32 k = 0; k < oc; k++) out[to * oc + k] += row[(i64)at * taps * oc + k];
#else
                i32 at = SOURCE(ox, pad_w, kx, dilation_w, stride_w);
                if (at >= 0 && at < w) sum += row[(i64)at * taps * oc + channel];
#endif
            }
        }
    }
#ifdef CPU
    for (i32 k = 0; k < ow * oc; k++) out[k] = clamp_f32(out[k], low, high);
#else
    out[i] = clamp_f32(sum, low, high);
#endif
}
#else
KERNEL conv_3d(IN(f32) RESTRICT x, IN(f32) RESTRICT weights, IN(f32) RESTRICT bias, OUT(f32) RESTRICT out, i32 size,
               i32 d, i32 h, i32 w, i32 c, i32 od, i32 oh, i32 ow, i32 oc, i32 kd, i32 kh, i32 kw, i32 stride_d,
               i32 stride_h, i32 stride_w, i32 dilation_d, i32 dilation_h, i32 dilation_w, i32 pad_d, i32 pad_h,
               i32 pad_w, f32 low, f32 high) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 channel = i % oc, ox = i / oc % ow, oy = i / oc / ow % oh, oz = i / oc / ow / oh % od;
    x += i / oc / ow / oh / od * d * h * w * c;
    f32 acc = 0;
    for (i32 tap = 0; tap < kd * kh * kw; tap++) {
        i32 z = SOURCE(oz, pad_d, tap / kw / kh, dilation_d, stride_d);
        i32 y = SOURCE(oy, pad_h, tap / kw % kh, dilation_h, stride_h);
        i32 at = SOURCE(ox, pad_w, tap % kw, dilation_w, stride_w);
        if (z < 0 || z >= d || y < 0 || y >= h || at < 0 || at >= w) continue;
        for (i32 k = 0; k < c; k++) acc += x[((z * h + y) * w + at) * c + k] * weights[WEIGHT + k * WEIGHT_STEP];
    }
    out[i] = clamp_f32(acc + bias[channel], low, high);
}
#endif
#endif
