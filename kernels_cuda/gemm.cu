// GEMM (gemm.cuh) on CUDA cores. A block computes BM x BN outputs, BK words of k at a time; each of its GROUPS of
// threads takes its share of these words, a thread TM x TN outputs. Load (fetch_x,
// fetch_weights, put), multiply, store (put_sums, store_tile).
//
// | macro          | meaning                                                            |
// | BM, BN, BK     | rows and columns of a block's outputs; words of k between barriers |
// | TM, TN, GROUPS | outputs of a thread; groups of threads, which divide k among them  |
// | LOAD           | words of x that a thread loads at once: 1 or 4                     |
// Macros of the operands and the epilogue: gemm.cuh; of the gather: gemm_gather.cuh; SPLIT: gemm_store.cuh.
// Only for CUDA.
#include "gemm.cuh"

#define GROUP (BM / TM * (BN / TN))
#define THREADS (GROUP * GROUPS)
#define GROUP_K (BK / GROUPS)
#define X_LOADS (BM * BK / LOAD / THREADS)
#define W_LOADS (BK * BN / 4 / THREADS)

#include "gemm_gather.cuh"
#include "gemm_store.cuh"

struct Operands {
    word xs[2][BK][BM + 4], ws[2][BK][BN];
};

// A thread's rows and columns come in fours, which are far apart, so that neighbouring threads read neighbouring words.
#define MINE(i, T, size, at) ((i) / 4 * ((size) / ((T) / 4)) + (at) * 4 + (i) % 4)

// Load: this thread's words of the next tile of weights, from word k0 on, into registers.
FN void fetch_weights(words (&next)[W_LOADS], const word* weights, i32 k0, i32 last, i32 n0, i32 columns) {
#pragma unroll
    for (i32 i = 0; i < W_LOADS; i++) {
        i32 u = threadIdx.x + i * THREADS, kk = k0 + u / (BN / 4);
        next[i] = kk < last ? *(const words*)(weights + (i64)kk * columns + n0 + u % (BN / 4) * 4) : words{};
    }
}

// Load: from registers to shared memory.
FN void put(Operands& tiles, i32 now, const word (&next_x)[X_LOADS][LOAD], const words (&next_w)[W_LOADS]) {
    i32 t = threadIdx.x;
#pragma unroll
    for (i32 i = 0; i < X_LOADS; i++)
#pragma unroll
        for (i32 e = 0; e < LOAD; e++) tiles.xs[now][X_AT(t + i * THREADS) + e][X_ROW(t)] = next_x[i][e];
#pragma unroll
    for (i32 i = 0; i < W_LOADS; i++) {
        i32 u = t + i * THREADS;
        *(words*)&tiles.ws[now][u / (BN / 4)][u % (BN / 4) * 4] = next_w[i];
    }
}

// Multiply: acc += the group's words of the present tiles. my_rows: with UNSIGNED, the sums of the thread's rows of x.
FN void multiply(sum (&acc)[TM][TN], sum (&my_rows)[TM], const Operands& tiles, i32 now, i32 group, i32 ty, i32 tx) {
#pragma unroll
    for (i32 d = 0; d < GROUP_K; d++) {
        i32 kk = group * GROUP_K + d;
        word a[TM], b[TN];
#pragma unroll
        for (i32 i = 0; i < TM; i += 4) *(words*)(a + i) = *(const words*)&tiles.xs[now][kk][MINE(i, TM, BM, ty)];
#pragma unroll
        for (i32 j = 0; j < TN; j += 4) *(words*)(b + j) = *(const words*)&tiles.ws[now][kk][MINE(j, TN, BN, tx)];
#ifdef UNSIGNED
#pragma unroll
        for (i32 i = 0; i < TM; i++) my_rows[i] = __dp4a(a[i], 0x01010101, my_rows[i]);
#endif
#pragma unroll
        for (i32 i = 0; i < TM; i++)
#pragma unroll
            for (i32 j = 0; j < TN; j++) acc[i][j] = MAC(a[i], b[j], acc[i][j]);
    }
}

// Store: the thread's sums to shared memory, beside those of the other groups.
FN void put_sums(sum* sums, const sum (&acc)[TM][TN], i32 group, i32 ty, i32 tx) {
#pragma unroll
    for (i32 i = 0; i < TM; i++)
#pragma unroll
        for (i32 j = 0; j < TN; j += 4)
            *(words*)&sums[(group * BM + MINE(i, TM, BM, ty)) * SUMS + MINE(j, TN, BN, tx)] =
                words{acc[i][j], acc[i][j + 1], acc[i][j + 2], acc[i][j + 3]};
}

// slice: words of k for each of gridDim.z slices. columns: n rounded up to whole blocks.
extern "C" __global__ void __launch_bounds__(THREADS, (TM * TN > 32 ? 384 : 512) / THREADS)
    gemm(const X_T* __restrict__ x, const word* __restrict__ weights, const BIAS_T* __restrict__ bias,
         SCALES DW_INPUTS PARTIALS Y_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, IMAGE, i32 fill,
         ZERO_POINT BOUNDS DW_BOUNDS EPILOGUE_PARAMS COUNTERS) {
    constexpr u32 sums_size = sizeof(sum) * GROUPS * BM * SUMS;
    __shared__ __align__(16) u8 memory[sizeof(Operands) > sums_size ? sizeof(Operands) : sums_size];
    Operands& tiles = *(Operands*)memory;
    sum* sums = (sum*)memory;
    sum* row_sums = nullptr;
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    // A warp's threads are a grid of eight columns and four rows.
    i32 group = t / GROUP, warp = t % GROUP / 32, across = BN / TN / 8;
    i32 tx = t % 8 + warp % across * 8, ty = t / 8 % 4 + warp / across * 4;
    Row row = begin_row(x, m0 + X_ROW(t), m, IMAGE_ARGS, SCALES_ARGS BOUNDS_ARGS);

    word next_x[X_LOADS][LOAD];
    words next_w[W_LOADS];
    sum acc[TM][TN] = {}, my_rows[TM] = {};
#ifdef UNSIGNED
    __shared__ sum sums_of_rows[BM];
    row_sums = sums_of_rows;
    if (t < BM) row_sums[t] = 0;
    i32 seen_words = 0;
#endif
    i32 now = 1;
    for (i32 k0 = first - BK; k0 < last; k0 += BK) {
        // The next tiles come from memory while the present ones are multiplied.
        bool more = k0 + BK < last;
        if (more) {
            fetch_x(next_x, row, k0 + BK, last, k, (word)fill, DW_INPUTS_ARGS IMAGE_ARGS DW_BOUNDS_ARGS);
            fetch_weights(next_w, weights, k0 + BK, last, n0, columns);
        }
        if (k0 >= first && k0 + group * GROUP_K < last) {
            multiply(acc, my_rows, tiles, now, group, ty, tx);
#ifdef UNSIGNED
            seen_words += GROUP_K;
#endif
        }
        if (more) {  // into the tiles that no thread has read since the last barrier
            now ^= 1;
            put(tiles, now, next_x, next_w);
            __syncthreads();
        }
    }

    __syncthreads();
    put_sums(sums, acc, group, ty, tx);
#ifdef UNSIGNED
    // Words outside of the row hold `fill`, x's zero point.
    if (tx == 0)
#pragma unroll
        for (i32 i = 0; i < TM; i++)
            atomicAdd(&row_sums[MINE(i, TM, BM, ty)], my_rows[i] - (i8)fill * LANES * seen_words);
#endif
    __syncthreads();
    store_tile(sums, row_sums, bias, SCALES_ARGS PARTIALS_ARGS out, m, n, m0, n0,
               ZERO_POINT_ARGS BOUNDS_ARGS EPILOGUE_ARGS COUNTERS_ARGS);
}
