// out (rows, depth) = x less the logarithm of the sum of exp(x) over its row: 8-bit values (T) in fixed point.
// Tables by the difference from the row's maximum: shares i32 (256), its term of the sum; scaled i32 (256), in Q5.26.
// One work-item a row.

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
        i32 value = rdbp((i32)((u32)scaled[d] - (u32)logarithm), 22) + high;
        out[k] = -d <= kept ? low : clamp_i32(value, low, high);
    }
}
