// out (b, m, n) = x (b, m, k) times y (b, k, n), both computed at run time, by their steps from one row and column to the
// next. A block of 16 x 16 threads makes 32 x 32 of matrix b = blockIdx.z. ALONG_K: which of x and y lie along k.
// Only for CUDA.

#define SIDE 32

extern "C" __global__ void __launch_bounds__(256)
    products(const f32* __restrict__ x, const f32* __restrict__ y, f32* __restrict__ out, i32 m, i32 n, i32 k, i32 x_row,
             i32 x_column, i32 y_row, i32 y_column) {
    __shared__ f32 xs[SIDE][SIDE + 1];  // by k, row
    __shared__ f32 ys[SIDE][SIDE + 1];  // by k, column
    i32 b = blockIdx.z, t = threadIdx.x, m0 = blockIdx.x * SIDE, n0 = blockIdx.y * SIDE;
    i32 tx = t % 16, ty = t / 16;
    x += X_BATCH;
    y += Y_BATCH;
    out += (i64)b * m * n;

    f32 acc[2][2] = {};
    for (i32 k0 = 0; k0 < k; k0 += SIDE) {
#pragma unroll
        for (i32 u = t; u < SIDE * SIDE; u += 256) {
            i32 far = u / SIDE, near = u % SIDE;  // neighbouring threads read neighbours in memory
            i32 xk = X_ALONG_K ? near : far, row = X_ALONG_K ? far : near;
            i32 yk = Y_ALONG_K ? near : far, column = Y_ALONG_K ? far : near;
            xs[xk][row] = k0 + xk < k && m0 + row < m ? x[(m0 + row) * x_row + (k0 + xk) * x_column] : 0;
            ys[yk][column] = k0 + yk < k && n0 + column < n ? y[(k0 + yk) * y_row + (n0 + column) * y_column] : 0;
        }
        __syncthreads();
#pragma unroll
        for (i32 kk = 0; kk < SIDE; kk++) {
            f32 a[2] = {xs[kk][ty], xs[kk][ty + 16]}, c[2] = {ys[kk][tx], ys[kk][tx + 16]};
#pragma unroll
            for (i32 i = 0; i < 2; i++)
#pragma unroll
                for (i32 j = 0; j < 2; j++) acc[i][j] = fma(a[i], c[j], acc[i][j]);
        }
        __syncthreads();
    }
#pragma unroll
    for (i32 i = 0; i < 2; i++)
#pragma unroll
        for (i32 j = 0; j < 2; j++) {
            i32 row = m0 + ty + i * 16, column = n0 + tx + j * 16;
            if (row < m && column < n) out[row * n + column] = acc[i][j];
        }
}
