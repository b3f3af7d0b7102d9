// Kernels over images (n, h, w, c), VW channels at a time; the `items` work-items share the rows of out evenly.
// pool_rows: out (n, oh, ow, c) = AVERAGE, MAXIMUM or ROOT_MEAN_SQUARE of floats x under windows of kh x kw, clamped.
// resize_rows (RESIZE): out (n, oh, ow, c) from two rows and two columns of x for each pixel, weighted; QUANTIZED:
// rounded.
// Only for OpenCL: CUDA has a work-item for each element.

#define ROWS                                                                                                           \
    EVENLY(rows)                                                                                                       \
    for (i32 row = first; row < last; row++) {                                                                         \
        i32 oy = row % oh, image = row / oh;
// The last vector may overlap the one before: its channels get the same values.
#define CHANNELS                                                                                                       \
    for (i32 c0 = 0; c0 < c; c0 += VW) {                                                                               \
        i32 n = min(c0, c - VW);                                                                                       \
        global OUT_T* to = out + row * ow * c + n;

#ifdef RESIZE
#ifdef QUANTIZED
#define STORED(acc) TO_STORED(TO_INTS(acc + 0.5f))
#else
#define STORED(acc) (acc)
#endif
ONE_WORK_ITEM
kernel void resize_rows(global const OUT_T* restrict x, global const i32* restrict upper,
                        global const i32* restrict lower, global const f32* restrict upper_weight,
                        global const f32* restrict lower_weight, global const i32* restrict left,
                        global const i32* restrict right, global const f32* restrict left_weight,
                        global const f32* restrict right_weight,
                        global OUT_T* restrict out, i32 rows, i32 items, i32 h, i32 w, i32 c, i32 oh, i32 ow) {
    ROWS
        f32 top = upper_weight[oy], bottom = lower_weight[oy];
        CHANNELS
            global const OUT_T* above = x + (image * h + upper[oy]) * w * c + n;
            global const OUT_T* below = x + (image * h + lower[oy]) * w * c + n;
            for (i32 ox = 0; ox < ow; ox++, to += c) {
                i32 at = left[ox] * c, next = right[ox] * c;
                f32 before = left_weight[ox], after = right_weight[ox];
                // In the reference's order, which decides the last bit.
                VF acc = TO_FLOATS(VLOAD(above + at)) * top * before;
                acc += TO_FLOATS(VLOAD(below + at)) * bottom * before;
                acc += TO_FLOATS(VLOAD(above + next)) * top * after;
                acc += TO_FLOATS(VLOAD(below + next)) * bottom * after;
                VSTORE(STORED(acc), to);
            }
        }
    }
}
#else
ONE_WORK_ITEM
kernel void pool_rows(global const f32* restrict x, global f32* restrict out, i32 rows, i32 items, i32 h, i32 w, i32 c,
                      i32 oh, i32 ow, i32 kh, i32 kw, i32 stride_h, i32 stride_w, i32 top, i32 left, f32 low,
                      f32 high) {
    ROWS
        i32 y0 = oy * stride_h - top, y1 = min(y0 + kh, h);
        y0 = max(y0, 0);
        CHANNELS
            for (i32 ox = 0; ox < ow; ox++, to += c) {
                i32 x0 = ox * stride_w - left, x1 = min(x0 + kw, w);
                x0 = max(x0, 0);
#ifdef MAXIMUM
                VF acc = LOWEST;
#else
                VF acc = 0;
#endif
                for (i32 iy = y0; iy < y1; iy++) {
                    global const f32* from = x + ((image * h + iy) * w + x0) * c + n;
                    for (i32 ix = x0; ix < x1; ix++, from += c) {
                        VF v = VLOAD(from);
#if defined(MAXIMUM)
                        acc = acc < v ? v : acc;
#elif defined(AVERAGE)
                        acc += v;
#else
                        acc += v * v;
#endif
                    }
                }
                f32 count = max(y1 - y0, 0) * max(x1 - x0, 0);
#if defined(AVERAGE)
                acc = acc / count;
#elif defined(ROOT_MEAN_SQUARE)
                acc = sqrt(acc / count);
#endif
                VSTORE(clamp_v(acc, low, high), to);
            }
        }
    }
}
#endif
