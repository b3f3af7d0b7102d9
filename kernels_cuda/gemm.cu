// Products (gemm.cuh) on CUDA cores: a block makes BM x BN outputs, a thread TM x TN of them.
// Only for CUDA.
#include "gemm.cuh"

#define THREADS (BM / TM * (BN / TN))
#define X_LOADS (BM * BK / LOAD / THREADS)
#define W_LOADS (BK * BN / 4 / THREADS)

#include "gemm_rows.cuh"

// slice: words of k for each of gridDim.z stretches; columns: n rounded up to whole blocks. With SPLIT, out is the sums
// of each stretch.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    gemm(const X_T* __restrict__ x, const word* __restrict__ weights, const BIAS_T* __restrict__ bias, SCALES,
         OUT_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, i32 fill, IMAGE,
         ZEROS ENDS EXTRA DW) {
    __shared__ word xs[BK][BM + 4];
    __shared__ word ws[BK][BN];
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    i32 tx = t % (BN / TN), ty = t / (BN / TN);

    Row rows[X_ROWS];
    begin_rows(rows, x, t, m0, m, IMAGE_ARGS, SCALES_ARGS);

    word next_x[X_LOADS][LOAD];
    words next_w[W_LOADS];
    sum acc[TM][TN] = {};
#ifdef UNSIGNED
    sum row_sums[TM] = {};
#endif
    for (i32 k0 = first - BK; k0 < last; k0 += BK) {
        // The next tiles come from memory while the present ones are multiplied.
        if (k0 + BK < last) {
#pragma unroll
            for (i32 i = 0; i < X_LOADS; i++)
                fetch(next_x[i], ROW(i), k0 + BK + X_AT(t + i * THREADS), last, k, (word)fill, IMAGE_ARGS DW_ARGS);
#pragma unroll
            for (i32 i = 0; i < W_LOADS; i++) {
                i32 u = t + i * THREADS, kk = k0 + BK + u / (BN / 4);
                next_w[i] = kk < last ? *(const words*)(weights + (i64)kk * columns + n0 + u % (BN / 4) * 4) : words{};
            }
        }
        if (k0 >= first) {
#pragma unroll
            for (i32 kk = 0; kk < BK; kk++) {
                word a[TM], b[TN];
#pragma unroll
                for (i32 i = 0; i < TM; i += 4) *(words*)(a + i) = *(const words*)&xs[kk][ty * TM + i];
#pragma unroll
                for (i32 j = 0; j < TN; j += 4) *(words*)(b + j) = *(const words*)&ws[kk][tx * TN + j];
#ifdef UNSIGNED
#pragma unroll
                for (i32 i = 0; i < TM; i++) row_sums[i] = __dp4a(a[i], 0x01010101, row_sums[i]);
#endif
#pragma unroll
                for (i32 i = 0; i < TM; i++)
#pragma unroll
                    for (i32 j = 0; j < TN; j++) acc[i][j] = MAC(a[i], b[j], acc[i][j]);
            }
        }
        if (k0 + BK < last) {
            __syncthreads();
#pragma unroll
            for (i32 i = 0; i < X_LOADS; i++)
#pragma unroll
                for (i32 e = 0; e < LOAD; e++) {
                    i32 u = t + i * THREADS;
                    xs[X_AT(u) + e][X_ROW(u)] = next_x[i][e];
                }
#pragma unroll
            for (i32 i = 0; i < W_LOADS; i++) {
                i32 u = t + i * THREADS;
                *(words*)&ws[u / (BN / 4)][u % (BN / 4) * 4] = next_w[i];
            }
            __syncthreads();
        }
    }

#pragma unroll
    for (i32 i = 0; i < TM; i++)
#pragma unroll
        for (i32 j = 0; j < TN; j++) {
            i32 row = m0 + ty * TM + i, column = n0 + tx * TN + j;
            if (row >= m || column >= n) continue;
#ifdef UNSIGNED
            // Where a word holds nothing of the row, it holds `fill`, x's zero point.
            acc[i][j] -= w_zero * (row_sums[i] - (i8)fill * LANES * ((last - first + BK - 1) / BK * BK));
#endif
#ifdef SPLIT
            out[((i64)blockIdx.z * m + row) * n + column] = acc[i][j];
#else
            out[(i64)row * n + column] = finished(acc[i][j], bias, row, column, n, SCALES_ARGS, ENDS_ARGS EXTRA_PASSED);
#endif
        }
}
