// Layer normalization of one gate of an LSTM, in place in the sums of the gates z (rows, gates * n).
//
// normalize_gate (WIDTH)             f32: adds the peephole, then to mean 0 and variance 1; a block of WIDTH a row
// add_peephole_quantized (PEEPHOLE)  adds the peephole (int16 weights and state) to i32 sums; one work-item an element
// normalize_gate_quantized           i32 sums to mean 0 and variance 1, requantized; one work-item a row
//
// ONE_ROW: rows is 1.

#include "row_column.inc"

#if defined(WIDTH)
KERNEL normalize_gate(IN(f32) RESTRICT peephole, IN(f32) RESTRICT state, IN(f32) RESTRICT weights,
                      IN(f32) RESTRICT bias, OUT(f32) z, i32 n, i32 gates, i32 gate, i32 sees) {
    PARTIAL;
    i32 r = GROUP_ID, t = LOCAL_ID;
    z += (r * gates + gate) * n;
    state += r * n;
    f32 sum = 0;
    for (i32 j = t; j < n; j += WIDTH) {
        if (sees) z[j] += peephole[gate * n + j] * state[j];
        sum += z[j];
    }
    f32 mean = block_sum(sum, partial) / n, squares = 0;
    for (i32 j = t; j < n; j += WIDTH) squares += (z[j] - mean) * (z[j] - mean);
    f32 factor = 1.0f / sqrt(block_sum(squares, partial) / n + 1e-8f);
    for (i32 j = t; j < n; j += WIDTH) z[j] = (z[j] - mean) * factor * weights[gate * n + j] + bias[gate * n + j];
}
#elif defined(PEEPHOLE)
KERNEL add_peephole_quantized(IN(i32) RESTRICT weights, IN(u8) RESTRICT up, IN(i16) RESTRICT state, OUT(i32) z,
                              i32 size, i32 n, i32 gates, i32 gate, i32 together, i32 m, i32 e) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = COLUMN(i, n), w = r % together * n + j, peephole = weights[w] * state[i];
    i32 seen = up[w] && e < 0 ? (i32)(((i64)srdhm(peephole, m) + ((i64)1 << (-e - 1))) >> -e) : mbqm(peephole, m, e);
    z += (r * gates + gate) * n + j;
    *z = (i32)clamp_i64((i64)*z + seen, -32768, 32767);
}
#else
KERNEL normalize_gate_quantized(IN(i16) RESTRICT weights, IN(i32) RESTRICT bias, OUT(i32) z, i32 rows, i32 n, i32 gates,
                                i32 gate, i32 m, i32 e, i32 guard) {
    i32 r = GLOBAL_ID;
    if (r >= rows) return;
    z += (r * gates + gate) * n;
    i64 sum = 0, squares = 0;
    for (i32 j = 0; j < n; j++) {
        sum += z[j];
        squares += z[j] * z[j];
    }
    i64 mean = sum * 1024 / n, variance = (squares * ((1 << 20) / n) - mean * mean) / (1 << 20);
    i32 exponent, factor = inverse_root(variance < 1 ? guard : (i32)variance, &exponent);
    for (i32 j = 0; j < n; j++) {
        i32 normal = mbqm((i32)(z[j] * 1024 - mean), factor, exponent);
        i32 weighted = (i32)((u32)(i32)((i64)normal * weights[j]) + (u32)bias[j]);
        i32 rounded = (i32)(((i64)weighted + (weighted > 0 ? 512 : -512)) / 1024);
        z[j] = clamp_i32(mbqm(rounded, m, e), -32768, 32767);
    }
}
#endif
