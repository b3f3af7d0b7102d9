// Products (gemm.cuh) on tensor cores: a block makes BM x BN outputs, each of its four warps a quarter. MMA: bits of an
// operand.
// Only for CUDA.
#include "gemm.cuh"
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;

#define THREADS 128
#if MMA == 16  // operands rounded to binary16
typedef half operand;
typedef half shared_operand;
#define MK 16
#define PAD 8
#define ROUNDED(v) __float2half(v)
#elif MMA == 32  // operands rounded to TF32
typedef wmma::precision::tf32 operand;
typedef f32 shared_operand;
#define MK 8
#define PAD 4
#define ROUNDED(v) wmma::__float_to_tf32(v)
#else  // int8
typedef i8 operand;
typedef i8 shared_operand;
#define MK 16
#define PAD 16
#define ROUNDED(v) (v)
#endif
#define KB (BK * LANES)
#define X_LOADS (BM * BK / LOAD / THREADS)
#define WIDE (16 / (i32)sizeof(shared_operand))
#define W_LOADS (KB * BN / WIDE / THREADS)
#include "gemm_rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    gemm_mma(const X_T* __restrict__ x, const shared_operand* __restrict__ weights, const BIAS_T* __restrict__ bias, SCALES,
             OUT_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, i32 fill, IMAGE,
         ZEROS ENDS EXTRA DW) {
    __shared__ __align__(32) shared_operand xs[BM][KB + PAD];
    __shared__ __align__(32) shared_operand ws[KB][BN + PAD];
    __shared__ __align__(32) sum sums[BM][BN + 4];
#ifdef UNSIGNED
    __shared__ sum row_sums[BM];
    if (threadIdx.x < BM) row_sums[threadIdx.x] = 0;
    sum row_sum = 0;
#endif
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    i32 my = t / 64 * (BM / 2), mx = t / 32 % 2 * (BN / 2);

    Row rows[X_ROWS];
    begin_rows(rows, x, t, m0, m, IMAGE_ARGS, SCALES_ARGS);
    wmma::fragment<wmma::accumulator, 16, 16, MK, sum> acc[BM / 32][BN / 32];
#pragma unroll
    for (i32 i = 0; i < BM / 32; i++)
#pragma unroll
        for (i32 j = 0; j < BN / 32; j++) wmma::fill_fragment(acc[i][j], 0);

    for (i32 k0 = first; k0 < last; k0 += BK) {
#pragma unroll 2
        for (i32 i = 0; i < X_LOADS; i++) {
            i32 u = t + i * THREADS, at = X_AT(u);
            word v[LOAD];
            fetch(v, ROW(i), k0 + at, last, k, (word)fill, IMAGE_ARGS DW_ARGS);
#pragma unroll
            for (i32 e = 0; e < LOAD; e++)
#ifdef CODES
                *(word*)&xs[X_ROW(u)][(at + e) * LANES] = v[e];
#else
                xs[X_ROW(u)][at + e] = ROUNDED(v[e]);
#endif
        }
#pragma unroll
        for (i32 i = 0; i < W_LOADS; i++) {
            i32 u = t + i * THREADS, kk = u / (BN / WIDE), j = u % (BN / WIDE) * WIDE;
            i64 from = ((i64)k0 * LANES + kk) * columns + n0 + j;
            *(uint4*)&ws[kk][j] = k0 * LANES + kk < last * LANES ? *(const uint4*)(weights + from) : uint4{};
        }
        __syncthreads();
#ifdef UNSIGNED
#pragma unroll 4
        for (i32 kk = t / BM; kk < BK; kk += THREADS / BM)
            row_sum = __dp4a(*(const word*)&xs[t % BM][kk * LANES], 0x01010101, row_sum);
#endif
#pragma unroll
        for (i32 kk = 0; kk < KB; kk += MK) {
            wmma::fragment<wmma::matrix_a, 16, 16, MK, operand, wmma::row_major> a[BM / 32];
            wmma::fragment<wmma::matrix_b, 16, 16, MK, operand, wmma::row_major> b[BN / 32];
#pragma unroll
            for (i32 i = 0; i < BM / 32; i++) wmma::load_matrix_sync(a[i], &xs[my + i * 16][kk], KB + PAD);
#pragma unroll
            for (i32 j = 0; j < BN / 32; j++) wmma::load_matrix_sync(b[j], &ws[kk][mx + j * 16], BN + PAD);
#pragma unroll
            for (i32 i = 0; i < BM / 32; i++)
#pragma unroll
                for (i32 j = 0; j < BN / 32; j++) wmma::mma_sync(acc[i][j], a[i], b[j], acc[i][j]);
        }
        __syncthreads();
    }

#pragma unroll
    for (i32 i = 0; i < BM / 32; i++)
#pragma unroll
        for (i32 j = 0; j < BN / 32; j++)
            wmma::store_matrix_sync(&sums[my + i * 16][mx + j * 16], acc[i][j], BN + 4, wmma::mem_row_major);
#ifdef UNSIGNED
    atomicAdd(&row_sums[t % BM], row_sum - (i8)fill * LANES * ((last - first + BK - 1) / BK * BK / (THREADS / BM)));
#endif
    __syncthreads();
    for (i32 u = t; u < BM * BN; u += THREADS) {
        i32 row = m0 + u / BN, column = n0 + u % BN;
        if (row >= m || column >= n) continue;
        sum total = sums[u / BN][u % BN];
#ifdef UNSIGNED
        total -= w_zero * row_sums[u / BN];
#endif
#ifdef SPLIT
        out[((i64)blockIdx.z * m + row) * n + column] = total;
#else
        out[(i64)row * n + column] =
            finished(total, bias, row, column, n, SCALES_ARGS, ENDS_ARGS EXTRA_PASSED);
#endif
    }
}
