// Products (gemm.cuh) on CUDA cores. A block makes BM x BN outputs, BK words of k at a time; each of its GROUPS of threads
// takes its share of these words, a thread TM x TN outputs.
// Only for CUDA.
#include "gemm.cuh"

#define GROUP (BM / TM * (BN / TN))
#define THREADS (GROUP * GROUPS)
#define DEEP (BK / GROUPS)
#define X_LOADS (BM * BK / LOAD / THREADS)
#define W_LOADS (BK * BN / 4 / THREADS)

#include "gemm_gather.cuh"
#include "gemm_store.cuh"

struct Operands {
    word xs[2][BK][BM + 4], ws[2][BK][BN];
};

// A thread's rows and columns are fours, far apart where it has several, so that neighbours read neighbouring words.
#define MINE(i, T, size, at) ((i) / 4 * ((size) / ((T) / 4)) + (at) * 4 + (i) % 4)

// slice: words of k for each of gridDim.z stretches; columns: n rounded up to whole blocks.
extern "C" __global__ void __launch_bounds__(THREADS, (TM * TN > 32 ? 384 : 512) / THREADS)
    gemm(const X_T* __restrict__ x, const word* __restrict__ weights, const BIAS_T* __restrict__ bias,
         SCALES DW_INPUTS PARTIALS Y_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, IMAGE, i32 fill,
         ZEROS ENDS DW_ENDS EPILOGUE_PARAMS COUNTERS) {
    constexpr u32 sums_size = sizeof(sum) * GROUPS * BM * SUMS;
    __shared__ __align__(16) u8 memory[sizeof(Operands) > sums_size ? sizeof(Operands) : sums_size];
    Operands& tiles = *(Operands*)memory;
    sum* sums = (sum*)memory;
    sum* row_sums = nullptr;
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    // A warp's threads are eight beside one another and four below.
    i32 group = t / GROUP, warp = t % GROUP / 32, across = BN / TN / 8;
    i32 tx = t % 8 + warp % across * 8, ty = t / 8 % 4 + warp / across * 4;
    Row row = begin_row(x, m0 + X_ROW(t), m, IMAGE_ARGS, SCALES_ARGS ENDS_ARGS);

    word next_x[X_LOADS][LOAD];
    words next_w[W_LOADS];
    sum acc[TM][TN] = {};
#ifdef UNSIGNED
    __shared__ sum sums_of_rows[BM];
    row_sums = sums_of_rows;
    if (t < BM) row_sums[t] = 0;
    sum my_rows[TM] = {};
    i32 seen_words = 0;
#endif
    i32 now = 1;
    for (i32 k0 = first - BK; k0 < last; k0 += BK) {
        // The next tiles come from memory while the present ones are multiplied.
        bool more = k0 + BK < last;
        if (more) {
#pragma unroll
            for (i32 i = 0; i < X_LOADS; i++)
                fetch(next_x[i], row, k0 + BK + X_AT(t + i * THREADS), last, k, (word)fill, DW_INPUTS_ARGS IMAGE_ARGS
                      DW_ENDS_ARGS);
#pragma unroll
            for (i32 i = 0; i < W_LOADS; i++) {
                i32 u = t + i * THREADS, kk = k0 + BK + u / (BN / 4);
                next_w[i] = kk < last ? *(const words*)(weights + (i64)kk * columns + n0 + u % (BN / 4) * 4) : words{};
            }
        }
        if (k0 >= first && k0 + group * DEEP < last) {
#pragma unroll
            for (i32 d = 0; d < DEEP; d++) {
                i32 kk = group * DEEP + d;
                word a[TM], b[TN];
#pragma unroll
                for (i32 i = 0; i < TM; i += 4)
                    *(words*)(a + i) = *(const words*)&tiles.xs[now][kk][MINE(i, TM, BM, ty)];
#pragma unroll
                for (i32 j = 0; j < TN; j += 4)
                    *(words*)(b + j) = *(const words*)&tiles.ws[now][kk][MINE(j, TN, BN, tx)];
#ifdef UNSIGNED
#pragma unroll
                for (i32 i = 0; i < TM; i++) my_rows[i] = __dp4a(a[i], 0x01010101, my_rows[i]);
#endif
#pragma unroll
                for (i32 i = 0; i < TM; i++)
#pragma unroll
                    for (i32 j = 0; j < TN; j++) acc[i][j] = MAC(a[i], b[j], acc[i][j]);
            }
#ifdef UNSIGNED
            seen_words += DEEP;
#endif
        }
        if (more) {  // into the tiles that all have done with since the last barrier
            now ^= 1;
#pragma unroll
            for (i32 i = 0; i < X_LOADS; i++)
#pragma unroll
                for (i32 e = 0; e < LOAD; e++) tiles.xs[now][X_AT(t + i * THREADS) + e][X_ROW(t)] = next_x[i][e];
#pragma unroll
            for (i32 i = 0; i < W_LOADS; i++) {
                i32 u = t + i * THREADS;
                *(words*)&tiles.ws[now][u / (BN / 4)][u % (BN / 4) * 4] = next_w[i];
            }
            __syncthreads();
        }
    }

    __syncthreads();
#pragma unroll
    for (i32 i = 0; i < TM; i++) {
        i32 r = MINE(i, TM, BM, ty);
#pragma unroll
        for (i32 j = 0; j < TN; j += 4)
            *(words*)&sums[(group * BM + r) * SUMS + MINE(j, TN, BN, tx)] =
                words{acc[i][j], acc[i][j + 1], acc[i][j + 2], acc[i][j + 3]};
#ifdef UNSIGNED
        // Where a word holds nothing of the row, it holds `fill`, x's zero point.
        if (tx == 0) atomicAdd(&row_sums[r], my_rows[i] - (i8)fill * LANES * seen_words);
#endif
    }
    __syncthreads();
    finish_tile(sums, row_sums, bias, SCALES_ARGS PARTIALS_ARGS out, m, n, m0, n0,
                ZEROS_ARGS ENDS_ARGS EPILOGUE_ARGS COUNTERS_ARGS);
}
