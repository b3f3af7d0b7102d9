// out (m, n) = x (m, k) times weights (k, n), plus bias (n), where row m of x is what one place of a window sees of an
// image (h, w, c), k running over (kh, kw, c); POINTWISE: the image's rows. A block makes BM x BN outputs.
// Operands are words: a float, or with CODES four int8 in a row along k. `fill` stands where the window leaves the
// image.
// Only for CUDA.

#ifdef CODES
typedef i32 word;
typedef i32 sum;
typedef int4 words;
#define X_T i8
#define LANES 4
#define MAC(a, b, acc) __dp4a(a, b, acc)
#else
typedef f32 word;
typedef f32 sum;
typedef float4 words;
#define X_T f32
#define LANES 1
#define MAC(a, b, acc) fma(a, b, acc)
#endif

#define IMAGE i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 kw, i32 sh, i32 sw, i32 dh, i32 dw, i32 top, i32 left
#define IMAGE_ARGS h, w, c, oh, ow, kw, sh, sw, dh, dw, top, left
#if defined(DOUBLES)
#define SCALES const f64 *__restrict__ scales
#define SCALES_ARGS scales
#define ENDS i32 out_zero, i32 low, i32 high
#define ENDS_ARGS out_zero, low, high
#elif defined(CODES)
#define SCALES const i32 *__restrict__ multipliers, const i32 *__restrict__ exponents
#define SCALES_ARGS multipliers, exponents
#define ENDS i32 out_zero, i32 low, i32 high
#define ENDS_ARGS out_zero, low, high
#else
#define SCALES i32 no_scales
#define SCALES_ARGS no_scales
#define ENDS f32 low, f32 high
#define ENDS_ARGS low, high
#endif

// What becomes of the sum in row m and column n, of oc.
FN X_T finished(sum acc, const sum* bias, i32 m, i32 n, i32 oc, SCALES, ENDS EXTRA) {
#if defined(DOUBLES)
    acc = scaled_code((i64)acc + bias[n], scales[n], out_zero, low, high);
#elif defined(CODES)
    acc = clamp_i32(mbqm(acc + bias[n], multipliers[n], exponents[n]) + out_zero, low, high);
#else
    acc = clamp_f32(acc + bias[n], low, high);
#endif
    AFTER
    return acc;
}

// Where one row of x begins: its image, and the upper left corner of what the window sees.
struct Row {
    const X_T* image;
    i32 y, x;
    bool inside;
};

FN Row row_at(const X_T* x, i32 row, i32 m, IMAGE) {
    Row r;
    r.inside = row < m;
    row = r.inside ? row : 0;
#ifdef POINTWISE
    r.image = x + (i64)row * c;
    r.y = r.x = 0;
#else
    i32 place = row % (oh * ow);
    r.image = x + (i64)(row / (oh * ow)) * h * w * c;
    r.y = place / ow * sh - top;
    r.x = place % ow * sw - left;
#endif
    return r;
}

// The address of x at `row` and k, or nullptr outside of the image.
FN const X_T* seen(Row row, i32 k, IMAGE) {
#ifdef POINTWISE
    return row.inside ? row.image + k : nullptr;
#else
    i32 tap = k / c, channel = k - tap * c, ky = tap / kw, kx = tap - ky * kw;
    i32 iy = row.y + ky * dh, ix = row.x + kx * dw;
    if (!row.inside || (u32)iy >= (u32)h || (u32)ix >= (u32)w) return nullptr;
    return row.image + (iy * w + ix) * c + channel;
#endif
}

// LOAD words of a row from word `at` on, of which there are `depth`.
FN void fetch(word* out, Row row, i32 at, i32 depth, i32 k, word fill, IMAGE) {
#if LOAD == 4
    const X_T* p = at < depth ? seen(row, at * LANES, IMAGE_ARGS) : nullptr;
    words v = p ? *(const words*)p : words{fill, fill, fill, fill};
    out[0] = v.x;
    out[1] = v.y;
    out[2] = v.z;
    out[3] = v.w;
#elif !defined(CODES)
    const X_T* p = at < depth ? seen(row, at, IMAGE_ARGS) : nullptr;
    *out = p ? *p : fill;
#elif defined(WHOLE_WORDS)
    const X_T* p = at < depth ? seen(row, at * LANES, IMAGE_ARGS) : nullptr;
    *out = p ? *(const word*)p : fill;
#else
    u32 v = fill;
    for (i32 e = 0; e < LANES; e++) {
        const X_T* p = at * LANES + e < k ? seen(row, at * LANES + e, IMAGE_ARGS) : nullptr;
        if (p) v = (v & ~(255u << (8 * e))) | (u32)(u8)*p << (8 * e);
    }
    *out = v;
#endif
}

// Which of a block's BM rows and BK words unit u of LOAD words is: along a row first where a thread loads four words,
// else along a column, so that a thread needs only one row.
#if LOAD == 4
#define X_ROW(u) ((u) / (BK / LOAD))
#define X_AT(u) ((u) % (BK / LOAD) * LOAD)
#define X_ROWS X_LOADS
#define ROW(i) rows[i]
#else
#define X_ROW(u) ((u) % BM)
#define X_AT(u) ((u) / BM)
#define X_ROWS 1
#define ROW(i) rows[0]
#endif

#ifdef FINISH
// out (m, n) from the sums of `slices` stretches of k, each (m, n). One thread an output.
extern "C" __global__ void gemm_finish(const sum* __restrict__ sums, const sum* __restrict__ bias, SCALES,
                                       X_T* __restrict__ out, i32 size, i32 n, i32 slices, ENDS EXTRA) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    sum acc = 0;
    for (i32 s = 0; s < slices; s++) acc += sums[(i64)s * size + i];
    out[i] = finished(acc, bias, i / n, i % n, n, SCALES_ARGS, ENDS_ARGS EXTRA_PASSED);
}
#elif !defined(MMA)

#define THREADS (BM / TM * (BN / TN))
#define X_LOADS (BM * BK / LOAD / THREADS)
#define W_LOADS (BK * BN / 4 / THREADS)

// slice: words of k for each of gridDim.z stretches; columns: n rounded up to whole blocks. With SPLIT, out is the sums
// of each stretch.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    gemm(const X_T* __restrict__ x, const word* __restrict__ weights, const sum* __restrict__ bias, SCALES,
         OUT_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, i32 fill, IMAGE,
         ENDS EXTRA) {
    __shared__ word xs[BK][BM + 4];
    __shared__ word ws[BK][BN];
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    i32 tx = t % (BN / TN), ty = t / (BN / TN);

    Row rows[X_ROWS];
#pragma unroll
    for (i32 i = 0; i < X_ROWS; i++) rows[i] = row_at(x, m0 + X_ROW(t + i * THREADS), m, IMAGE_ARGS);

    word next_x[X_LOADS][LOAD];
    words next_w[W_LOADS];
    sum acc[TM][TN] = {};
    for (i32 k0 = first - BK; k0 < last; k0 += BK) {
        // The next tiles come from memory while the present ones are multiplied.
        if (k0 + BK < last) {
#pragma unroll
            for (i32 i = 0; i < X_LOADS; i++)
                fetch(next_x[i], ROW(i), k0 + BK + X_AT(t + i * THREADS), last, k, (word)fill, IMAGE_ARGS);
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
#ifdef SPLIT
            out[((i64)blockIdx.z * m + row) * n + column] = acc[i][j];
#else
            out[(i64)row * n + column] = finished(acc[i][j], bias, row, column, n, SCALES_ARGS, ENDS_ARGS EXTRA_PASSED);
#endif
        }
}
#else  // MMA: on tensor cores, four warps a block, each a quarter of the BM x BN outputs
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
#define W_LOADS (KB * BN / WIDE / THREADS)
#define WIDE (16 / (i32)sizeof(shared_operand))

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    gemm_mma(const X_T* __restrict__ x, const shared_operand* __restrict__ weights, const sum* __restrict__ bias, SCALES,
             OUT_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, i32 fill, IMAGE,
         ENDS EXTRA) {
    __shared__ __align__(32) shared_operand xs[BM][KB + PAD];
    __shared__ __align__(32) shared_operand ws[KB][BN + PAD];
    __shared__ __align__(32) sum sums[BM][BN + 4];
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    i32 my = t / 64 * (BM / 2), mx = t / 32 % 2 * (BN / 2);

    Row rows[X_ROWS];
#pragma unroll
    for (i32 i = 0; i < X_ROWS; i++) rows[i] = row_at(x, m0 + X_ROW(t + i * THREADS), m, IMAGE_ARGS);
    wmma::fragment<wmma::accumulator, 16, 16, MK, sum> acc[BM / 32][BN / 32];
#pragma unroll
    for (i32 i = 0; i < BM / 32; i++)
#pragma unroll
        for (i32 j = 0; j < BN / 32; j++) wmma::fill_fragment(acc[i][j], 0);

    for (i32 k0 = first; k0 < last; k0 += BK) {
#pragma unroll 4
        for (i32 i = 0; i < X_LOADS; i++) {
            i32 u = t + i * THREADS, at = X_AT(u);
            word v[LOAD];
            fetch(v, ROW(i), k0 + at, last, k, (word)fill, IMAGE_ARGS);
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
    __syncthreads();
    for (i32 u = t; u < BM * BN; u += THREADS) {
        i32 row = m0 + u / BN, column = n0 + u % BN;
        if (row >= m || column >= n) continue;
#ifdef SPLIT
        out[((i64)blockIdx.z * m + row) * n + column] = sums[u / BN][u % BN];
#else
        out[(i64)row * n + column] =
            finished(sums[u / BN][u % BN], bias, row, column, n, SCALES_ARGS, ENDS_ARGS EXTRA_PASSED);
#endif
    }
}
#endif
