// log_softmax: x less the logarithm of the sum of exp(x), of codes, over rows of depth. shares: of each difference from
// the greatest in the sum; scaled: each difference in Q5.26.
// l2_normalization: x divided by the root of its sum of squares. One work-item a row.

#ifdef LOGARITHM
KERNEL log_softmax(IN(T) RESTRICT x, IN(i32) RESTRICT shares, IN(i32) RESTRICT scaled, OUT(T) RESTRICT out, i32 rows,
                   i32 depth, i32 multiplier, i32 exponent, i32 least, i32 low, i32 high) {
    i32 r = GLOBAL_ID;
    if (r >= rows) return;
    x += r * depth;
    out += r * depth;
    i32 largest = x[0], sum = 0;
    for (i32 k = 1; k < depth; k++) largest = x[k] > largest ? x[k] : largest;
    for (i32 k = 0; k < depth; k++) sum += shares[largest - x[k]];
    i32 logarithm = log_x(sum), kept = mbqm(logarithm - 2147483647 - 1, multiplier, exponent);
    kept = kept < least - 1 ? least - 1 : kept;
    for (i32 k = 0; k < depth; k++) {
        i32 d = largest - x[k];
        i32 code = rdbp((i32)((u32)scaled[d] - (u32)logarithm), 22) + high;
        out[k] = -d <= kept ? low : clamp_i32(code, low, high);
    }
}
#else
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
        i32 code = mbqm(factor * (x[k] - zero_point), multiplier, exponent + shift);
        out[k] = clamp_i64((i64)code + middle, low, high);
    }
}
#endif
