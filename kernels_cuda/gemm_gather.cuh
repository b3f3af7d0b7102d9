// Load: how gemm.cu and gemm_mma.cu read rows of x, LOAD words at a time; `fill` where the window leaves the image.
//
// | macro                  | meaning                                                                            |
// | LOAD                   | words that a thread loads at once: 1 or 4                                          |
// | WHOLE_WORDS            | the four int8 of a word are neighbours in x                                        |
// | POINTWISE              | rows of x are pixels of the image                                                  |
// | CHANNELS, KERNEL_WIDTH | c and kw where the program is specialized for them: divisions are slow             |
// | SEPARABLE              | row m of x is an output pixel of a depthwise convolution, computed when it is read |
// | DW_EPILOGUE            | the epilogue of that convolution: statements on `acc`                              |

#ifndef CHANNELS
#define CHANNELS c
#define KERNEL_WIDTH kw
#endif

// Row m of x: its image, and the upper left corner of its window.
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
    i32 pixel = row % (oh * ow);
    r.image = x + (i64)(row / (oh * ow)) * h * w * c;
    r.y = pixel / ow * sh - top;
    r.x = pixel % ow * sw - left;
#endif
    return r;
}

// The address of element k of `row` in x; nullptr outside of the image.
FN const X_T* input_at(Row row, i32 k, IMAGE) {
#ifdef POINTWISE
    return row.inside ? row.image + k : nullptr;
#else
    i32 tap = (u32)k / CHANNELS, channel = k - tap * CHANNELS;
    i32 ky = (u32)tap / KERNEL_WIDTH, kx = tap - ky * KERNEL_WIDTH;
    i32 iy = row.y + ky * dh, ix = row.x + kx * dw;
    if (!row.inside || (u32)iy >= (u32)h || (u32)ix >= (u32)w) return nullptr;
    return row.image + (iy * w + ix) * CHANNELS + channel;
#endif
}

#ifdef SEPARABLE
#ifdef QUANTIZED
#define DW_INPUTS                                                                                                      \
    const X_T *__restrict__ dw_weights, const i32 *__restrict__ dw_bias, const i32 *__restrict__ dw_multipliers,       \
        const i32 *__restrict__ dw_exponents,
#define DW_BOUNDS , i32 dw_x_zero, i32 dw_out_zero, i32 dw_low, i32 dw_high
#define DW_INPUTS_ARGS dw_weights, dw_bias, dw_multipliers, dw_exponents,
#define DW_BOUNDS_ARGS , dw_x_zero, dw_out_zero, dw_low, dw_high
#define OUTSIDE ((dw_x_zero & 255) * 0x01010101)
#else
#define DW_INPUTS const f32 *__restrict__ dw_weights, const f32 *__restrict__ dw_bias,
#define DW_BOUNDS , f32 dw_low, f32 dw_high
#define DW_INPUTS_ARGS dw_weights, dw_bias,
#define DW_BOUNDS_ARGS , dw_low, dw_high
#define OUTSIDE 0
#endif

FN X_T depthwise_epilogue(sum acc, DW_INPUTS i32 n DW_BOUNDS) {
#ifdef QUANTIZED
    acc = clamp_i32(mbqm(acc, dw_multipliers[n], dw_exponents[n]) + dw_out_zero, dw_low, dw_high);
#else
    acc = clamp_f32(acc, dw_low, dw_high);
#endif
    DW_EPILOGUE
    return acc;
}

// LOAD words of the output of the depthwise convolution at `row`, from word `at` of `depth` on.
FN void fetch(word* out, Row row, i32 at, i32 depth, i32 k, word fill, DW_INPUTS IMAGE DW_BOUNDS) {
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
        const X_T* p = row.image + ((i64)iy * w + row.x) * c + channel;
        const X_T* tap = dw_weights + ky * KW * c + channel;
        __align__(16) word v[KW][LOAD], by[KW][LOAD];
        // No branches, so that all loads are issued before the first is used.
#pragma unroll
        for (i32 kx = 0; kx < KW; kx++) {
            bool inside = (u32)iy < (u32)h && (u32)(row.x + kx * dw) < (u32)w;
#pragma unroll
            for (i32 e = 0; e < LOAD; e++) v[kx][e] = OUTSIDE;
#if LOAD == 4
            if (inside) *(words*)v[kx] = *(const words*)(p + kx * dw * c);
            *(words*)by[kx] = *(const words*)(tap + kx * c);
#else
            if (inside) v[kx][0] = *(const word*)(p + kx * dw * c);
            by[kx][0] = *(const word*)(tap + kx * c);
#endif
        }
#pragma unroll
        for (i32 kx = 0; kx < KW; kx++)
#pragma unroll
            for (i32 e = 0; e < LOAD * LANES; e++)
#ifdef QUANTIZED
                acc[e] += ((i8)(v[kx][e / 4] >> (e % 4 * 8)) - dw_x_zero) * (i8)(by[kx][e / 4] >> (e % 4 * 8));
#else
                acc[e] = fma(v[kx][e], by[kx][e], acc[e]);
#endif
    }
#ifdef QUANTIZED
#pragma unroll
    for (i32 e = 0; e < LOAD; e++) out[e] = 0;
#pragma unroll
    for (i32 e = 0; e < LOAD * LANES; e++)
        out[e / 4] |= (u32)(u8)depthwise_epilogue(acc[e], DW_INPUTS_ARGS channel + e DW_BOUNDS_ARGS) << (e % 4 * 8);
#else
#pragma unroll
    for (i32 e = 0; e < LOAD; e++) out[e] = depthwise_epilogue(acc[e], DW_INPUTS_ARGS channel + e DW_BOUNDS_ARGS);
#endif
}
#else
#define DW_INPUTS
#define DW_BOUNDS
#define DW_INPUTS_ARGS
#define DW_BOUNDS_ARGS

// LOAD words of a row from word `at` on, of which there are `depth`.
FN void fetch(word* out, Row row, i32 at, i32 depth, i32 k, word fill, IMAGE) {
#ifdef HYBRID
    fill = row.fill;
#endif
#if LOAD == 4
    const X_T* p = at < depth ? input_at(row, at * LANES, IMAGE_ARGS) : nullptr;
    words v = p ? *(const words*)p : words{};
    out[0] = p ? SIGNED(v.x) : fill;
    out[1] = p ? SIGNED(v.y) : fill;
    out[2] = p ? SIGNED(v.z) : fill;
    out[3] = p ? SIGNED(v.w) : fill;
#elif !defined(QUANTIZED)
    const X_T* p = at < depth ? input_at(row, at, IMAGE_ARGS) : nullptr;
    *out = p ? *p : fill;
#elif defined(WHOLE_WORDS)
    const X_T* p = at < depth ? input_at(row, at * LANES, IMAGE_ARGS) : nullptr;
    *out = p ? SIGNED(*(const word*)p) : fill;
#else
    u32 v = fill;
    for (i32 e = 0; e < LANES; e++) {
        const X_T* p = at * LANES + e < k ? input_at(row, at * LANES + e, IMAGE_ARGS) : nullptr;
        if (p) v = (v & ~(255u << (8 * e))) | ((u32)(u8)*p ^ (SIGNED(0u) & 255u)) << (8 * e);
    }
    *out = v;
#endif
}
#endif

// The row of a block's BM, and the word of its BK, at which unit u of LOAD words begins. With LOAD 4 a warp has 16 rows
// and 32 bytes of each, so that it reads whole sectors of memory and writes to all banks of shared memory.
#if LOAD == 4
#define X_ROW(u) ((u) % 16 + (u) / 32 % (BM / 16) * 16)
#define X_AT(u) (((u) / 16 % 2 + (u) / 32 / (BM / 16) * 2) * 4)
#else
#define X_ROW(u) ((u) % BM)
#define X_AT(u) ((u) / BM)
#endif
#if THREADS % (2 * BM)
#error "a thread loads from one row"
#endif

// Load: this thread's words of the next tile of x, from word k0 on, into registers.
FN void fetch_x(word (&next)[X_LOADS][LOAD], Row row, i32 k0, i32 last, i32 k, word fill, DW_INPUTS IMAGE DW_BOUNDS) {
#pragma unroll
    for (i32 i = 0; i < X_LOADS; i++)
        fetch(next[i], row, k0 + X_AT(threadIdx.x + i * THREADS), last, k, fill,
              DW_INPUTS_ARGS IMAGE_ARGS DW_BOUNDS_ARGS);
}

// Row m of x, from which a thread loads its units.
FN Row begin_row(const X_T* x, i32 row, i32 m, IMAGE, SCALES BOUNDS) {
    Row r = row_at(x, row, m, IMAGE_ARGS);
#ifdef HYBRID
    r.fill = r.inside ? (zero_points[row / each] & 255) * 0x01010101u : 0;
#endif
    return r;
}
