// out[r] = softmax(beta * x[r]) over rows of `depth`, or its LOGARITHM; one block of WIDTH work-items a row.
// LANES: vectors of so many elements, where WIDTH is 1. ROUND_EXP(v): rounds exponentials, as float16 needs it.

#if defined(LANES) && WIDTH == 1 && !defined(ROUND_EXP)
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(float, LANES)
#define LOAD CAT(vload, LANES)
#define STORE CAT(vstore, LANES)

// Rows have at least LANES elements; the last vector may overlap the one before.
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
#else
#ifndef ROUND_EXP
#define ROUND_EXP(v) (v)
#endif

kernel void softmax(global const f32* x, global f32* out, i32 depth, f32 beta) {
    PARTIAL;
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
    for (i32 c = t; c < depth; c += WIDTH) out[c] = ROUND_EXP(exp(beta * (x[c] - top))) / sum;
#endif
}
#endif
