// softmax: out[r] = softmax(beta * x[r]) over rows of `depth`, or its LOGARITHM; one block of WIDTH work-items a row.
// softmax_16_bits: of 16-bit codes, by a table of reciprocals besides.
// softmax_codes: the same of 8-bit codes, in fixed point; exps[d] is exp of minus d codes. One work-item a row.

// KEPT: what is kept of an exponential.
#if defined(LANES) && WIDTH == 1 && !defined(KEPT)
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(float, LANES)
#define LOAD CAT(vload, LANES)
#define STORE CAT(vstore, LANES)

// LANES elements at once, of rows of at least as many; the last vector lies over the one before.
kernel void softmax(global const f32* x, global f32* out, i32 depth, f32 beta) {
    x += get_group_id(0) * depth;
    out += get_group_id(0) * depth;
    i32 last = depth - LANES, rest = depth % LANES;
    V tops = -FLT_MAX, sums = 0;
    for (i32 c = 0; c < depth; c += LANES) {
        V v = LOAD(0, x + min(c, last));
        tops = tops < v ? v : tops;
    }
    f32 lanes[LANES], top = -FLT_MAX, sum = 0;
    STORE(tops, 0, lanes);
    for (i32 e = 0; e < LANES; e++) top = top < lanes[e] ? lanes[e] : top;
    for (i32 c = 0; c + LANES <= depth; c += LANES) {
        V v = exp(beta * (LOAD(0, x + c) - top));
        sums += v;
        STORE(v, 0, out + c);
    }
    STORE(sums, 0, lanes);
    for (i32 e = 0; e < LANES; e++) sum += lanes[e];
    for (i32 c = depth - rest; c < depth; c++) {
        out[c] = exp(beta * (x[c] - top));
        sum += out[c];
    }
    V whole = sum, ends = LOAD(0, out + last) / whole;
    for (i32 c = 0; c + LANES <= depth; c += LANES) STORE(LOAD(0, out + c) / whole, 0, out + c);
    STORE(ends, 0, out + last);
}
#elif defined(WIDTH)
#ifndef KEPT
#define KEPT(v) (v)
#endif

kernel void softmax(global const f32* x, global f32* out, i32 depth, f32 beta) {
    local f32 partial[WIDTH];
    i32 t = get_local_id(0);
    x += get_group_id(0) * depth;
    out += get_group_id(0) * depth;

    f32 top = -FLT_MAX;
    for (i32 c = t; c < depth; c += WIDTH) top = top < x[c] ? x[c] : top;
    top = block_max(top, partial);

    f32 sum = 0;
    for (i32 c = t; c < depth; c += WIDTH) sum += exp(beta * (x[c] - top));
    sum = block_sum(sum, partial);

#ifdef LOGARITHM
    f32 log_sum = log(sum);
    for (i32 c = t; c < depth; c += WIDTH) out[c] = x[c] - top - log_sum;
#else
    for (i32 c = t; c < depth; c += WIDTH) out[c] = KEPT(exp(beta * (x[c] - top))) / sum;
#endif
}
#elif defined(SIXTEEN_BITS)
kernel void softmax_16_bits(global const i16* x, global const i32* exps, global const i16* reciprocals, global i16* out,
                            i32 rows, i32 depth) {
    i32 r = get_global_id(0);
    if (r >= rows) return;
    x += r * depth;
    out += r * depth;

    i32 top = x[0];
    for (i32 c = 1; c < depth; c++) top = top < x[c] ? x[c] : top;

    i32 sum = 0;
    for (i32 c = 0; c < depth; c++) sum += exps[top - x[c]];

    // The reciprocal of the sum's mantissa, between the table's places.
    i32 headroom = CLZ(sum), shift = 31 - headroom;
    i64 mantissa = (((i64)sum << (headroom - 1)) + (1 << 13)) >> 14;
    i32 v = (i32)clamp_i64(mantissa - 98304, -32768, 32767);
    i32 place = (v >> 7) + 256, base = reciprocals[place];
    i32 slope = (i16)(reciprocals[place + 1] - base);
    i32 reciprocal = (i16)(base + ((slope * (v & 127) + 64) >> 7));
    for (i32 c = 0; c < depth; c++)
        out[c] = clamp_i32((exps[top - x[c]] * reciprocal + (1 << (shift - 1))) >> shift, 0, 32767);
}
#else
kernel void softmax_codes(global const X_T* x, global const i32* exps, global OUT_T* out, i32 rows, i32 depth, i32 bits,
                          i32 low, i32 high) {
    i32 r = get_global_id(0);
    if (r >= rows) return;
    x += r * depth;
    out += r * depth;

    i32 top = x[0];
    for (i32 c = 1; c < depth; c++) top = top < x[c] ? x[c] : top;

    i32 sum = 0;
    for (i32 c = 0; c < depth; c++) sum += rdbp(exps[top - x[c]], 12);

    i32 headroom = CLZ(sum);
    i32 reciprocal = one_over_one_plus_x((i32)(((u32)sum << headroom) - 0x80000000u));
    i32 shift = 12 - headroom + 31 - bits;
    for (i32 c = 0; c < depth; c++) {
        i64 scaled = shift > 31 ? 0 : rdbp(srdhm(reciprocal, exps[top - x[c]]), shift);
        out[c] = clamp_i64(scaled + low, low, high);
    }
}
#endif
