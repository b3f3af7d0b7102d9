// Store: gemm.cu and gemm_mma.cu compute a block's BM x BN outputs from its sums, which are in shared memory, once for
// each of GROUPS, in rows SUMS apart. SPLIT (split-K): each of gridDim.z blocks has the sums of a slice of k; the last
// block to arrive adds them all in the order of k, so that the bits are the same on every run. `counters`, one a tile,
// are 0 before and after.

#define SUMS (BN + 4)
#define UNITS (BM * BN / 4)

FN void add(words& a, words b) {
    a.x += b.x;
    a.y += b.y;
    a.z += b.z;
    a.w += b.w;
}

// The block's sums of unit u: four neighbours in a row, of all groups.
FN words sums_of(const sum* sums, const sum* row_sums, ZERO_POINT i32 u) {
    i32 row = u / (BN / 4), column = u % (BN / 4) * 4;
    words total = *(const words*)&sums[row * SUMS + column];
#pragma unroll
    for (i32 g = 1; g < GROUPS; g++) add(total, *(const words*)&sums[(g * BM + row) * SUMS + column]);
#ifdef UNSIGNED
    sum correction = w_zero * row_sums[row];
    add(total, words{-correction, -correction, -correction, -correction});
#endif
    return total;
}

#ifdef SPLIT
// Writes the block's sums to memory for the last of the tile's blocks; returns whether this one is the last.
FN bool is_last(const sum* sums, const sum* row_sums, words* slices, ZERO_POINT u32* counter) {
    __shared__ bool last;
    i32 t = threadIdx.x;
#pragma unroll 4
    for (i32 u = t; u < UNITS; u += THREADS)
        __stcg(slices + blockIdx.z * UNITS + u, sums_of(sums, row_sums, ZERO_POINT_ARGS u));
    __threadfence();
    __syncthreads();
    if (t == 0) {
        last = atomicInc(counter, gridDim.z - 1) == gridDim.z - 1;
        __threadfence();
    }
    __syncthreads();
    return last;
}

FN words sums_of_all(const words* slices, i32 u) {
    words total = {};
#pragma unroll 8
    for (u32 s = 0; s < gridDim.z; s++) add(total, __ldcg(slices + s * UNITS + u));
    return total;
}
#endif

// Stores four neighbouring outputs, the last of which may be beyond n.
FN void store_four(words total, const BIAS_T* bias, SCALES Y_T* out, i32 row, i32 column, i32 n,
                   BOUNDS EPILOGUE_PARAMS) {
    const sum of[4] = {total.x, total.y, total.z, total.w};
    __align__(16) Y_T outputs[4];
#pragma unroll
    for (i32 e = 0; e < 4; e++)
        if (column + e < n)
            outputs[e] = epilogue(of[e], bias, row, column + e, n, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS);
    out += (i64)row * n + column;
    if (n % 4 == 0) {
        *(quad*)out = *(const quad*)outputs;
        return;
    }
#pragma unroll
    for (i32 e = 0; e < 4; e++)
        if (column + e < n) out[e] = outputs[e];
}

// sums: of the block at row m0 and column n0. row_sums: of the block's rows of x, with UNSIGNED.
FN void store_tile(const sum* sums, const sum* row_sums, const BIAS_T* bias, SCALES PARTIALS Y_T* out, i32 m, i32 n,
                   i32 m0, i32 n0, ZERO_POINT BOUNDS EPILOGUE_PARAMS COUNTERS) {
#ifdef SPLIT
    i32 tile = blockIdx.y * gridDim.x + blockIdx.x;
    words* slices = (words*)partials + (i64)tile * gridDim.z * UNITS;
    if (!is_last(sums, row_sums, slices, ZERO_POINT_ARGS counters + tile)) return;
#endif
#pragma unroll 2
    for (i32 u = threadIdx.x; u < UNITS; u += THREADS) {
        i32 row = m0 + u / (BN / 4), column = n0 + u % (BN / 4) * 4;
        if (row >= m || column >= n) continue;
#ifdef SPLIT
        words total = sums_of_all(slices, u);
#else
        words total = sums_of(sums, row_sums, ZERO_POINT_ARGS u);
#endif
        store_four(total, bias, SCALES_ARGS out, row, column, n, BOUNDS_ARGS EPILOGUE_ARGS);
    }
}
