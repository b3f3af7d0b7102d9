// x (rows, depth) of float32 as scale * (value - zero_point): values (rows, depth) of int8, scales (rows), zero_points
// (rows), which are 0 without ASYMMETRIC.
// One block of WIDTH threads a row.

#include "row_scale.inc"

extern "C" __global__ void quantize_rows(const f32* RESTRICT x, i8* RESTRICT values, f32* RESTRICT scales,
                                         i32* RESTRICT zero_points, i32 depth) {
    PARTIAL;
    i32 r = GROUP_ID, t = threadIdx.x;
    x += r * depth;
    values += r * depth;

    f32 low = FLT_MAX, high = -FLT_MAX;
    for (i32 k = t; k < depth; k += WIDTH) {
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
    for (i32 k = t; k < depth; k += WIDTH) {
        f32 v = x[k] * inverse;
        // TensorFlow Lite rounds the f32 just below 0.5 up in its vectors of 8, but not in the elements after them.
        f32 half_way = k < depth / 8 * 8 ? 0.5f : 0.49999997f;
        i32 value = (i32)((u32)to_i32(trunc(v + (v < 0 ? -half_way : half_way))) + (u32)zero_point);
        values[k] = value < LEAST ? LEAST : value > 127 ? 127 : value;
    }
}
