// sum: x SIGN y (+ or -), product (PRODUCT): x * y, of quantized values, rescaled in fixed point and clamped.
// shifted_sum (SHIFTED): int16, whose scales are powers of two.
// One work-item an output, which reads x at X_AT and y at Y_AT.

#if defined(PRODUCT)
KERNEL product(IN(T) RESTRICT x, IN(T) RESTRICT y, OUT(T) RESTRICT out, i32 n, i32 x_zero, i32 y_zero, i32 multiplier,
               i32 exponent, i32 out_zero, i32 low, i32 high) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    i32 value = mbqm((x[X_AT] - x_zero) * (y[Y_AT] - y_zero), multiplier, exponent);
    out[i] = clamp_i64((i64)value + out_zero, low, high);
}
#elif defined(SHIFTED)
KERNEL shifted_sum(IN(T) RESTRICT x, IN(T) RESTRICT y, OUT(T) RESTRICT out, i32 n, i32 x_shift, i32 y_shift, i32 low,
                   i32 high) {
    i32 i = GLOBAL_ID;
    if (i < n) out[i] = clamp_i32(rdbp(x[X_AT], x_shift) SIGN rdbp(y[Y_AT], y_shift), low, high);
}
#else
KERNEL sum(IN(T) RESTRICT x, IN(T) RESTRICT y, OUT(T) RESTRICT out, i32 n, i32 x_zero, i32 y_zero, i32 bits,
           i32 x_multiplier, i32 x_exponent, i32 y_multiplier, i32 y_exponent, i32 multiplier, i32 exponent,
           i32 out_zero, i32 low, i32 high) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    i32 a = mbqm((x[X_AT] - x_zero) * (1 << bits), x_multiplier, x_exponent);
    i32 b = mbqm((y[Y_AT] - y_zero) * (1 << bits), y_multiplier, y_exponent);
    out[i] = clamp_i64((i64)mbqm(a SIGN b, multiplier, exponent) + out_zero, low, high);
}
#endif
