// Batched GEMM (batched_gemm.cuh) on CUDA cores: 16 x 16 threads compute SIDE x SIDE outputs.
// Only for CUDA.

#define THREADS 256
#if defined(QUANTIZED) || defined(HYBRID)
#define DEPTH 8
#else
#define DEPTH 16
#endif
#define PER (SIDE / 16)
#include "batched_gemm.cuh"

// acc += the tiles of x and y.
FN void multiply(sum (&acc)[PER][PER], const word (&xs)[DEPTH][SIDE + 1], const word (&ys)[DEPTH][SIDE + 1], i32 ty,
                 i32 tx) {
#pragma unroll
    for (i32 kk = 0; kk < DEPTH; kk++) {
        word a[PER], c[PER];
#pragma unroll
        for (i32 i = 0; i < PER; i++) {
            a[i] = xs[kk][ty + i * 16];
            c[i] = ys[kk][tx + i * 16];
        }
#pragma unroll
        for (i32 i = 0; i < PER; i++)
#pragma unroll
            for (i32 j = 0; j < PER; j++) acc[i][j] = MAC(a[i], c[j], acc[i][j]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    batched_gemm(const IN_T* __restrict__ x, const IN_T* __restrict__ y, SCALES OUT_T* __restrict__ out, i32 m, i32 n,
                 i32 k, i32 x_row, i32 x_column, i32 y_row, i32 y_column BOUNDS) {
    __shared__ word xs[DEPTH][SIDE + 1];  // by k, row
    __shared__ word ys[DEPTH][SIDE + 1];  // by k, column
#ifdef QUANTIZED
    __shared__ sum x_sums[SIDE], y_sums[SIDE];
    sum my_x[LOADS] = {}, my_y[LOADS] = {};
    if (threadIdx.x < SIDE) x_sums[threadIdx.x] = y_sums[threadIdx.x] = 0;
#endif
    i32 b = blockIdx.z, t = threadIdx.x, m0 = blockIdx.x * SIDE, n0 = blockIdx.y * SIDE;
    i32 tx = t % 16, ty = t / 16;
    x += X_BATCH;
    y += Y_BATCH;
    out += (i64)b * m * n;

    sum acc[PER][PER] = {};
    for (i32 k0 = 0; k0 < k; k0 += DEPTH * LANES) {
#pragma unroll
        for (i32 i = 0; i < LOADS; i++) {
            i32 u = t + i * THREADS, xk = K_OF(u, X_ALONG_K), row = ROW_OF(u, X_ALONG_K);
            i32 yk = K_OF(u, Y_ALONG_K), column = ROW_OF(u, Y_ALONG_K);
            word a = load_lanes(x + (m0 + row) * x_row, m0 + row < m, k0 + xk * LANES, k, x_column, X_WORDS);
            word c = load_lanes(y + (n0 + column) * y_column, n0 + column < n, k0 + yk * LANES, k, y_row, Y_WORDS);
            xs[xk][row] = a;
            ys[yk][column] = c;
#ifdef QUANTIZED
            my_x[i] = __dp4a(a, 0x01010101, my_x[i]);
            my_y[i] = __dp4a(c, 0x01010101, my_y[i]);
#endif
        }
        __syncthreads();
        multiply(acc, xs, ys, ty, tx);
        __syncthreads();
    }
#ifdef QUANTIZED
#pragma unroll
    for (i32 i = 0; i < LOADS; i++) {
        i32 u = t + i * THREADS;
        atomicAdd(&x_sums[ROW_OF(u, X_ALONG_K)], my_x[i]);
        atomicAdd(&y_sums[ROW_OF(u, Y_ALONG_K)], my_y[i]);
    }
    __syncthreads();
#endif
#pragma unroll
    for (i32 i = 0; i < PER; i++)
#pragma unroll
        for (i32 j = 0; j < PER; j++) {
            i32 row = m0 + ty + i * 16, column = n0 + tx + j * 16;
            if (row >= m || column >= n) continue;
#ifdef QUANTIZED
            sum x_sum = x_sums[ty + i * 16], y_sum = y_sums[tx + j * 16];
            out[row * n + column] = epilogue(acc[i][j], x_sum, y_sum, b * m + row, column SCALES_ARGS, k BOUNDS_ARGS);
#else
            out[row * n + column] = acc[i][j];
#endif
        }
}
