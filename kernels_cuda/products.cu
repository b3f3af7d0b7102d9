// out (b, m, n) = x (b, m, k) times y (b, k, n), both computed at run time, by their steps from one row and column to the
// next. A block of 16 x 16 threads makes SIDE x SIDE of matrix b = blockIdx.z. ALONG_K: which of x and y lie along k.
// CODES: int8 less their zero points, four in a row along k to a word, rescaled in fixed point; PLAIN: left as they are.
// HYBRID: y of int8, x the codes of floats; what scales a row is found as in hybrid_batch.cu.
// Only for CUDA.

#ifdef HYBRID
#define CODES
#endif

#define PER (SIDE / 16)
#ifdef CODES
typedef i32 word;
typedef i32 sum;
#define IN_T i8
#define LANES 4
#define DEPTH 8
#define MAC(a, b, acc) __dp4a(a, b, acc)
#else
typedef f32 word;
typedef f32 sum;
#define IN_T f32
#define OUT_T f32
#define LANES 1
#define DEPTH 16
#define MAC(a, b, acc) fma(a, b, acc)
#endif
#define LOADS (SIDE * DEPTH / 256)

#ifdef HYBRID
#define OUT_T f32
#define FINISH_PARAMETERS                                                                                              \
    , const f32 *__restrict__ y_scales, const f32 *__restrict__ scales, const i32 *__restrict__ zero_points,           \
        const i32 *__restrict__ scale_of, i32 group_rows
#elif defined(CODES)
#define FINISH_PARAMETERS , i32 x_zero, i32 y_zero, i32 multiplier, i32 exponent, i32 out_zero, i32 low, i32 high
#else
#define FINISH_PARAMETERS
#endif
#define PLAIN(acc, multiplier, exponent) (acc)

// LANES elements from k on of one row or column that begins at p; 0 behind its end. whole: whether they are one word.
FN word lanes_of(const IN_T* p, bool inside, i32 at, i32 k, i32 step, bool whole) {
#ifdef CODES
    if (whole) return inside && at < k ? *(const word*)(p + at) : 0;
    u32 v = 0;
    for (i32 e = 0; e < LANES; e++)
        if (inside && at + e < k) v |= (u32)(u8)p[(at + e) * step] << (8 * e);
    return v;
#else
    return inside && at < k ? p[at * step] : 0;
#endif
}

extern "C" __global__ void __launch_bounds__(256, 2)
    products(const IN_T* __restrict__ x, const IN_T* __restrict__ y, OUT_T* __restrict__ out, i32 m, i32 n, i32 k,
             i32 x_row, i32 x_column, i32 y_row, i32 y_column FINISH_PARAMETERS) {
    __shared__ word xs[DEPTH][SIDE + 1];  // by k, row
    __shared__ word ys[DEPTH][SIDE + 1];  // by k, column
#ifdef CODES
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
            i32 u = t + i * 256;  // neighbouring threads read neighbours in memory
            i32 xk = X_ALONG_K ? u % DEPTH : u / SIDE, row = X_ALONG_K ? u / DEPTH : u % SIDE;
            i32 yk = Y_ALONG_K ? u % DEPTH : u / SIDE, column = Y_ALONG_K ? u / DEPTH : u % SIDE;
            word a = lanes_of(x + (m0 + row) * x_row, m0 + row < m, k0 + xk * LANES, k, x_column, X_WORDS);
            word c = lanes_of(y + (n0 + column) * y_column, n0 + column < n, k0 + yk * LANES, k, y_row, Y_WORDS);
            xs[xk][row] = a;
            ys[yk][column] = c;
#ifdef CODES
            my_x[i] = __dp4a(a, 0x01010101, my_x[i]);
            my_y[i] = __dp4a(c, 0x01010101, my_y[i]);
#endif
        }
        __syncthreads();
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
        __syncthreads();
    }
#ifdef CODES
#pragma unroll
    for (i32 i = 0; i < LOADS; i++) {
        i32 u = t + i * 256;
        atomicAdd(&x_sums[X_ALONG_K ? u / DEPTH : u % SIDE], my_x[i]);
        atomicAdd(&y_sums[Y_ALONG_K ? u / DEPTH : u % SIDE], my_y[i]);
    }
    __syncthreads();
#endif
#pragma unroll
    for (i32 i = 0; i < PER; i++)
#pragma unroll
        for (i32 j = 0; j < PER; j++) {
            i32 row = m0 + ty + i * 16, column = n0 + tx + j * 16;
            if (row >= m || column >= n) continue;
#if defined(HYBRID)
            i32 r = b * m + row, scale = scale_of[r / group_rows] * group_rows + r % group_rows;
            f32 total = (f32)acc[i][j];
#ifdef ASYMMETRIC
            total = trunc(total - (f32)y_sums[tx + j * 16] * (f32)zero_points[scale]);
#endif
            out[row * n + column] = scales[scale] * y_scales[column] * total;
#elif defined(CODES)
            sum total = acc[i][j] - y_zero * x_sums[ty + i * 16] - x_zero * y_sums[tx + j * 16] + k * x_zero * y_zero;
            out[row * n + column] = clamp_i64((i64)RESCALE(total, multiplier, exponent) + out_zero, low, high);
#else
            out[row * n + column] = acc[i][j];
#endif
        }
}
