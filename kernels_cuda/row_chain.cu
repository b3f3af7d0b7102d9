// out[r] = LAST, which BODY computes from the INPUTS for row r of COLUMNS elements, by element-wise steps and sums. A
// row stays in registers. One block of WIDTH threads a row; a thread has PER_THREAD elements, in vectors of VECTOR.
// Only for CUDA.

#define COLUMN(e) (((e) / VECTOR * WIDTH + t) * VECTOR + (e) % VECTOR)
#define WHOLE (COLUMNS == WIDTH * PER_THREAD)
#define FOR_EACH                                                                                                       \
    _Pragma("unroll") for (i32 e = 0; e < PER_THREAD; e++) if (WHOLE || COLUMN(e) < COLUMNS)

FN void load_row(f32 (&v)[PER_THREAD], const f32* row) {
    i32 t = threadIdx.x;
#if VECTOR == 4
#pragma unroll
    for (i32 e = 0; e < PER_THREAD; e += 4) {
        float4 four = WHOLE || COLUMN(e) < COLUMNS ? *(const float4*)(row + COLUMN(e)) : float4{};
        v[e] = four.x;
        v[e + 1] = four.y;
        v[e + 2] = four.z;
        v[e + 3] = four.w;
    }
#else
#pragma unroll
    for (i32 e = 0; e < PER_THREAD; e++) v[e] = WHOLE || COLUMN(e) < COLUMNS ? row[COLUMN(e)] : 0;
#endif
}

FN f32 row_sum(const f32 (&v)[PER_THREAD], f32* partial) {
    i32 t = threadIdx.x;
    f32 sum = 0;
    FOR_EACH sum += v[e];
    return block_sum(sum, partial);
}

extern "C" __global__ void __launch_bounds__(WIDTH) row_chain(INPUTS f32* __restrict__ out) {
    PARTIAL;
    i32 t = threadIdx.x, row = blockIdx.x;
    BODY
    out += row * COLUMNS;
#if VECTOR == 4
#pragma unroll
    for (i32 e = 0; e < PER_THREAD; e += 4)
        if (WHOLE || COLUMN(e) < COLUMNS)
            *(float4*)(out + COLUMN(e)) = make_float4(LAST[e], LAST[e + 1], LAST[e + 2], LAST[e + 3]);
#else
    FOR_EACH out[COLUMN(e)] = LAST[e];
#endif
}
