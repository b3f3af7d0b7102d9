// out (m, n) = x (m, k) times weights (k, n), plus bias (n), where row m of x is what one place of a window sees of an
// image (h, w, c), k running over (kh, kw, c); POINTWISE: the image's rows. A block makes BM x BN outputs.
// Operands are words: a float, or with CODES four int8 in a row along k. `fill` stands where the window leaves the
// image. UNSIGNED: x is uint8, of which 128 is taken off; w_zero, the weights' zero point less 128, is taken off each
// weight by the sum of its row of x. HYBRID: int8 of floats, whose scale and zero point each `per` rows of x share.
// SEPARABLE: row m of x is what a depthwise convolution makes of an image at one place, its window KH x KW, computed as
// it is wanted: k runs over its channels. DW_AFTER: what is done to its results `acc`.
// Only for CUDA.

#ifdef HYBRID
#define CODES
#endif

#ifdef CODES
typedef i32 word;
typedef i32 sum;
typedef int4 words;
#ifdef UNSIGNED
#define X_T u8
#define SIGNED(v) ((v) ^ 0x80808080u)
#define ZEROS i32 w_zero,
#else
#define X_T i8
#define SIGNED(v) (v)
#define ZEROS
#endif
#define LANES 4
#define MAC(a, b, acc) __dp4a(a, b, acc)
#else
typedef f32 word;
typedef f32 sum;
typedef float4 words;
#define X_T f32
#define SIGNED(v) (v)
#define ZEROS
#define LANES 1
#define MAC(a, b, acc) fma(a, b, acc)
#endif

#ifdef HYBRID
#define BIAS_T f32
#define Y_T f32
#else
#define BIAS_T sum
#define Y_T X_T
#endif

#define IMAGE i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 kw, i32 sh, i32 sw, i32 dh, i32 dw, i32 top, i32 left
#define IMAGE_ARGS h, w, c, oh, ow, kw, sh, sw, dh, dw, top, left
#if defined(HYBRID)
#define SCALES                                                                                                         \
    const f32 *__restrict__ scales, const i32 *__restrict__ weight_sums, const f32 *__restrict__ row_scales,           \
        const i32 *__restrict__ zero_points, i32 per
#define SCALES_ARGS scales, weight_sums, row_scales, zero_points, per
#define ENDS f32 low, f32 high
#define ENDS_ARGS low, high
#elif defined(DOUBLES)
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
FN Y_T finished(sum total, const BIAS_T* bias, i32 m, i32 n, i32 oc, SCALES, ENDS EXTRA) {
    BIAS_T acc = total;
#if defined(HYBRID)
    f32 real = (f32)(total - zero_points[m / per] * weight_sums[n]);
#ifdef WEIGHTS_FIRST
    real = real * scales[n] * row_scales[m / per];
#else
    real = real * (row_scales[m / per] * scales[n]);
#endif
    acc = clamp_f32(real + bias[n], low, high);
#elif defined(DOUBLES)
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
#ifdef HYBRID
    word fill;
#endif
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

#ifdef SEPARABLE
#ifdef CODES
#define DW                                                                                                             \
    , const X_T *__restrict__ taps, const i32 *__restrict__ dw_bias, const i32 *__restrict__ dw_multipliers,           \
        const i32 *__restrict__ dw_exponents, i32 dw_x_zero, i32 dw_zero, i32 dw_low, i32 dw_high
#define DW_ARGS , taps, dw_bias, dw_multipliers, dw_exponents, dw_x_zero, dw_zero, dw_low, dw_high
#else
#define DW , const f32 *__restrict__ taps, const f32 *__restrict__ dw_bias, f32 dw_low, f32 dw_high
#define DW_ARGS , taps, dw_bias, dw_low, dw_high
#endif

FN X_T depthwise_finished(sum acc, i32 n DW) {
#ifdef CODES
    acc = clamp_i32(mbqm(acc, dw_multipliers[n], dw_exponents[n]) + dw_zero, dw_low, dw_high);
#else
    acc = clamp_f32(acc, dw_low, dw_high);
#endif
    DW_AFTER
    return acc;
}

// LOAD words of what the depthwise convolution makes at `row`, from word `at` of `depth` on.
FN void fetch(word* out, Row row, i32 at, i32 depth, i32 k, word fill, IMAGE DW) {
    if (!row.inside || at >= depth) {
#pragma unroll
        for (i32 e = 0; e < LOAD; e++) out[e] = fill;
        return;
    }
    i32 channel = at * LANES;
    sum acc[LOAD * LANES];
#pragma unroll
    for (i32 e = 0; e < LOAD * LANES; e++) acc[e] = dw_bias[channel + e];
#pragma unroll 1
    for (i32 ky = 0; ky < KH; ky++) {
        i32 iy = row.y + ky * dh;
        if ((u32)iy >= (u32)h) continue;
#pragma unroll
        for (i32 kx = 0; kx < KW; kx++) {
            i32 ix = row.x + kx * dw;
            if ((u32)ix >= (u32)w) continue;
            const X_T* p = row.image + (iy * w + ix) * c + channel;
            const X_T* tap = taps + (ky * KW + kx) * c + channel;
            __align__(16) word v[LOAD], by[LOAD];
#if LOAD == 4
            *(words*)v = *(const words*)p;
            *(words*)by = *(const words*)tap;
#else
            *v = *(const word*)p;
            *by = *(const word*)tap;
#endif
#pragma unroll
            for (i32 e = 0; e < LOAD * LANES; e++)
#ifdef CODES
                acc[e] += ((i8)(v[e / 4] >> (e % 4 * 8)) - dw_x_zero) * (i8)(by[e / 4] >> (e % 4 * 8));
#else
                acc[e] = fma(v[e], by[e], acc[e]);
#endif
        }
    }
#ifdef CODES
#pragma unroll
    for (i32 e = 0; e < LOAD; e++) out[e] = 0;
#pragma unroll
    for (i32 e = 0; e < LOAD * LANES; e++)
        out[e / 4] |= (u32)(u8)depthwise_finished(acc[e], channel + e DW_ARGS) << (e % 4 * 8);
#else
#pragma unroll
    for (i32 e = 0; e < LOAD; e++) out[e] = depthwise_finished(acc[e], channel + e DW_ARGS);
#endif
}
#else
#define DW
#define DW_ARGS

// LOAD words of a row from word `at` on, of which there are `depth`.
FN void fetch(word* out, Row row, i32 at, i32 depth, i32 k, word fill, IMAGE) {
#ifdef HYBRID
    fill = row.fill;
#endif
#if LOAD == 4
    const X_T* p = at < depth ? seen(row, at * LANES, IMAGE_ARGS) : nullptr;
    words v = p ? *(const words*)p : words{};
    out[0] = p ? SIGNED(v.x) : fill;
    out[1] = p ? SIGNED(v.y) : fill;
    out[2] = p ? SIGNED(v.z) : fill;
    out[3] = p ? SIGNED(v.w) : fill;
#elif !defined(CODES)
    const X_T* p = at < depth ? seen(row, at, IMAGE_ARGS) : nullptr;
    *out = p ? *p : fill;
#elif defined(WHOLE_WORDS)
    const X_T* p = at < depth ? seen(row, at * LANES, IMAGE_ARGS) : nullptr;
    *out = p ? SIGNED(*(const word*)p) : fill;
#else
    u32 v = fill;
    for (i32 e = 0; e < LANES; e++) {
        const X_T* p = at * LANES + e < k ? seen(row, at * LANES + e, IMAGE_ARGS) : nullptr;
        if (p) v = (v & ~(255u << (8 * e))) | ((u32)(u8)*p ^ (SIGNED(0u) & 255u)) << (8 * e);
    }
    *out = v;
#endif
}
#endif

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
extern "C" __global__ void gemm_finish(const sum* __restrict__ sums, const BIAS_T* __restrict__ bias, SCALES,
                                       Y_T* __restrict__ out, i32 size, i32 n, i32 slices, ENDS EXTRA) {
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
    gemm(const X_T* __restrict__ x, const word* __restrict__ weights, const BIAS_T* __restrict__ bias, SCALES,
         OUT_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, i32 fill, IMAGE,
         ZEROS ENDS EXTRA DW) {
    __shared__ word xs[BK][BM + 4];
    __shared__ word ws[BK][BN];
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    i32 tx = t % (BN / TN), ty = t / (BN / TN);

    Row rows[X_ROWS];
#pragma unroll
    for (i32 i = 0; i < X_ROWS; i++) {
        rows[i] = row_at(x, m0 + X_ROW(t + i * THREADS), m, IMAGE_ARGS);
#ifdef HYBRID
        rows[i].fill = rows[i].inside ? (zero_points[(m0 + X_ROW(t + i * THREADS)) / per] & 255) * 0x01010101u : 0;
#endif
    }

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
#pragma unroll
    for (i32 i = 0; i < X_ROWS; i++) {
        rows[i] = row_at(x, m0 + X_ROW(t + i * THREADS), m, IMAGE_ARGS);
#ifdef HYBRID
        rows[i].fill = rows[i].inside ? (zero_points[(m0 + X_ROW(t + i * THREADS)) / per] & 255) * 0x01010101u : 0;
#endif
    }
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
#endif
