// Attention on CUDA cores (attention.cuh). 16 threads share THREAD_ROWS rows. A row's maximum `top` and its sum are of
// the keys so far. `mixed` is the mean of the values so far: its weights are already divided by the sum, so that it
// overflows only where the values do. Keys and values of more than 128 columns come to shared memory SPAN and V_SPAN
// columns at a time.
// Only for CUDA.

#define ACROSS 16
#define THREADS (BQ / THREAD_ROWS * ACROSS)
#define KEYS (BK / ACROSS)  // keys of a thread
typedef f32 stored;
#include "attention.cuh"
#define SLICE 64
#define D4 (HEAD_DIM > 128 ? (HEAD_DIM + SLICE - 1) / SLICE * SLICE : (HEAD_DIM + 3) / 4 * 4)
#define W (V_HEAD_DIM > 128 ? ROUND_UP(SLICE) : ROUND_UP(16))
#define SPAN (HEAD_DIM > 128 ? SLICE : D4)
#define V_SPAN (V_HEAD_DIM > 128 ? SLICE : W)
// Row lengths in shared memory: an odd number of vectors, so that rows start in different banks.
#define STEP(size) ((size) % 8 == 0 ? (size) + 4 : (size))
// Neighbouring columns of a thread.
#define PER (ROUND_UP(64) == ROUND_UP(16) || V_HEAD_DIM > 128 ? 4 : ROUND_UP(32) == ROUND_UP(16) ? 2 : 1)
#define COLUMNS (W / ACROSS)
#define V_COLUMNS (V_SPAN / ACROSS)
#define COLUMN(j) ((j) / PER * PER * ACROSS + tx * PER + (j) % PER)

FN f32 dot4(float4 a, float4 b, f32 acc) { return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, acc)))); }

// Reductions over 16 neighbouring threads.
FN f32 row_max(f32 v) {
#pragma unroll
    for (i32 s = 8; s > 0; s /= 2) {
        f32 other = __shfl_xor_sync(0xffffffffu, v, s);
        v = v < other ? other : v;
    }
    return v;
}

FN f32 row_sum(f32 v) {
#pragma unroll
    for (i32 s = 8; s > 0; s /= 2) v += __shfl_xor_sync(0xffffffffu, v, s);
    return v;
}

// score += the queries' SPAN columns from column0 on times the keys in ks.
FN void multiply_keys(f32 (&score)[THREAD_ROWS][KEYS], const f32 (&qs)[BQ][STEP(D4)], const f32 (&ks)[BK][STEP(SPAN)],
                      i32 mine, i32 tx, i32 column0) {
#pragma unroll(D4 > 64 || W > 64 ? 1 : 2)
    for (i32 c = 0; c < SPAN; c += 4) {
        float4 a[THREAD_ROWS];
#pragma unroll
        for (i32 r = 0; r < THREAD_ROWS; r++) a[r] = *(const float4*)&qs[mine + r][column0 + c];
#pragma unroll
        for (i32 j = 0; j < KEYS; j++) {
            float4 key = *(const float4*)&ks[tx + j * ACROSS][c];
#pragma unroll
            for (i32 r = 0; r < THREAD_ROWS; r++) score[r][j] = dot4(a[r], key, score[r][j]);
        }
    }
}

// One row's step of softmax: `top` and `sum` take in the scores of the `keys` keys at hand, which become weights: their
// exponentials divided by the new sum. Returns the factor by which the sum so far has shrunk.
FN f32 softmax_step(f32 (&score)[KEYS], f32& top, f32& sum, i32 tx, i32 keys, f32 beta) {
    f32 before = top, here = 0;
#pragma unroll
    for (i32 j = 0; j < KEYS; j++)
        if (tx + j * ACROSS < keys) top = top < score[j] ? score[j] : top;
    top = row_max(top);
#pragma unroll
    for (i32 j = 0; j < KEYS; j++) {
        score[j] = tx + j * ACROSS < keys ? exp(beta * (score[j] - top)) : 0;
        here += score[j];
    }
    f32 old = sum * exp(beta * (before - top));
    sum = old + row_sum(here);
    f32 share = sum == 0 ? 0 : 1 / sum;  // 0 while all scores are -infinity
#pragma unroll
    for (i32 j = 0; j < KEYS; j++) score[j] *= share;
    return old * share;
}

// mixed += the weights in ps times the values' V_SPAN columns in vs, which are those from column0 on.
FN void multiply_values(f32 (&mixed)[THREAD_ROWS][COLUMNS], const f32 (&ps)[BQ][BK + 4], const f32 (&vs)[BK][V_SPAN],
                        i32 mine, i32 tx, i32 column0) {
#pragma unroll(D4 > 64 || W > 64 ? 1 : 2)
    for (i32 c = 0; c < BK; c += 4) {
        __align__(16) f32 weights[THREAD_ROWS][4];
#pragma unroll
        for (i32 r = 0; r < THREAD_ROWS; r++) *(float4*)weights[r] = *(const float4*)&ps[mine + r][c];
#pragma unroll
        for (i32 e = 0; e < 4; e++) {
            __align__(16) f32 value[V_COLUMNS];
#pragma unroll
            for (i32 j = 0; j < V_COLUMNS; j += PER) {
                const f32* from = &vs[c + e][COLUMN(j)];
                if constexpr (PER == 4) *(float4*)(value + j) = *(const float4*)from;
                if constexpr (PER == 2) *(float2*)(value + j) = *(const float2*)from;
                if constexpr (PER == 1) value[j] = *from;
            }
#pragma unroll
            for (i32 r = 0; r < THREAD_ROWS; r++)
#pragma unroll
                for (i32 j = 0; j < V_COLUMNS; j++) {
                    f32& total = mixed[r][column0 / ACROSS + j];
                    total = fma(weights[r][e], value[j], total);
                }
        }
    }
}

// Stores a thread's columns of one row of out; NaN where `sum` is 0.
FN void store_row(f32* out, const f32 (&mixed)[COLUMNS], f32 sum, i32 tx, i32 out_column) {
#pragma unroll
    for (i32 j = 0; j < COLUMNS; j += PER) {
        i32 column = COLUMN(j);
        f32* to = out + column * out_column;
        __align__(16) f32 last[PER];
#pragma unroll
        for (i32 e = 0; e < PER; e++) last[e] = sum == 0 ? NAN : mixed[j + e];
        if (PER == 4 && OUT_VECTORS) {
            if (column < V_HEAD_DIM) *(float4*)to = *(const float4*)last;
        } else {
#pragma unroll
            for (i32 e = 0; e < PER; e++)
                if (column + e < V_HEAD_DIM) to[e * out_column] = last[e];
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, THREADS == 128 && D4 <= 64 && W <= 64 ? 4 : 2)
    attention(MATRICES) {
    __shared__ __align__(16) f32 qs[BQ][STEP(D4)];
    __shared__ __align__(16) f32 ks[BK][STEP(SPAN)];
    __shared__ __align__(16) f32 vs[BK][V_SPAN];
    __shared__ __align__(16) f32 ps[BQ][BK + 4];
    i32 b = blockIdx.y, tx = threadIdx.x % ACROSS, mine = threadIdx.x / ACROSS * THREAD_ROWS, first = blockIdx.x * BQ;
    BEGIN

    f32 top[THREAD_ROWS], sum[THREAD_ROWS] = {}, mixed[THREAD_ROWS][COLUMNS] = {};
#pragma unroll
    for (i32 r = 0; r < THREAD_ROWS; r++) top[r] = -FLT_MAX;
    for (i32 k0 = 0; k0 < n; k0 += BK) {
        f32 score[THREAD_ROWS][KEYS] = {};
#pragma unroll 1
        for (i32 column0 = 0; column0 < D4; column0 += SPAN) {
            if (column0 > 0) __syncthreads();
            keys.store(ks);
            __syncthreads();
            // The next operands come from memory while the scores are computed.
            i32 next = column0 + SPAN;
            if (next < D4) keys.fetch(k + next * k_column, k0, n, HEAD_DIM - next, k_row, k_column);
            else values.fetch(v, k0, n, V_HEAD_DIM, v_row, v_column);
            multiply_keys(score, qs, ks, mine, tx, column0);
        }
#pragma unroll
        for (i32 r = 0; r < THREAD_ROWS; r++) {
            bool inside = first + mine + r < m;
#pragma unroll
            for (i32 j = 0; j < KEYS; j++) {
                if (!inside || k0 + tx + j * ACROSS >= n) continue;
                i32 i = (b * m + first + mine + r) * n + k0 + tx + j * ACROSS;
                f32 acc = score[r][j];
                SCORE
                score[r][j] = acc;
            }
            f32 shrunk = softmax_step(score[r], top[r], sum[r], tx, n - k0, beta);
#pragma unroll
            for (i32 j = 0; j < KEYS; j++) ps[mine + r][tx + j * ACROSS] = score[r][j];
#pragma unroll
            for (i32 j = 0; j < COLUMNS; j++) mixed[r][j] *= shrunk;
        }
#pragma unroll
        for (i32 column0 = 0; column0 < W; column0 += V_SPAN) {
            if (column0 > 0) __syncthreads();
            values.store(vs);
            __syncthreads();
            i32 next = column0 + V_SPAN;
            if (next < W) values.fetch(v + next * v_column, k0, n, V_HEAD_DIM - next, v_row, v_column);
            else if (k0 + BK < n) keys.fetch(k, k0 + BK, n, HEAD_DIM, k_row, k_column);
            multiply_values(mixed, ps, vs, mine, tx, column0);
        }
    }

#pragma unroll
    for (i32 r = 0; r < THREAD_ROWS; r++)
        if (first + mine + r < m) store_row(out + (first + mine + r) * out_row, mixed[r], sum[r], tx, out_column);
}
