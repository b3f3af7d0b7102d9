// Attention, for attention.cu and attention_mma.cu, in one pass over the keys (flash attention):
//     out[b] (m, V_HEAD_DIM) = softmax(beta * SCORE(q[b] (m, HEAD_DIM) times k[b] (n, HEAD_DIM) transposed))
//                              times v[b] (n, V_HEAD_DIM)
// A block computes BQ rows of out, from BK keys at a time. Each matrix has a step from one row and one column to the
// next; Q_AT, K_AT, V_AT and OUT_AT are where matrix `b` of each begins.
// SCORE: statements on `acc`, element i of all scores, with parameters EXTRA_INPUTS.
// `stored`: the element type in shared memory, to which ROUNDED converts.

#define MATRICES                                                                                                       \
    const f32 *__restrict__ q, const f32 *__restrict__ k, const f32 *__restrict__ v, f32 *__restrict__ out, i32 m,     \
        i32 n, i32 q_row, i32 q_column, i32 k_row, i32 k_column, i32 v_row, i32 v_column, i32 out_row, i32 out_column, \
        f32 beta EXTRA_INPUTS

#define ROUND_UP(unit) ((V_HEAD_DIM + (unit)-1) / (unit) * (unit))

// A tile of ROWS rows of `columns` columns. fetch reads it into registers, zeros where there is nothing; store writes
// it to shared memory, where rows are PADDED columns. VECTORS: rows are whole vectors of four.
template <int ROWS, int PADDED, bool VECTORS> struct Tile {
    enum { ALONG = PADDED / 4, UNITS = ROWS * ALONG, LOADS = (UNITS + THREADS - 1) / THREADS };
    float4 values[LOADS];

    __device__ __forceinline__ void fetch(const f32* p, i32 first, i32 last, i32 columns, i32 row_step,
                                          i32 column_step) {
        i32 t = threadIdx.x, row = first + t / ALONG, column = t % ALONG * 4;
        const f32* from = p + row * row_step + column * column_step;
#pragma unroll
        for (i32 l = 0; l < LOADS; l++) {
            if (THREADS % ALONG != 0) {
                i32 u = t + l * THREADS;
                row = first + u / ALONG;
                column = u % ALONG * 4;
                from = p + row * row_step + column * column_step;
            }
            bool inside = row < last && (UNITS % THREADS == 0 || t + l * THREADS < UNITS);
            if (VECTORS) {
                values[l] = inside && column < columns ? *(const float4*)from : float4{};
            } else {
                values[l].x = inside && column < columns ? from[0] : 0;
                values[l].y = inside && column + 1 < columns ? from[column_step] : 0;
                values[l].z = inside && column + 2 < columns ? from[2 * column_step] : 0;
                values[l].w = inside && column + 3 < columns ? from[3 * column_step] : 0;
            }
            row += THREADS / ALONG;
            from += THREADS / ALONG * row_step;
        }
    }
    template <int STRIDE> __device__ __forceinline__ void store(stored (*to)[STRIDE]) const {
#pragma unroll
        for (i32 l = 0; l < LOADS; l++) {
            i32 u = threadIdx.x + l * THREADS;
            if (UNITS % THREADS != 0 && u >= UNITS) continue;
            stored* four = &to[u / ALONG][u % ALONG * 4];
#ifdef ROUNDED
            four[0] = ROUNDED(values[l].x);
            four[1] = ROUNDED(values[l].y);
            four[2] = ROUNDED(values[l].z);
            four[3] = ROUNDED(values[l].w);
#else
            *(float4*)four = values[l];
#endif
        }
    }
};

// How both kernels begin: the matrices of batch `b`, the block's queries in `qs`, the first keys in registers.
#define BEGIN                                                                                                          \
    q += Q_AT;                                                                                                         \
    k += K_AT;                                                                                                         \
    v += V_AT;                                                                                                         \
    out += OUT_AT;                                                                                                     \
    Tile<BQ, D4, Q_VECTORS> queries;                                                                                   \
    Tile<BK, SPAN, K_VECTORS> keys;                                                                                    \
    Tile<BK, V_SPAN, V_VECTORS> values;                                                                                \
    queries.fetch(q, first, m, HEAD_DIM, q_row, q_column);                                                             \
    queries.store(qs);                                                                                                 \
    keys.fetch(k, 0, n, HEAD_DIM, k_row, k_column);
