// x (rows, depth) of float32 as scale * (value - zero_point): values (rows, depth) of int8, scales (rows), zero_points
// (rows), which are 0 without ASYMMETRIC.
// One block of WIDTH threads a row.

extern "C" __global__ void quantize_rows(const f32* __restrict__ x, i8* __restrict__ values, f32* __restrict__ scales,
                                         i32* __restrict__ zero_points, i32 depth) {
    __shared__ f32 partial[WIDTH];
    i32 r = blockIdx.x, t = threadIdx.x;
    x += r * depth;
    values += r * depth;

    f32 low = FLT_MAX, high = -FLT_MAX;
    for (i32 k = t; k < depth; k += WIDTH) {
        low = x[k] < low ? x[k] : low;
        high = high < x[k] ? x[k] : high;
    }
    low = -block_max(-low, partial);
    high = block_max(high, partial);

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
    i32 zero_point = empty ? 0 : (i32)(zero < -128 ? -128 : zero > 127 ? 127 : zero);
    f32 scale = (f32)wide, inverse = 1.0f / scale;
    i32 least = -128;
#else
    f32 largest = high < -low ? -low : high;
    i32 empty = largest == 0, zero_point = 0, least = -127;
    f32 scale = empty ? 1.0f : largest / 127.0f, inverse = empty ? 127.0f : 127.0f / largest;
#endif
    if (t == 0) {
        scales[r] = scale;
        zero_points[r] = zero_point;
    }
    for (i32 k = t; k < depth; k += WIDTH) {
        f32 v = x[k] * inverse;
        // TensorFlow Lite rounds the f32 just below 0.5 up in its vectors of 8, but not in the elements after them.
        f32 half_way = k < depth / 8 * 8 ? 0.5f : 0.49999997f;
        i32 value = (i32)((u32)to_i32(trunc(v + (v < 0 ? -half_way : half_way))) + (u32)zero_point);
        values[k] = value < least ? least : value > 127 ? 127 : value;
    }
}
