// IEEE binary16 as cuda_fp16.h has it: arithmetic in float, rounded to nearest even after each operation.
#pragma once

EMU_FN emu_u16 emu_half_bits(float f) {
    unsigned u = (unsigned)__float_as_int(f), sign = u >> 16 & 0x8000, mantissa = u & 0x7fffff;
    int exponent = (int)(u >> 23 & 255) - 112;
    if (exponent == 143) return sign | 0x7c00 | (mantissa ? 0x200 : 0);
    if (exponent >= 31) return sign | 0x7c00;
    if (exponent < -10) return sign;
    int shift = 13;
    unsigned whole = (unsigned)(exponent > 0 ? exponent : 0) << 10;
    if (exponent <= 0) {
        mantissa |= 0x800000;
        shift = 14 - exponent;
    }
    unsigned kept = whole | mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
    if (exponent > 0) kept = whole + (mantissa >> shift);
    return sign | (kept + (rest > half || (rest == half && (kept & 1))));
}
EMU_FN float emu_half_value(emu_u16 bits) {
    unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
    if (exponent == 31) return __int_as_float((int)(sign | 0x7f800000 | mantissa << 13));
    if (exponent) return __int_as_float((int)(sign | (exponent + 112) << 23 | mantissa << 13));
    float value = mantissa * 5.9604644775390625e-8f;
    return sign ? -value : value;
}

struct __attribute__((aligned(2))) __half {
    emu_u16 bits;
    __half() = default;
    EMU_FN_MEMBER __half(float f) : bits(emu_half_bits(f)) {}
    EMU_FN_MEMBER operator float() const { return emu_half_value(bits); }
};
typedef __half half;
struct __attribute__((aligned(4))) __half2 {
    __half x, y;
};
typedef __half2 half2;
EMU_FN float __half2float(__half h) { return h; }
EMU_FN __half __float2half(float f) { return __half(f); }
EMU_FN __half __float2half_rn(float f) { return __half(f); }
EMU_FN __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
