// out (n, od, oh, ow, oc) = x (n, d, h, w, c) convolved with weights (kd, kh, kw, c, oc), plus bias, clamped; or, where
// TRANSPOSED, what such a convolution with weights (kd, kh, kw, oc, c) makes x of. One work-item an output.

#ifdef TRANSPOSED
#define SOURCE(o, pad, tap, dilation, stride)                                                                          \
    (((o) + (pad) - (tap) * (dilation)) % (stride) ? -1 : ((o) + (pad) - (tap) * (dilation)) / (stride))
#define WEIGHT ((tap * oc + channel) * c)
#define WEIGHT_STEP 1
#else
#define SOURCE(o, pad, tap, dilation, stride) ((o) * (stride) - (pad) + (tap) * (dilation))
#define WEIGHT (tap * c * oc + channel)
#define WEIGHT_STEP oc
#endif

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
