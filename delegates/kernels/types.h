// Element types that C has no arithmetic for, included where a launch's defines name them. f16 and bf16: u16 bits,
// computed with as f32 and rounded to nearest even. c64: a complex number of two f32.

FN f32 from_bf16(u16 bits) { return FLOAT_OF((u32)bits << 16); }

FN u16 to_bf16(f32 v) {
    u32 bits = BITS_OF(v);
    return v != v ? (bits >> 16 & 0x8000) | 0x7FC0 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

typedef float2 c64;
FN c64 c64_of(f32 real, f32 imag) { return PAIR(real, imag); }
FN f32 real_of(c64 v) { return v.x; }
FN f32 imag_of(c64 v) { return v.y; }

// x to the power y, which is not negative; beyond int32 the result wraps, or is INT32_MIN.
FN i32 power_of(i32 x, i32 y, i32 wraps) {
    u32 wrapped = 1, factor = (u32)x;
    i64 product = 1, square = x, end = (i64)1 << 31;
    for (; y > 0; y >>= 1) {
        if (y & 1) {
            wrapped *= factor;
            product *= square;
            if (!wraps && (product >= end || product < -end)) return -2147483647 - 1;
            if (wraps) product = 1;
        }
        factor *= factor;
        square = clamp_i64(square * square, 0, (i64)1 << 31);  // whose square is in range
        if (wraps) square = 1;
    }
    return wraps ? (i32)wrapped : (i32)product;
}

// x to the power y; by repeated multiplications, clamped to finite values, where y is a whole number from 1 on, to
// within 1e-5.
FN f32 repeated_product(f32 x, f32 y) {
    f32 whole = rint(y);
    if (!(whole >= 1.0f && whole < 2147483648.0f && fabs(y - whole) < 1e-5f)) return pow(x, y);
    i32 n = (i32)whole;
    f32 product = x;
    for (i32 bit = 31 - CLZ(n); bit-- > 0;) {
        product = clamp_f32(product * product, -3.402823466e38f, 3.402823466e38f);
        if (n >> bit & 1) product = clamp_f32(x * product, -3.402823466e38f, 3.402823466e38f);
    }
    return product;
}
