// out (n, oh, ow, c) = AVERAGE, MAXIMUM or ROOT_MEAN_SQUARE of x (n, h, w, c) under each window of kh x kw, clamped.
// One work-item an output; with VW, which divides c, VW neighbouring channels. QUANTIZED: the average is rounded.

#ifdef VW
#define ACC VF
#define LANES VW
#define PUT(v, p) VSTORE(v, p)
#define GET(p, at) VLOAD((p) + (at))
#else
#define ACC ACC_T
#define LANES 1
#define PUT(v, p) *(p) = v
#define GET(p, at) (p)[at]
#endif

KERNEL pool(IN(T) RESTRICT x, OUT(T) RESTRICT out, i32 size, i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 kh, i32 kw,
            i32 stride_h, i32 stride_w, i32 top, i32 left, ACC_T low, ACC_T high) {
    i32 i = GLOBAL_ID * LANES;
    if (i >= size) return;
    i32 channel = i % c, ox = i / c % ow, oy = i / c / ow % oh, image = i / c / ow / oh;
    i32 first = image * h * w * c + channel;
    i32 y0 = oy * stride_h - top, x0 = ox * stride_w - left;
    i32 y1 = min(y0 + kh, h), x1 = min(x0 + kw, w);
    y0 = max(y0, 0);
    x0 = max(x0, 0);
    i32 count = max(y1 - y0, 0) * max(x1 - x0, 0);

#ifdef MAXIMUM
    ACC acc = LOWEST;
#else
    ACC acc = 0;
#endif
    for (i32 iy = y0; iy < y1; iy++)
        for (i32 ix = x0; ix < x1; ix++) {
            ACC v = GET(x, (iy * w + ix) * c + first);
#if defined(MAXIMUM)
            acc = acc < v ? v : acc;
#elif defined(AVERAGE)
            acc += v;
#else
            acc += v * v;
#endif
        }
#if defined(AVERAGE) && defined(QUANTIZED)
    // The divisor is 0 only for windows that neither SAME nor VALID makes.
    acc = count ? (acc > 0 ? acc + count / 2 : acc - count / 2) / count : 0;
#elif defined(AVERAGE)
    acc = acc / (f32)count;
#elif defined(ROOT_MEAN_SQUARE)
    acc = sqrt(acc / (f32)count);
#endif
    acc = acc < (ACC)low ? (ACC)low : acc;
    PUT((ACC)high < acc ? (ACC)high : acc, out + i);
}
