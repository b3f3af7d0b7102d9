// softmax: out[r] = softmax(beta * x[r]) over rows of `depth`, or its LOGARITHM; one block of WIDTH threads a row.
// softmax_16_bits: of 16-bit codes, by a table of reciprocals besides.
// softmax_codes: the same of 8-bit codes, in fixed point; exps[d] is exp of minus d codes.
// Of codes one thread a row, or with WARP 32 of them.

#ifdef WARP
#define ACROSS 32
#else
#define ACROSS 1
#define warp_max(v) (v)
#define warp_sum(v) (v)
#endif

#ifdef WIDTH
#ifdef LOGARITHM
#define LOGARITHMIC true
#else
#define LOGARITHMIC false
#endif
#define HELD 8
#ifndef KEPT
#define KEPT(v) (v)
#endif

extern "C" __global__ void softmax(const f32* __restrict__ x, f32* __restrict__ out, i32 depth, f32 beta) {
    __shared__ f32 partial[WIDTH / 32];
    i32 t = threadIdx.x;
    x += blockIdx.x * depth;
    out += blockIdx.x * depth;

    if (depth <= WIDTH * HELD) {  // one reading: the row stays in registers
        f32 v[HELD], top = -FLT_MAX, sum = 0;
#pragma unroll
        for (i32 e = 0; e < HELD; e++) {
            i32 c = t + e * WIDTH;
            v[e] = c < depth ? x[c] : -FLT_MAX;
            top = top < v[e] ? v[e] : top;
        }
        top = block_max(top, partial);
#pragma unroll
        for (i32 e = 0; e < HELD; e++) {
            f32 power = exp(beta * (v[e] - top));
            if (t + e * WIDTH < depth) sum += power;
            v[e] = LOGARITHMIC ? v[e] - top : power;
        }
        sum = block_sum(sum, partial);
        f32 log_sum = log(sum);
#pragma unroll
        for (i32 e = 0; e < HELD; e++)
            if (t + e * WIDTH < depth) out[t + e * WIDTH] = LOGARITHMIC ? v[e] - log_sum : KEPT(v[e]) / sum;
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
        out[c] = LOGARITHMIC ? x[c] - top - log_sum : KEPT(exp(beta * (x[c] - top))) / sum;
}
#elif defined(SIXTEEN_BITS)
extern "C" __global__ void softmax_16_bits(const i16* __restrict__ x, const i32* __restrict__ exps,
                                           const i16* __restrict__ reciprocals, i16* __restrict__ out, i32 rows,
                                           i32 depth) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x, r = i / ACROSS, first = i % ACROSS;
    if (r >= rows) return;
    x += r * depth;
    out += r * depth;

    i32 top = x[0];
    for (i32 c = first; c < depth; c += ACROSS) top = top < x[c] ? x[c] : top;
    top = warp_max(top);

    i32 sum = 0;
    for (i32 c = first; c < depth; c += ACROSS) sum += exps[top - x[c]];
    sum = warp_sum(sum);

    // The reciprocal of the sum's mantissa, between the table's places.
    i32 headroom = CLZ(sum), shift = 31 - headroom;
    i64 mantissa = (((i64)sum << (headroom - 1)) + (1 << 13)) >> 14;
    i32 v = (i32)clamp_i64(mantissa - 98304, -32768, 32767);
    i32 place = (v >> 7) + 256, base = reciprocals[place];
    i32 slope = (i16)(reciprocals[place + 1] - base);
    i32 reciprocal = (i16)(base + ((slope * (v & 127) + 64) >> 7));
    for (i32 c = first; c < depth; c += ACROSS)
        out[c] = clamp_i32((exps[top - x[c]] * reciprocal + (1 << (shift - 1))) >> shift, 0, 32767);
}
#else
extern "C" __global__ void softmax_codes(const X_T* __restrict__ x, const i32* __restrict__ exps,
                                         OUT_T* __restrict__ out, i32 rows, i32 depth, i32 bits, i32 low, i32 high) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x, r = i / ACROSS, first = i % ACROSS;
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
