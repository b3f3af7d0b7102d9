// out[r] = softmax(x[r]) of quantized values, over rows of `depth`, in fixed point; exps[d] is exp of minus d steps of
// x. softmax_8_bits: of 8 bits. softmax_16_bits (SIXTEEN_BITS): of 16, with a table of reciprocals. One work-item a
// row; with WARP a warp.

#ifdef WARP
#define ACROSS 32
#else
#define ACROSS 1
#define warp_max(v) (v)
#define warp_sum(v) (v)
#endif

#ifdef SIXTEEN_BITS
KERNEL softmax_16_bits(IN(i16) RESTRICT x, IN(i32) RESTRICT exps, IN(i16) RESTRICT reciprocals, OUT(i16) RESTRICT out,
                       i32 rows, i32 depth) {
    i32 i = GLOBAL_ID, r = i / ACROSS, first = i % ACROSS;
    if (r >= rows) return;
    x += r * depth;
    out += r * depth;

    i32 top = x[0];
    for (i32 c = first; c < depth; c += ACROSS) top = top < x[c] ? x[c] : top;
    top = warp_max(top);

    i32 sum = 0;
    for (i32 c = first; c < depth; c += ACROSS) sum += exps[top - x[c]];
    sum = warp_sum(sum);

    // The reciprocal of the sum's mantissa, interpolated in the table.
    i32 headroom = CLZ(sum), shift = 31 - headroom;
    i64 mantissa = (((i64)sum << (headroom - 1)) + (1 << 13)) >> 14;
    i32 v = (i32)clamp_i64(mantissa - 98304, -32768, 32767);
    i32 entry = (v >> 7) + 256, base = reciprocals[entry];
    i32 slope = (i16)(reciprocals[entry + 1] - base);
    i32 reciprocal = (i16)(base + ((slope * (v & 127) + 64) >> 7));
    for (i32 c = first; c < depth; c += ACROSS)
        out[c] = clamp_i32((exps[top - x[c]] * reciprocal + (1 << (shift - 1))) >> shift, 0, 32767);
}
#else
KERNEL softmax_8_bits(IN(X_T) RESTRICT x, IN(i32) RESTRICT exps, OUT(OUT_T) RESTRICT out, i32 rows, i32 depth, i32 bits,
                     i32 low, i32 high) {
    i32 i = GLOBAL_ID, r = i / ACROSS, first = i % ACROSS;
    if (r >= rows) return;
    x += r * depth;
    out += r * depth;

    i32 top = x[0];
    for (i32 c = first; c < depth; c += ACROSS) top = top < x[c] ? x[c] : top;
    top = warp_max(top);

    i32 sum = 0;
    for (i32 c = first; c < depth; c += ACROSS) sum += rdbp(exps[top - x[c]], 12);
    sum = warp_sum(sum);

    i32 headroom = CLZ(sum);
    i32 reciprocal = one_over_one_plus_x((i32)(((u32)sum << headroom) - 0x80000000u));
    i32 shift = 12 - headroom + 31 - bits;
    for (i32 c = first; c < depth; c += ACROSS) {
        i64 scaled = shift > 31 ? 0 : rdbp(srdhm(reciprocal, exps[top - x[c]]), shift);
        out[c] = clamp_i64(scaled + low, low, high);
    }
}
#endif
