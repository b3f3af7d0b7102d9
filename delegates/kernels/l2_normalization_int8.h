// out (rows, depth) = x divided by the square root of its row's sum of squares: 8-bit values (T) in fixed point.
// One work-item a row.

KERNEL l2_normalization(IN(T) RESTRICT x, OUT(T) RESTRICT out, i32 rows, i32 depth, i32 zero_point, i32 factor,
                        i32 shift, i32 middle, i32 low, i32 high) {
    i32 r = GLOBAL_ID;
    if (r >= rows) return;
    x += r * depth;
    out += r * depth;
    i32 sum = 0;
    for (i32 k = 0; k < depth; k++) sum += (x[k] - zero_point) * (x[k] - zero_point);
    i32 exponent, multiplier = inverse_root(sum, &exponent);
    for (i32 k = 0; k < depth; k++) {
        i32 value = mbqm(factor * (x[k] - zero_point), multiplier, exponent + shift);
        out[k] = clamp_i64((i64)value + middle, low, high);
    }
}
