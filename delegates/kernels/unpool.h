// unpool: scatters x (batch, h, w, channels) to out (batch, oh, ow, channels), which holds zeros; later values win.
// indices: floats, each a tap of its window; with FLAT_INDICES, integers, each an element of the output image.
// One work-item an image and channel; with FLAT_INDICES, an image. An index out of bounds is a fault.

KERNEL unpool(IN(f32) RESTRICT x, IN(INDEX_T) RESTRICT indices, OUT(f32) RESTRICT out, i32 n, i32 h, i32 w,
              i32 channels, i32 oh, i32 ow, i32 kw, i32 stride_h, i32 stride_w, i32 top, i32 left, OUT(i32) fault) {
    i32 item = GLOBAL_ID;
    if (item >= n) return;
#ifdef FLAT_INDICES
    i32 image = item, first = 0, step = 1, count = h * w * channels;
#else
    i32 image = item / channels, first = item % channels, step = channels, count = h * w;
#endif
    x += image * h * w * channels + first;
    indices += image * h * w * channels + first;
    out += image * oh * ow * channels;
    for (i32 k = 0; k < count; k++) {
#ifdef FLAT_INDICES
        i32 offset = indices[k];
        i32 inside = offset >= 0 && offset < oh * ow * channels;
#else
        f32 tap = floor(indices[k * step]);
        i32 known = fabs(tap) < 1e9f, t = known ? (i32)tap : 0, row = t < 0 ? -((kw - 1 - t) / kw) : t / kw;
        i32 y = k / w * stride_h - top + row, column = k % w * stride_w - left + t - row * kw;
        i32 inside = known && y >= 0 && y < oh && column >= 0 && column < ow;
        i32 offset = (y * ow + column) * channels + first;
#endif
        if (!inside) {
            *fault = 1;
            return;
        }
        out[offset] = x[k * step];
    }
}
