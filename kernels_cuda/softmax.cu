// out[r] = softmax(beta * x[r]) over rows of `depth`, or its LOGARITHM; one block of WIDTH threads a row.
// ROUND_EXP(v): rounds exponentials, as float16 needs it.

#ifdef LOGARITHM
#define LOGARITHMIC true
#else
#define LOGARITHMIC false
#endif
#define PER_THREAD 8
#ifndef ROUND_EXP
#define ROUND_EXP(v) (v)
#endif

extern "C" __global__ void softmax(const f32* RESTRICT x, f32* RESTRICT out, i32 depth, f32 beta) {
    PARTIAL;
    i32 t = threadIdx.x;
    x += GROUP_ID * depth;
    out += GROUP_ID * depth;

    if (depth <= WIDTH * PER_THREAD) {  // the row is read once and stays in registers
        f32 v[PER_THREAD], top = -FLT_MAX, sum = 0;
#pragma unroll
        for (i32 e = 0; e < PER_THREAD; e++) {
            i32 c = t + e * WIDTH;
            v[e] = c < depth ? x[c] : -FLT_MAX;
            top = top < v[e] ? v[e] : top;
        }
        top = block_max(top, partial);
#pragma unroll
        for (i32 e = 0; e < PER_THREAD; e++) {
            f32 power = exp(beta * (v[e] - top));
            if (t + e * WIDTH < depth) sum += power;
            v[e] = LOGARITHMIC ? v[e] - top : power;
        }
        sum = block_sum(sum, partial);
        f32 log_sum = log(sum);
#pragma unroll
        for (i32 e = 0; e < PER_THREAD; e++)
            if (t + e * WIDTH < depth) out[t + e * WIDTH] = LOGARITHMIC ? v[e] - log_sum : ROUND_EXP(v[e]) / sum;
        return;
    }

    f32 top = -FLT_MAX;
    for (i32 c = t; c < depth; c += WIDTH) top = top < x[c] ? x[c] : top;
    top = block_max(top, partial);
    f32 sum = 0;
    for (i32 c = t; c < depth; c += WIDTH) sum += exp(beta * (x[c] - top));
    sum = block_sum(sum, partial);
    f32 log_sum = log(sum);
    for (i32 c = t; c < depth; c += WIDTH)
        out[c] = LOGARITHMIC ? x[c] - top - log_sum : ROUND_EXP(exp(beta * (x[c] - top))) / sum;
}
