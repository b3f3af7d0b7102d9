// Element-wise operators on 8- and 16-bit quantized values, VW at a time: rows of `oc` elements, in pieces of `length`.
// An input advances by x_row elements from row to row; x_along is 1, or 0 where each row has one value.
//
// | macro     | meaning                                             |
// | SUM, SIGN | x + y or x - y, rescaled in fixed point and clamped |
// | PRODUCT   | x * y, rescaled in fixed point and clamped          |
// | neither   | entries of a table of 256, one for each value of x  |
// | COPY      | x itself, which OUTPUT_LUT then looks up            |
// Only for OpenCL, and there for CPUs.

#if defined(SUM)
#define Y_INPUT IN(OUT_T) y,
#define SCALARS                                                                                                        \
    , i32 y_row, i32 y_along, i32 x_zero, i32 y_zero, i32 bits, i32 x_multiplier, i32 x_exponent, i32 y_multiplier,    \
        i32 y_exponent, i32 multiplier, i32 exponent, i32 out_zero, i32 low, i32 high
#define COMPUTE                                                                                                        \
    VI a = mbqm_v((LANES(x) - x_zero) * (1 << bits), (VI)x_multiplier, (VI)x_exponent);                                \
    VI b = mbqm_v((LANES(y) - y_zero) * (1 << bits), (VI)y_multiplier, (VI)y_exponent);                                \
    VI acc = clamp(add_sat(mbqm_v(a SIGN b, (VI)multiplier, (VI)exponent), (VI)out_zero), (VI)low, (VI)high);
#elif defined(PRODUCT)
#define Y_INPUT IN(OUT_T) y,
#define SCALARS                                                                                                        \
    , i32 y_row, i32 y_along, i32 x_zero, i32 y_zero, i32 multiplier, i32 exponent, i32 out_zero, i32 low, i32 high
#define COMPUTE                                                                                                        \
    VI acc = mbqm_v((LANES(x) - x_zero) * (LANES(y) - y_zero), (VI)multiplier, (VI)exponent);                          \
    acc = clamp(add_sat(acc, (VI)out_zero), (VI)low, (VI)high);
#else
#define Y_INPUT IN(OUT_T) table,
#define SCALARS
#ifdef COPY
#define COMPUTE VI acc = LANES(x);
#else
#define COMPUTE VI acc = looked_up(table, LANES(x));
#endif
#endif
#define LANES(x) (x##_along ? load_some(x##s + i, left) : (VI)(i32)x##s[0])

// The first `count` of VW values, then zeros.
FN VI load_some(IN(X_T) p, i32 count) {
    if (count >= VW) return TO_INTS(VLOAD(p));
    i32 values[VW];
    for (i32 e = 0; e < VW; e++) values[e] = e < count ? p[e] : 0;
    return VLOAD(values);
}

ONE_WORK_ITEM
kernel void elementwise_int8(IN(X_T) x, Y_INPUT global OUT_T* out, i32 pieces, i32 share, i32 per_row, i32 length,
                             i32 oc, i32 total, i32 x_row, i32 x_along SCALARS EPILOGUE_PARAMS) {
    i32 first = get_global_id(0) * share, last = min(first + share, pieces);
    for (i32 piece = first; piece < last; piece++) {
        i32 m = piece / per_row, start = piece % per_row * length, count = min(length, oc - start);
        IN(X_T) xs = x + m * x_row + x_along * start;
#if defined(SUM) || defined(PRODUCT)
        IN(X_T) ys = y + m * y_row + y_along * start;
#endif
        for (i32 i = 0; i < count; i += VW) {
            i32 n = start + i, left = count - i, room = total - m * oc - n;
            COMPUTE
            EPILOGUE
            store(acc, out + m * oc + n, left);
        }
        for (i32 i = 0; i < count; i += 64) {
            LOOK_UP(out + m * oc + start + i, 1, 0, min(count - i, 64))
        }
    }
}
