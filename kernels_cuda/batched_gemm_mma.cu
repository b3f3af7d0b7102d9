// Batched GEMM of int8 (batched_gemm.cuh) on tensor cores: each of four warps computes a quarter of the outputs.
// Only for CUDA.

#include <mma.h>
using namespace nvcuda;
#define THREADS 128
#define SIDE 64
#define DEPTH 16
#define KB (DEPTH * 4)
#define PAD 16
#include "batched_gemm.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    batched_gemm_mma(const i8* __restrict__ x, const i8* __restrict__ y, SCALES OUT_T* __restrict__ out, i32 m, i32 n,
                     i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column BOUNDS) {
    __shared__ __align__(32) i8 xs[SIDE][KB + PAD];  // by row, k
    __shared__ __align__(32) i8 ys[SIDE][KB + PAD];  // by column, k
    __shared__ __align__(32) sum sums[SIDE][SIDE + 4];
    __shared__ sum x_sums[SIDE], y_sums[SIDE];
    i32 b = blockIdx.z, t = threadIdx.x, m0 = blockIdx.x * SIDE, n0 = blockIdx.y * SIDE;
    i32 my = t / 64 * (SIDE / 2), mx = t / 32 % 2 * (SIDE / 2);
    const i8* mine = t < SIDE ? xs[t] : ys[t - SIDE];  // the row or column that this thread sums
    sum total = 0;
    x += X_BATCH;
    y += Y_BATCH;
    out += (i64)b * m * n;

    wmma::fragment<wmma::accumulator, 16, 16, 16, sum> acc[2][2];
#pragma unroll
    for (i32 i = 0; i < 4; i++) wmma::fill_fragment(acc[i / 2][i % 2], 0);
    for (i32 k0 = 0; k0 < k; k0 += KB) {
#pragma unroll(X_WORDS && Y_WORDS ? 4 : 2)
        for (i32 i = 0; i < LOADS; i++) {
            i32 u = t + i * THREADS, xk = K_OF(u, X_ALONG_K), row = ROW_OF(u, X_ALONG_K);
            i32 yk = K_OF(u, Y_ALONG_K), column = ROW_OF(u, Y_ALONG_K);
            word a = load_lanes(x + (m0 + row) * x_row, m0 + row < m, k0 + xk * LANES, k, x_column, X_WORDS);
            word c = load_lanes(y + (n0 + column) * y_column, n0 + column < n, k0 + yk * LANES, k, y_row, Y_WORDS);
            *(word*)&xs[row][xk * LANES] = a;
            *(word*)&ys[column][yk * LANES] = c;
        }
        __syncthreads();
#pragma unroll
        for (i32 kk = 0; kk < KB; kk += 16) {
            int4 four = *(const int4*)(mine + kk);
            total = __dp4a(four.x, 0x01010101, __dp4a(four.y, 0x01010101, total));
            total = __dp4a(four.z, 0x01010101, __dp4a(four.w, 0x01010101, total));
            wmma::fragment<wmma::matrix_a, 16, 16, 16, i8, wmma::row_major> a[2];
            wmma::fragment<wmma::matrix_b, 16, 16, 16, i8, wmma::col_major> c[2];
#pragma unroll
            for (i32 i = 0; i < 2; i++) {
                wmma::load_matrix_sync(a[i], &xs[my + i * 16][kk], KB + PAD);
                wmma::load_matrix_sync(c[i], &ys[mx + i * 16][kk], KB + PAD);
            }
#pragma unroll
            for (i32 i = 0; i < 4; i++) wmma::mma_sync(acc[i / 2][i % 2], a[i / 2], c[i % 2], acc[i / 2][i % 2]);
        }
        __syncthreads();
    }

#pragma unroll
    for (i32 i = 0; i < 4; i++)
        wmma::store_matrix_sync(&sums[my + i / 2 * 16][mx + i % 2 * 16], acc[i / 2][i % 2], SIDE + 4,
                                wmma::mem_row_major);
    (t < SIDE ? x_sums : y_sums)[t % SIDE] = total;
    __syncthreads();
    for (i32 u = t; u < SIDE * SIDE; u += THREADS) {
        i32 i = u / SIDE, j = u % SIDE, row = m0 + i, column = n0 + j;
        if (row < m && column < n)
            out[row * n + column] =
                epilogue(sums[i][j], x_sums[i], y_sums[j], b * m + row, column SCALES_ARGS, k BOUNDS_ARGS);
    }
}
