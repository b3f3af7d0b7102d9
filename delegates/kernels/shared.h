// C that OpenCL and CUDA both compile: the fixed-point arithmetic of tflgpu/arithmetic/fixed_point.py, and activations.

// The high word of 2 * a * b; ties round up, and only INT32_MIN squared saturates.
FN i32 srdhm(i32 a, i32 b) {
    if (a == b && a == (-2147483647 - 1)) return 2147483647;
    return (i32)(((i64)a * b + ((i64)1 << 30)) >> 31);
}

// x / 2^n, ties away from zero.
FN i32 rdbp(i32 x, i32 n) {
    i32 mask = (i32)(((i64)1 << n) - 1);
    i32 threshold = (mask >> 1) + (x < 0);
    return (x >> n) + ((x & mask) > threshold);
}

// x * m * 2^(e - 31); the left shift wraps.
FN i32 mbqm(i32 x, i32 m, i32 e) {
    i32 left = e > 0 ? e : 0;
    return rdbp(srdhm((i32)((u32)x << left), m), left - e);
}

// mbqm of a 64-bit x, with 15 bits of the multiplier; ties round up.
FN i32 mbqm64(i64 x, i32 m, i32 e) {
    i64 m16 = m < 0x7FFF0000 ? (m + (1 << 15)) >> 16 : 0x7FFF;
    return (i32)((x * m16 + ((i64)1 << (14 - e))) >> (15 - e));
}

FN i32 clamp_i32(i32 x, i32 low, i32 high) { return x < low ? low : x > high ? high : x; }

#ifdef __OPENCL_VERSION__
// Mesa 22.3 compares a sign-extended i32 with a constant wrongly (docs/delegates.md), its clamp does not.
FN i64 clamp_i64(i64 x, i64 low, i64 high) { return clamp(x, low, high); }
#else
FN i64 clamp_i64(i64 x, i64 low, i64 high) { return x < low ? low : x > high ? high : x; }
#endif

// NaN stays, as std::min(std::max(x, low), high) keeps it.
FN f32 clamp_f32(f32 x, f32 low, f32 high) { x = x < low ? low : x; return high < x ? high : x; }

// Ties away from zero, as std::round. No f32 of 2^23 or more has a fraction.
FN f32 round_away(f32 x) {
    f32 t = trunc(x);
    return fabs(x - t) >= 0.5f ? t + (x < 0 ? -1.0f : 1.0f) : t;
}

// tanh by a rational function, each operation rounded, as in tflgpu/ops/recurrent/sequence.py.
FN f32 upstream_tanh(f32 x) {
    x = x < -7.90738964080810547f ? -7.90738964080810547f : x;
    x = x > 7.90738964080810547f ? 7.90738964080810547f : x;
    f32 s = x * x;
    f32 p = ((s * 1.394553628e-8f + 2.102733560e-5f) * s + 3.520756727e-3f) * s + 1.340216100e-1f;
    f32 q = (((s * 8.015776984e-7f + 3.326951409e-4f) * s + 2.597254514e-2f) * s + 4.673548340e-1f) * s + 1.0f;
    return (p * (s * x) + x) / q;
}

// NaN and values out of range become INT32_MIN, as on x86.
FN i32 to_i32(f32 x) { return x >= -2147483648.0f && x < 2147483648.0f ? (i32)x : (-2147483647 - 1); }

#if !defined(__OPENCL_VERSION__) || defined(cl_khr_fp64)
// sum * scale, ties away from zero as in fully_connected.py, plus the zero point, clamped.
FN i32 requantize_f64(i64 sum, f64 scale, i32 zero_point, i32 low, i32 high) {
    f64 scaled = (f64)sum * scale;
    scaled = trunc(scaled + (scaled < 0 ? -0.49999999999999994 : 0.49999999999999994)) + zero_point;
    return scaled < low ? low : scaled > high ? high : (i32)scaled;
}
#endif

FN i32 half_sum(i32 a, i32 b) {
    i64 sum = (i64)a + b;
    return (i32)((sum + (sum >= 0 ? 1 : -1)) / 2);
}

// x * 2^n, saturating.
FN i32 sat_shl(i32 x, i32 n) {
    return (i32)clamp_i64((i64)x << n, -2147483647 - (i64)1, 2147483647);
}

// 1 / (1 + a), all in Q0.31, for a in [0, 1], by three steps of Newton's method in Q2.29.
FN i32 one_over_one_plus_x(i32 a) {
    i32 mean = half_sum(a, 2147483647);
    i32 x = 1515870810 + srdhm(mean, -1010580540);
    for (i32 step = 0; step < 3; step++) {
        i32 rest = (1 << 29) - srdhm(mean, x);
        x = x + sat_shl(srdhm(x, rest), 2);
    }
    return sat_shl(x, 1);
}

// x * 2^n, saturating, or rounded where n is negative.
FN i32 by_power(i32 x, i32 n) { return n >= 0 ? sat_shl(x, n) : rdbp(x, -n); }

// 1 / sqrt(v) as a multiplier, and its exponent, for mbqm.
FN i32 inverse_root(i32 v, i32* exponent) {
    *exponent = 0;
    if (v <= 1) return 2147483647;
    i32 shift = 11;
    for (i32 step = 0; step < 2; step++)
        if (v >= 1 << 29) {
            v /= 4;
            shift++;
        }
    i32 pairs = (CLZ(v) - 1) / 2 - 1;
    i32 a = (i32)(((i64)v << (2 * pairs)) >> 1), half_a = rdbp(a, 1), root = 1 << 28;
    shift -= pairs;
    // Q3.28 throughout: products of Q3 come in Q6 and Q9.
    for (i32 step = 0; step < 5; step++) {
        i32 cube = by_power(srdhm(srdhm(root, root), root), 6);
        root = by_power((i32)((u32)srdhm(root, (1 << 28) + (1 << 27)) - (u32)srdhm(half_a, cube)), 3);
    }
    i32 m = srdhm(root, 1518500250);
    *exponent = shift > 0 ? -shift : 0;
    return shift < 0 ? (i32)((u32)m << -shift) : m;
}

// The logarithm of v (Q12.19, at least 1) as Q5.26.
FN i32 log_x(i32 v) {
    i32 sqrt_half = 1518500250, quarter = rdbp(1 << 29, 6), lz = CLZ(v);
    i32 ra = by_power(srdhm(by_power(v, lz - 1), sqrt_half), 1);
    i32 za = (i32)clamp_i64((i64)sat_shl(12 - lz, 25) + quarter, -2147483647 - (i64)1, 2147483647);
    i32 headroom = CLZ(srdhm(v, sqrt_half)) - 1;
    i32 rb = by_power(v, headroom);
    i32 zb = (i32)clamp_i64((i64)sat_shl(12 - headroom, 25) - quarter, -2147483647 - (i64)1, 2147483647);
    i32 r = ra < rb ? ra : rb, z = za > zb ? za : zb;
    i32 p = half_sum(r, 1805811301), q = (i32)(2u * ((u32)r - 1805811301u)), square = srdhm(q, q);
    i32 numerator = (i32)((u32)srdhm(q, r) + (u32)srdhm(srdhm(q, square), 117049297));
    i32 factor = (i32)(1057819769u + (u32)q + (u32)srdhm(square, 127690142));
    i32 denominator = (i32)((u32)srdhm(p, factor) + (u32)srdhm(q, 638450708));
    i32 quotient = srdhm(rdbp(numerator, 6), one_over_one_plus_x(denominator));
    return by_power((i32)((u32)srdhm(z, 1488522236) + (u32)quotient), 1);
}
