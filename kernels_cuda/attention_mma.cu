// Attention on tensor cores (attention.cuh), operands rounded to float16 (MMA 16) or TF32 (MMA 32); each of WARPS
// warps computes 16 rows.
// Only for CUDA.

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
#include "attention.cuh"
#define D4 ((HEAD_DIM + 15) / 16 * 16)
#define W ROUND_UP(16)
#define SPAN D4
#define V_SPAN W
#define SLACK 8.0f  // the exponent up to which weights may grow before `mixed` is rescaled
#define MINE(j) ((j) / 2 * 4 + side * 2 + (j) % 2)

typedef wmma::fragment<wmma::matrix_a, 16, 16, MK, operand, wmma::row_major> Left;
typedef wmma::fragment<wmma::accumulator, 16, 16, MK, f32> Products;
typedef f32 Rows[16][BK + 4];  // one warp's rows in shared memory: scores, then weights as operands

// rows = the warp's queries times the keys.
FN void multiply_keys(Rows& rows, const stored (&qs)[BQ][D4 + PAD], const stored (&ks)[BK][D4 + PAD], i32 warp) {
    Products products[BK / 16];
#pragma unroll
    for (i32 f = 0; f < BK / 16; f++) wmma::fill_fragment(products[f], 0);
#pragma unroll 1
    for (i32 c = 0; c < D4; c += MK) {
        Left a;
        wmma::load_matrix_sync(a, &qs[warp * 16][c], D4 + PAD);
#pragma unroll
        for (i32 f = 0; f < BK / 16; f++) {
            wmma::fragment<wmma::matrix_b, 16, 16, MK, operand, wmma::col_major> key;
            wmma::load_matrix_sync(key, &ks[f * 16][c], D4 + PAD);
            wmma::mma_sync(products[f], a, key, products[f]);
        }
    }
#pragma unroll
    for (i32 f = 0; f < BK / 16; f++)
        wmma::store_matrix_sync(&rows[0][f * 16], products[f], BK + 4, wmma::mem_row_major);
    __syncwarp();
}

// mixed *= the row's `scale`, by way of shared memory.
FN void rescale(Products (&mixed)[W / 16], Rows& rows, f32* row, i32 side, f32 scale) {
#pragma unroll
    for (i32 f = 0; f < W / 16; f++) {
        wmma::store_matrix_sync(&rows[0][0], mixed[f], BK + 4, wmma::mem_row_major);
        __syncwarp();
#pragma unroll
        for (i32 e = 0; e < 8; e++) row[side * 8 + e] *= scale;
        __syncwarp();
        wmma::load_matrix_sync(mixed[f], &rows[0][0], BK + 4, wmma::mem_row_major);
        __syncwarp();
    }
}

// mixed += the warp's weights times the values.
FN void multiply_values(Products (&mixed)[W / 16], const Rows& rows, const stored (&vs)[BK][W + PAD]) {
#pragma unroll 1
    for (i32 c = 0; c < BK; c += MK) {
        Left a;
        wmma::load_matrix_sync(a, (const stored*)rows + c, BK + PAD);
#pragma unroll
        for (i32 f = 0; f < W / 16; f++) {
            wmma::fragment<wmma::matrix_b, 16, 16, MK, operand, wmma::row_major> value;
            wmma::load_matrix_sync(value, &vs[c][f * 16], W + PAD);
            wmma::mma_sync(mixed[f], a, value, mixed[f]);
        }
    }
    __syncwarp();
}

// Stores the warp's rows of out, of which this thread has half a row, NaN where `sum` is 0.
FN void store_rows(f32* out, const Products (&mixed)[W / 16], Rows& rows, const f32* row, i32 side, f32 sum,
                   bool inside, i32 out_column) {
#pragma unroll
    for (i32 f = 0; f < W / 16; f++) {
        wmma::store_matrix_sync(&rows[0][0], mixed[f], BK + 4, wmma::mem_row_major);
        __syncwarp();
#pragma unroll
        for (i32 e = 0; e < 8; e++) {
            i32 column = f * 16 + side * 8 + e;
            if (inside && column < V_HEAD_DIM) out[column * out_column] = sum == 0 ? NAN : row[side * 8 + e] / sum;
        }
        __syncwarp();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 384 / THREADS)
    attention_mma(MATRICES) {
    __shared__ __align__(32) stored qs[BQ][D4 + PAD];
    __shared__ __align__(32) stored ks[BK][D4 + PAD];
    __shared__ __align__(32) stored vs[BK][W + PAD];
    __shared__ __align__(32) Rows rows[WARPS];
    // Two neighbouring lanes share a row of the warp's 16, each with every second pair of keys.
    i32 b = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32, mine = lane / 2, side = lane % 2;
    i32 first = blockIdx.x * BQ, row = first + warp * 16 + mine;
    f32* scores = rows[warp][mine];
    stored* weights = (stored*)rows[warp] + mine * (BK + PAD);
    BEGIN

    f32 top = -FLT_MAX, sum = 0;
    Products mixed[W / 16];
#pragma unroll
    for (i32 f = 0; f < W / 16; f++) wmma::fill_fragment(mixed[f], 0);
    for (i32 k0 = 0; k0 < n; k0 += BK) {
        keys.store(ks);
        __syncthreads();
        values.fetch(v, k0, n, V_HEAD_DIM, v_row, v_column);  // they come from memory while the scores are computed
        multiply_keys(rows[warp], qs, ks, warp);

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
        // The warp has read all its scores, so their memory is free.
        if (__ballot_sync(0xffffffffu, grows)) rescale(mixed, rows[warp], scores, side, scale);
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
        if (k0 + BK < n) keys.fetch(k, k0 + BK, n, HEAD_DIM, k_row, k_column);  // while the values are mixed
        multiply_values(mixed, rows[warp], vs);
    }
    store_rows(out + row * out_row, mixed, rows[warp], scores, side, sum, row < m, out_column);
}
