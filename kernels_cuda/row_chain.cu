// out[r] = LAST, what BODY makes of the INPUTS for row r of COLUMNS elements: element-wise steps, whose values of a row
// are arrays of registers, and sums. A block of WIDTH threads a row; each has HELD elements, VECTOR of them side by
// side.
// Only for CUDA.

#define COLUMN(e) (((e) / VECTOR * WIDTH + t) * VECTOR + (e) % VECTOR)
#define WHOLE (COLUMNS == WIDTH * HELD)
#define EACH                                                                                                           \
    _Pragma("unroll") for (i32 e = 0; e < HELD; e++) if (WHOLE || COLUMN(e) < COLUMNS)

FN void load_row(f32 (&v)[HELD], const f32* row) {
    i32 t = threadIdx.x;
#if VECTOR == 4
#pragma unroll
    for (i32 e = 0; e < HELD; e += 4) {
        float4 four = WHOLE || COLUMN(e) < COLUMNS ? *(const float4*)(row + COLUMN(e)) : float4{};
        v[e] = four.x;
        v[e + 1] = four.y;
        v[e + 2] = four.z;
        v[e + 3] = four.w;
    }
#else
#pragma unroll
    for (i32 e = 0; e < HELD; e++) v[e] = WHOLE || COLUMN(e) < COLUMNS ? row[COLUMN(e)] : 0;
#endif
}

FN f32 row_sum(const f32 (&v)[HELD], f32* partial) {
    i32 t = threadIdx.x;
    f32 sum = 0;
    EACH sum += v[e];
    return block_sum(sum, partial);
}

extern "C" __global__ void __launch_bounds__(WIDTH) row_chain(INPUTS f32* __restrict__ out) {
    __shared__ f32 partial[WIDTH / 32];
    i32 t = threadIdx.x, row = blockIdx.x;
    BODY
    out += row * COLUMNS;
#if VECTOR == 4
#pragma unroll
    for (i32 e = 0; e < HELD; e += 4)
        if (WHOLE || COLUMN(e) < COLUMNS)
            *(float4*)(out + COLUMN(e)) = make_float4(LAST[e], LAST[e + 1], LAST[e + 2], LAST[e + 3]);
#else
    EACH out[COLUMN(e)] = LAST[e];
#endif
}
