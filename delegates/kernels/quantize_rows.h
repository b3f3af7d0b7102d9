// x (rows, depth) of float32 as scale * (value - zero_point): values (rows, depth) of int8, scales (rows), zero_points
// (rows), which are 0 without ASYMMETRIC.
// One block of WIDTH work-items a row; with LANES and ONE_WORK_ITEM, of OpenCL alone, and WIDTH 1, vectors of LANES
// elements.

#if defined(LANES) && WIDTH == 1
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(float, LANES)
#define INTS CAT(int, LANES)
#define LOAD CAT(vload, LANES)
#define STORE CAT(vstore, LANES)
#define TO_INTS CAT(convert_int, LANES)
#define TO_INT8 CAT(convert_char, LANES)
#endif

#ifdef ASYMMETRIC
#define LEAST (-128)
#else
#define LEAST (-127)
#endif

// The scale of a row of values from low to high, its inverse and its zero point.
FN f32 scale_of(f32 low, f32 high, f32* inverse, i32* zero_point) {
#ifdef ASYMMETRIC
    low = low < 0 ? low : 0;
    high = high < 0 ? 0 : high;
    // The range is computed in f32, everything after it in f64.
    f64 wide = (f64)(high - low) / 255.0;
    i32 empty = wide == 0;
    if (empty) wide = 1;
    f64 from_low = low / wide, from_high = high / wide;
    f64 zero = 128 + fabs(from_low) < 127 + fabs(from_high) ? -128 - from_low : 127 - from_high;
    zero = trunc(zero + (zero < 0 ? -0.5 : 0.5));
    *zero_point = empty ? 0 : (i32)(zero < -128 ? -128 : zero > 127 ? 127 : zero);
    f32 scale = (f32)wide;
    *inverse = DIVIDE(1.0f, scale);
    return scale;
#else
    f32 largest = high < -low ? -low : high;
    *zero_point = 0;
    *inverse = largest == 0 ? 127.0f : DIVIDE(127.0f, largest);
    return largest == 0 ? 1.0f : DIVIDE(largest, 127.0f);
#endif
}

#if defined(ONE_WORK_ITEM) && WIDTH == 1
ONE_WORK_ITEM
#endif
KERNEL quantize_rows(IN(f32) RESTRICT x, OUT(i8) RESTRICT values, OUT(f32) RESTRICT scales,
                     OUT(i32) RESTRICT zero_points, i32 depth) {
    PARTIAL;
    i32 r = GROUP_ID, t = LOCAL_ID;
    x += r * depth;
    values += r * depth;

    f32 low = FLT_MAX, high = -FLT_MAX;
    i32 start = t;
#if defined(LANES) && WIDTH == 1
    V lows = FLT_MAX, highs = -FLT_MAX;
    for (; start + LANES <= depth; start += LANES) {
        V v = LOAD(0, x + start);
        lows = v < lows ? v : lows;
        highs = highs < v ? v : highs;
    }
    f32 ends[LANES];
    STORE(lows, 0, ends);
    for (i32 e = 0; e < LANES; e++) low = ends[e] < low ? ends[e] : low;
    STORE(highs, 0, ends);
    for (i32 e = 0; e < LANES; e++) high = high < ends[e] ? ends[e] : high;
#endif
    for (i32 k = start; k < depth; k += WIDTH) {
        low = x[k] < low ? x[k] : low;
        high = high < x[k] ? x[k] : high;
    }
    low = -block_max(-low, partial);
    high = block_max(high, partial);

    f32 inverse;
    i32 zero_point;
    f32 scale = scale_of(low, high, &inverse, &zero_point);
    if (t == 0) {
        scales[r] = scale;
        zero_points[r] = zero_point;
    }
    start = t;
#if defined(LANES) && WIDTH == 1
    for (; start + LANES <= depth; start += LANES) {
        V v = LOAD(0, x + start) * inverse;
        INTS made = TO_INTS(trunc(v + (v < 0 ? (V)-0.5f : (V)0.5f))) + zero_point;
        STORE(TO_INT8(clamp(made, (INTS)LEAST, (INTS)127)), 0, values + start);
    }
#endif
    for (i32 k = start; k < depth; k += WIDTH) {
        f32 v = x[k] * inverse;
        // TensorFlow Lite rounds the f32 just below 0.5 up in its vectors of 8, but not in the elements after them.
        f32 half_way = k < depth / 8 * 8 ? 0.5f : 0.49999997f;
        i32 value = (i32)((u32)to_i32(trunc(v + (v < 0 ? -half_way : half_way))) + (u32)zero_point);
        values[k] = value < LEAST ? LEAST : value > 127 ? 127 : value;
    }
}
