// GEMM (gemm.cuh) on tensor cores. A block computes BM x BN outputs, BK words of k at a time, each of its four warps a
// quarter of the outputs. Int8 weights are contiguous along k. Load (fetch_x, fetch_weights, put), multiply, store
// (put_sums, store_tile).
//
// | macro      | meaning                                                            |
// | MMA        | bits of an operand: 8 (int8), 16 (float16) or 32 (TF32)            |
// | BM, BN, BK | rows and columns of a block's outputs; words of k between barriers |
// | LOAD       | words of x that a thread loads at once: 1 or 4                     |
// Macros of the operands and the epilogue: gemm.cuh; of the gather: gemm_gather.cuh; SPLIT: gemm_store.cuh.
// Only for CUDA.
#include "gemm.cuh"
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;

#define THREADS 128
#define GROUPS 1
#if MMA == 16  // operands rounded to float16
typedef half operand;
typedef half shared_operand;
typedef wmma::row_major along;
#define MK 16
#define PAD 8
#define W_PAD 8
#define ROUNDED(v) __float2half(v)
#elif MMA == 32  // operands rounded to TF32
typedef wmma::precision::tf32 operand;
typedef f32 shared_operand;
typedef wmma::row_major along;
#define MK 8
#define PAD 4
#define W_PAD 8
#define ROUNDED(v) wmma::__float_to_tf32(v)
#else  // int8
typedef i8 operand;
typedef i8 shared_operand;
typedef wmma::col_major along;
#define MK 16
#define PAD 16
#define W_PAD 16
#define ROUNDED(v) (v)
#endif
#define KB (BK * LANES)
#define CHUNK (16 / (i32)sizeof(shared_operand))
#define X_LOADS (BM * BK / LOAD / THREADS)
#define W_LOADS (KB * BN / CHUNK / THREADS)
#include "gemm_gather.cuh"
#include "gemm_store.cuh"

// The weights' tile in memory and in shared memory: rows of k; of int8 weights rows are columns of the GEMM.
#ifdef QUANTIZED
#define W_ROWS BN
#define W_COLUMNS KB
#else
#define W_ROWS KB
#define W_COLUMNS BN
#endif
#define W_ROW(u) ((u) / (W_COLUMNS / CHUNK))
#define W_AT(u) ((u) % (W_COLUMNS / CHUNK) * CHUNK)

struct Operands {
    shared_operand xs[2][BM][KB + PAD], ws[2][W_ROWS][W_COLUMNS + W_PAD];
};

// Load: this thread's units of the next tile of weights, from word k0 on, into registers.
FN void fetch_weights(uint4 (&next)[W_LOADS], const shared_operand* weights, i32 k0, i32 last, i32 n0, i32 columns) {
#pragma unroll
    for (i32 i = 0; i < W_LOADS; i++) {
        i32 u = threadIdx.x + i * THREADS;
#ifdef QUANTIZED
        i32 at = k0 * LANES + W_AT(u);
        const shared_operand* p = weights + (i64)(n0 + W_ROW(u)) * columns + at;
        bool inside = at < last * LANES;
#else
        const shared_operand* p = weights + (i64)(k0 + W_ROW(u)) * columns + n0 + W_AT(u);
        bool inside = k0 + W_ROW(u) < last;
#endif
        next[i] = inside ? *(const uint4*)p : uint4{};
    }
}

// Rounds LOAD words of x and writes them to shared memory, as many at once as possible.
FN void store_rounded(shared_operand* to, const word (&v)[LOAD]) {
#if LOAD == 1
#ifdef QUANTIZED
    *(word*)to = v[0];
#else
    *to = ROUNDED(v[0]);
#endif
#elif defined(QUANTIZED)
    *(words*)to = words{v[0], v[1], v[2], v[3]};
#elif MMA == 32
    *(words*)to = words{ROUNDED(v[0]), ROUNDED(v[1]), ROUNDED(v[2]), ROUNDED(v[3])};
#else
    *(half2*)to = __floats2half2_rn(v[0], v[1]);
    *(half2*)(to + 2) = __floats2half2_rn(v[2], v[3]);
#endif
}

// Load: from registers to shared memory.
FN void put(Operands& tiles, i32 now, const word (&next_x)[X_LOADS][LOAD], const uint4 (&next_w)[W_LOADS]) {
    i32 t = threadIdx.x;
#pragma unroll
    for (i32 i = 0; i < X_LOADS; i++)
        store_rounded(&tiles.xs[now][X_ROW(t)][X_AT(t + i * THREADS) * LANES], next_x[i]);
#pragma unroll
    for (i32 i = 0; i < W_LOADS; i++)
        *(uint4*)&tiles.ws[now][W_ROW(t + i * THREADS)][W_AT(t + i * THREADS)] = next_w[i];
}

typedef wmma::fragment<wmma::accumulator, 16, 16, MK, sum> Sums[BM / 32][BN / 32];

FN void clear(Sums& acc) {
#pragma unroll
    for (i32 i = 0; i < BM / 32; i++)
#pragma unroll
        for (i32 j = 0; j < BN / 32; j++) wmma::fill_fragment(acc[i][j], 0);
}

// Multiply: acc += the warp's quarter of the present tiles.
FN void multiply(Sums& acc, const Operands& tiles, i32 now, i32 my, i32 mx) {
#pragma unroll
    for (i32 kk = 0; kk < KB; kk += MK) {
        wmma::fragment<wmma::matrix_a, 16, 16, MK, operand, wmma::row_major> a[BM / 32];
        wmma::fragment<wmma::matrix_b, 16, 16, MK, operand, along> b[BN / 32];
#pragma unroll
        for (i32 i = 0; i < BM / 32; i++) wmma::load_matrix_sync(a[i], &tiles.xs[now][my + i * 16][kk], KB + PAD);
#pragma unroll
        for (i32 j = 0; j < BN / 32; j++)
#ifdef QUANTIZED
            wmma::load_matrix_sync(b[j], &tiles.ws[now][mx + j * 16][kk], W_COLUMNS + W_PAD);
#else
            wmma::load_matrix_sync(b[j], &tiles.ws[now][kk][mx + j * 16], W_COLUMNS + W_PAD);
#endif
#pragma unroll
        for (i32 i = 0; i < BM / 32; i++)
#pragma unroll
            for (i32 j = 0; j < BN / 32; j++) wmma::mma_sync(acc[i][j], a[i], b[j], acc[i][j]);
    }
}

// Store: the warp's sums to shared memory.
FN void put_sums(sum* sums, const Sums& acc, i32 my, i32 mx) {
#pragma unroll
    for (i32 i = 0; i < BM / 32; i++)
#pragma unroll
        for (i32 j = 0; j < BN / 32; j++)
            wmma::store_matrix_sync(&sums[(my + i * 16) * SUMS + mx + j * 16], acc[i][j], SUMS, wmma::mem_row_major);
}

// slice: words of k for each of gridDim.z slices. columns: n rounded up to whole blocks; of int8, k to whole units.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
    gemm_mma(const X_T* __restrict__ x, const shared_operand* __restrict__ weights, const BIAS_T* __restrict__ bias,
             SCALES DW_INPUTS PARTIALS Y_T* __restrict__ out, i32 m, i32 n, i32 k, i32 columns, i32 slice, IMAGE,
             i32 fill, ZERO_POINT BOUNDS DW_BOUNDS EPILOGUE_PARAMS COUNTERS) {
    constexpr u32 sums_size = sizeof(sum) * BM * SUMS;
    __shared__ __align__(32) u8 memory[sizeof(Operands) > sums_size ? sizeof(Operands) : sums_size];
    Operands& tiles = *(Operands*)memory;
    sum* sums = (sum*)memory;
    sum* row_sums = nullptr;
    i32 t = threadIdx.x, m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    i32 depth = (k + LANES - 1) / LANES, first = blockIdx.z * slice, last = min(first + slice, depth);
    i32 my = t / 64 * (BM / 2), mx = t / 32 % 2 * (BN / 2);
    Row row = begin_row(x, m0 + X_ROW(t), m, IMAGE_ARGS, SCALES_ARGS BOUNDS_ARGS);
#ifdef UNSIGNED
    __shared__ sum sums_of_rows[BM];
    row_sums = sums_of_rows;
    if (t < BM) row_sums[t] = 0;
    sum my_row = 0;
#endif

    word next_x[X_LOADS][LOAD];
    uint4 next_w[W_LOADS];
    Sums acc;
    clear(acc);
    i32 now = 1;
    for (i32 k0 = first - BK; k0 < last; k0 += BK) {
        // The next tiles come from memory while the present ones are multiplied.
        bool more = k0 + BK < last;
        if (more) {
            fetch_x(next_x, row, k0 + BK, last, k, (word)fill, DW_INPUTS_ARGS IMAGE_ARGS DW_BOUNDS_ARGS);
            fetch_weights(next_w, weights, k0 + BK, last, n0, columns);
        }
        if (k0 >= first) {
#ifdef UNSIGNED
#pragma unroll 4
            for (i32 kk = t / BM; kk < BK; kk += THREADS / BM)
                my_row = __dp4a(*(const word*)&tiles.xs[now][t % BM][kk * LANES], 0x01010101, my_row);
#endif
            multiply(acc, tiles, now, my, mx);
        }
        if (more) {  // into the tiles that no thread has read since the last barrier
            now ^= 1;
            put(tiles, now, next_x, next_w);
            __syncthreads();
        }
    }

    __syncthreads();
    put_sums(sums, acc, my, mx);
#ifdef UNSIGNED
    // Words outside of the row hold `fill`, x's zero point.
    atomicAdd(&row_sums[t % BM], my_row - (i8)fill * LANES * ((last - first + BK - 1) / BK * BK / (THREADS / BM)));
#endif
    __syncthreads();
    store_tile(sums, row_sums, bias, SCALES_ARGS PARTIALS_ARGS out, m, n, m0, n0,
               ZERO_POINT_ARGS BOUNDS_ARGS EPILOGUE_ARGS COUNTERS_ARGS);
}
