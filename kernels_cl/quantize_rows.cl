// x (rows, depth) of float32 as scale * (value - zero_point): values (rows, depth) of int8, scales (rows), zero_points
// (rows), which are 0 without ASYMMETRIC.
// One block of WIDTH work-items a row; with LANES and WIDTH 1, vectors of LANES elements.

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

#include "row_scale.inc"

#if WIDTH == 1
ONE_WORK_ITEM
#endif
kernel void quantize_rows(global const f32* x, global i8* values, global f32* scales, global i32* zero_points,
                          i32 depth) {
    PARTIAL;
    i32 r = get_group_id(0), t = get_local_id(0);
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
