// out[b] (m, WIDE) = softmax(beta * SCORE(q[b] (m, DEEP) times k[b] (n, DEEP) turned)) times v[b] (n, WIDE). A block
// makes BQ rows of out: 16 threads share EACH rows, and go over the keys BK at a time. Matrices lie anywhere: each has
// its steps from one row and column to the next, and an index of where matrix `b` begins.
// A row's maximum `top` and sum are those of the keys so far. What they have mixed is a mean, its weights already
// divided by the sum, so that it overflows only where the values do.
// SCORE: statements on `acc`, element i of all scores, with parameters EXTRA_INPUTS.
// attention_mma: the same on tensor cores, operands rounded to binary16 (MMA 16) or TF32 (MMA 32); each of WARPS warps
// makes 16 rows.
// Only for CUDA.

#define ACROSS 16
#ifdef MMA
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;
#define THREADS (WARPS * 32)
#define BQ (WARPS * 16)
#if MMA == 16
typedef half operand;
typedef half stored;
#define MK 16
#define PAD 8
#define ROUNDED(v) __float2half(v)
#else
typedef wmma::precision::tf32 operand;
typedef f32 stored;
#define MK 8
#define PAD 4
#define ROUNDED(v) wmma::__float_to_tf32(v)
#endif
#define D4 ((DEEP + 15) / 16 * 16)
#else
typedef f32 stored;
#define ROUNDED(v) (v)
#define THREADS (BQ / EACH * ACROSS)
#define KEYS (BK / ACROSS)  // of a thread
#define D4 ((DEEP + 3) / 4 * 4)
#define STEP (D4 % 8 == 0 ? D4 + 4 : D4)  // from row to row: an odd number of vectors, so that rows lie in other banks
#endif
#define WHOLE(unit) ((WIDE + (unit)-1) / (unit) * (unit))
#define PER (WHOLE(64) == WHOLE(16) ? 4 : WHOLE(32) == WHOLE(16) ? 2 : 1)  // columns side by side that a thread makes
#define W WHOLE(16)
#define COLUMNS (W / ACROSS)
#define COLUMN(j) ((j) / PER * PER * ACROSS + tx * PER + (j) % PER)

// ROWS rows of `deep` numbers, from row `first` on, as far as there are: into registers, then to shared memory, where
// they are `padded` numbers with zeros behind. VECTORS: rows are whole vectors of four.
template <int ROWS, int PADDED, bool VECTORS> struct Rows {
    enum { ALONG = PADDED / 4, UNITS = ROWS * ALONG, LOADS = (UNITS + THREADS - 1) / THREADS };
    float4 held[LOADS];

    __device__ __forceinline__ void fetch(const f32* p, i32 first, i32 last, i32 deep, i32 row_step, i32 column_step) {
        i32 t = threadIdx.x, row = first + t / ALONG, column = t % ALONG * 4;
        const f32* from = p + row * row_step + column * column_step;
#pragma unroll
        for (i32 l = 0; l < LOADS; l++) {
            if (THREADS % ALONG != 0) {
                i32 u = t + l * THREADS;
                row = first + u / ALONG;
                column = u % ALONG * 4;
                from = p + row * row_step + column * column_step;
            }
            bool inside = row < last && (UNITS % THREADS == 0 || t + l * THREADS < UNITS);
            if (VECTORS) {
                held[l] = inside && column < deep ? *(const float4*)from : float4{};
            } else {
                held[l].x = inside && column < deep ? from[0] : 0;
                held[l].y = inside && column + 1 < deep ? from[column_step] : 0;
                held[l].z = inside && column + 2 < deep ? from[2 * column_step] : 0;
                held[l].w = inside && column + 3 < deep ? from[3 * column_step] : 0;
            }
            row += THREADS / ALONG;
            from += THREADS / ALONG * row_step;
        }
    }
    template <int STRIDE> __device__ __forceinline__ void store(stored (*to)[STRIDE]) const {
#pragma unroll
        for (i32 l = 0; l < LOADS; l++) {
            i32 u = threadIdx.x + l * THREADS;
            if (UNITS % THREADS != 0 && u >= UNITS) continue;
            stored* four = &to[u / ALONG][u % ALONG * 4];
#ifdef MMA
            four[0] = ROUNDED(held[l].x);
            four[1] = ROUNDED(held[l].y);
            four[2] = ROUNDED(held[l].z);
            four[3] = ROUNDED(held[l].w);
#else
            *(float4*)four = held[l];
#endif
        }
    }
};

#ifndef MMA
FN f32 dot4(float4 a, float4 b, f32 acc) { return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, acc)))); }

// Of 16 neighbouring threads.
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

extern "C" __global__ void __launch_bounds__(THREADS, THREADS == 128 && D4 <= 64 && W <= 64 ? 4 : 2)
    attention(const f32* __restrict__ q, const f32* __restrict__ k, const f32* __restrict__ v, f32* __restrict__ out,
              i32 m, i32 n, i32 q_row, i32 q_column, i32 k_row, i32 k_column, i32 v_row, i32 v_column, i32 out_row,
              i32 out_column, f32 beta EXTRA_INPUTS) {
    __shared__ __align__(16) f32 qs[BQ][STEP];
    __shared__ __align__(16) f32 ks[BK][STEP];
    __shared__ __align__(16) f32 vs[BK][W];
    __shared__ __align__(16) f32 ps[BQ][BK + 4];
    i32 b = blockIdx.y, tx = threadIdx.x % ACROSS, mine = threadIdx.x / ACROSS * EACH, first = blockIdx.x * BQ;
    q += Q_AT;
    k += K_AT;
    v += V_AT;
    out += OUT_AT;

    Rows<BQ, D4, Q_VECTORS> queries;
    queries.fetch(q, first, m, DEEP, q_row, q_column);
    queries.store(qs);
    Rows<BK, D4, K_VECTORS> keys;
    Rows<BK, W, V_VECTORS> values;
    keys.fetch(k, 0, n, DEEP, k_row, k_column);

    f32 top[EACH], sum[EACH], mixed[EACH][COLUMNS] = {};
#pragma unroll
    for (i32 r = 0; r < EACH; r++) {
        top[r] = -FLT_MAX;
        sum[r] = 0;
    }
    for (i32 k0 = 0; k0 < n; k0 += BK) {
        keys.store(ks);
        __syncthreads();
        values.fetch(v, k0, n, WIDE, v_row, v_column);  // they come from memory while the scores are made

        f32 score[EACH][KEYS] = {};
#pragma unroll(D4 > 64 || W > 64 ? 1 : 2)
        for (i32 c = 0; c < D4; c += 4) {
            float4 a[EACH];
#pragma unroll
            for (i32 r = 0; r < EACH; r++) a[r] = *(const float4*)&qs[mine + r][c];
#pragma unroll
            for (i32 j = 0; j < KEYS; j++) {
                float4 key = *(const float4*)&ks[tx + j * ACROSS][c];
#pragma unroll
                for (i32 r = 0; r < EACH; r++) score[r][j] = dot4(a[r], key, score[r][j]);
            }
        }

#pragma unroll
        for (i32 r = 0; r < EACH; r++) {
            f32 before = top[r], here = 0;
            bool inside = first + mine + r < m;
#pragma unroll
            for (i32 j = 0; j < KEYS; j++) {
                i32 key = k0 + tx + j * ACROSS;
                if (!inside || key >= n) continue;
                i32 i = (b * m + first + mine + r) * n + key;
                f32 acc = score[r][j];
                SCORE
                score[r][j] = acc;
                top[r] = top[r] < acc ? acc : top[r];
            }
            top[r] = row_max(top[r]);
#pragma unroll
            for (i32 j = 0; j < KEYS; j++) {
                score[r][j] = k0 + tx + j * ACROSS < n ? exp(beta * (score[r][j] - top[r])) : 0;
                here += score[r][j];
            }
            f32 old = sum[r] * exp(beta * (before - top[r]));
            sum[r] = old + row_sum(here);
            f32 share = sum[r] == 0 ? 0 : 1 / sum[r];  // 0 while all scores are -infinity
#pragma unroll
            for (i32 j = 0; j < KEYS; j++) ps[mine + r][tx + j * ACROSS] = score[r][j] * share;
#pragma unroll
            for (i32 j = 0; j < COLUMNS; j++) mixed[r][j] *= old * share;
        }
        values.store(vs);
        __syncthreads();
        if (k0 + BK < n) keys.fetch(k, k0 + BK, n, DEEP, k_row, k_column);  // while the values are mixed

#pragma unroll(D4 > 64 || W > 64 ? 1 : 2)
        for (i32 c = 0; c < BK; c += 4) {
            __align__(16) f32 weights[EACH][4];
#pragma unroll
            for (i32 r = 0; r < EACH; r++) *(float4*)weights[r] = *(const float4*)&ps[mine + r][c];
#pragma unroll
            for (i32 e = 0; e < 4; e++) {
                __align__(16) f32 value[COLUMNS];
#pragma unroll
                for (i32 j = 0; j < COLUMNS; j += PER) {
                    const f32* from = &vs[c + e][COLUMN(j)];
                    if constexpr (PER == 4) *(float4*)(value + j) = *(const float4*)from;
                    if constexpr (PER == 2) *(float2*)(value + j) = *(const float2*)from;
                    if constexpr (PER == 1) value[j] = *from;
                }
#pragma unroll
                for (i32 r = 0; r < EACH; r++)
#pragma unroll
                    for (i32 j = 0; j < COLUMNS; j++) mixed[r][j] = fma(weights[r][e], value[j], mixed[r][j]);
            }
        }
    }

#pragma unroll
    for (i32 r = 0; r < EACH; r++) {
        i32 row = first + mine + r;
        if (row >= m) continue;
#pragma unroll
        for (i32 j = 0; j < COLUMNS; j += PER) {
            i32 column = COLUMN(j);
            f32* to = out + row * out_row + column * out_column;
            __align__(16) f32 last[PER];
#pragma unroll
            for (i32 e = 0; e < PER; e++) last[e] = sum[r] == 0 ? NAN : mixed[r][j + e];
            if (PER == 4 && OUT_VECTORS) {
                if (column < WIDE) *(float4*)to = *(const float4*)last;
            } else {
#pragma unroll
                for (i32 e = 0; e < PER; e++)
                    if (column + e < WIDE) to[e * out_column] = last[e];
            }
        }
    }
}
#else
#define SLACK 8.0f  // how far above e^0 weights may grow before what is mixed is brought back to scale
#define MINE(j) ((j) / 2 * 4 + side * 2 + (j) % 2)

extern "C" __global__ void __launch_bounds__(THREADS, 384 / THREADS)
    attention_mma(const f32* __restrict__ q, const f32* __restrict__ k, const f32* __restrict__ v,
                  f32* __restrict__ out, i32 m, i32 n, i32 q_row, i32 q_column, i32 k_row, i32 k_column, i32 v_row,
                  i32 v_column, i32 out_row, i32 out_column, f32 beta EXTRA_INPUTS) {
    __shared__ __align__(32) stored qs[BQ][D4 + PAD];
    __shared__ __align__(32) stored ks[BK][D4 + PAD];
    __shared__ __align__(32) stored vs[BK][W + PAD];
    __shared__ __align__(32) f32 rows[WARPS][16][BK + 4];  // of a warp alone: scores, then weights as operands
    // Two neighbouring lanes share a row of the warp's 16, each with every second pair of keys.
    i32 b = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32, mine = lane / 2, side = lane % 2;
    i32 first = blockIdx.x * BQ, row = first + warp * 16 + mine;
    f32* scores = rows[warp][mine];
    stored* weights = (stored*)rows[warp] + mine * (BK + PAD);
    q += Q_AT;
    k += K_AT;
    v += V_AT;
    out += OUT_AT;

    Rows<BQ, D4, Q_VECTORS> queries;
    queries.fetch(q, first, m, DEEP, q_row, q_column);
    queries.store(qs);
    Rows<BK, D4, K_VECTORS> keys;
    Rows<BK, W, V_VECTORS> values;
    keys.fetch(k, 0, n, DEEP, k_row, k_column);

    f32 top = -FLT_MAX, sum = 0;
    wmma::fragment<wmma::accumulator, 16, 16, MK, f32> mixed[W / 16];
#pragma unroll
    for (i32 f = 0; f < W / 16; f++) wmma::fill_fragment(mixed[f], 0);
    for (i32 k0 = 0; k0 < n; k0 += BK) {
        keys.store(ks);
        __syncthreads();
        values.fetch(v, k0, n, WIDE, v_row, v_column);  // they come from memory while the scores are made

        wmma::fragment<wmma::accumulator, 16, 16, MK, f32> made[BK / 16];
#pragma unroll
        for (i32 f = 0; f < BK / 16; f++) wmma::fill_fragment(made[f], 0);
#pragma unroll 1
        for (i32 c = 0; c < D4; c += MK) {
            wmma::fragment<wmma::matrix_a, 16, 16, MK, operand, wmma::row_major> a;
            wmma::load_matrix_sync(a, &qs[warp * 16][c], D4 + PAD);
#pragma unroll
            for (i32 f = 0; f < BK / 16; f++) {
                wmma::fragment<wmma::matrix_b, 16, 16, MK, operand, wmma::col_major> key;
                wmma::load_matrix_sync(key, &ks[f * 16][c], D4 + PAD);
                wmma::mma_sync(made[f], a, key, made[f]);
            }
        }
#pragma unroll
        for (i32 f = 0; f < BK / 16; f++)
            wmma::store_matrix_sync(&rows[warp][0][f * 16], made[f], BK + 4, wmma::mem_row_major);
        __syncwarp();

        f32 score[BK / 2], highest = -FLT_MAX;
#pragma unroll
        for (i32 j = 0; j < BK / 2; j++) {
            i32 key = k0 + MINE(j);
            score[j] = 0;
            if (row >= m || key >= n) continue;
            i32 i = (b * m + row) * n + key;
            f32 acc = scores[MINE(j)];
            SCORE
            score[j] = acc;
            highest = highest < acc ? acc : highest;
        }
        f32 other = __shfl_xor_sync(0xffffffffu, highest, 1);
        highest = highest < other ? other : highest;
        bool grows = beta * (highest - top) > SLACK;
        f32 scale = grows ? exp(beta * (top - highest)) : 1;
        top = grows ? highest : top;
        if (__ballot_sync(0xffffffffu, grows)) {  // all scores of the warp have been read: their place serves
#pragma unroll
            for (i32 f = 0; f < W / 16; f++) {
                wmma::store_matrix_sync(&rows[warp][0][0], mixed[f], BK + 4, wmma::mem_row_major);
                __syncwarp();
#pragma unroll
                for (i32 e = 0; e < 8; e++) scores[side * 8 + e] *= scale;
                __syncwarp();
                wmma::load_matrix_sync(mixed[f], &rows[warp][0][0], BK + 4, wmma::mem_row_major);
                __syncwarp();
            }
        }
        f32 here = 0;
#pragma unroll
        for (i32 j = 0; j < BK / 2; j++) {
            score[j] = k0 + MINE(j) < n ? exp(beta * (score[j] - top)) : 0;
            here += score[j];
        }
        sum = sum * scale + here + __shfl_xor_sync(0xffffffffu, here, 1);
        __syncwarp();
#pragma unroll
        for (i32 j = 0; j < BK / 2; j++) weights[MINE(j)] = ROUNDED(score[j]);
        values.store(vs);
        __syncthreads();
        if (k0 + BK < n) keys.fetch(k, k0 + BK, n, DEEP, k_row, k_column);  // while the values are mixed

#pragma unroll 1
        for (i32 c = 0; c < BK; c += MK) {
            wmma::fragment<wmma::matrix_a, 16, 16, MK, operand, wmma::row_major> a;
            wmma::load_matrix_sync(a, (const stored*)rows[warp] + c, BK + PAD);
#pragma unroll
            for (i32 f = 0; f < W / 16; f++) {
                wmma::fragment<wmma::matrix_b, 16, 16, MK, operand, wmma::row_major> value;
                wmma::load_matrix_sync(value, &vs[c][f * 16], W + PAD);
                wmma::mma_sync(mixed[f], a, value, mixed[f]);
            }
        }
        __syncwarp();
    }

#pragma unroll
    for (i32 f = 0; f < W / 16; f++) {
        wmma::store_matrix_sync(&rows[warp][0][0], mixed[f], BK + 4, wmma::mem_row_major);
        __syncwarp();
#pragma unroll
        for (i32 e = 0; e < 8; e++) {
            i32 column = f * 16 + side * 8 + e;
            if (row < m && column < WIDE)
                out[row * out_row + column * out_column] = sum == 0 ? NAN : scores[side * 8 + e] / sum;
        }
        __syncwarp();
    }
}
#endif
