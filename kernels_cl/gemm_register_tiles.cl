// out (n, oh, ow, oc) = x times weights, plus bias: tiles of MR output pixels by NV vectors of VW channels, kept in
// registers. A row of x is the window over an output pixel of images (n, h, w, c), read in place: implicit GEMM. The
// `items` work-items share the tiles evenly.
//
// x        X_T (n, h, w, c); zeros: kw * c values of pixels in the padding
// weights  W_T, panels of NR = NV * VW channels, each (kh, kw, c, NR): `step` elements from one input channel to the
//          next, `panel` from one panel to the next
// bias     BIAS_T, and SCALES, padded to whole panels: vectors.clh
//
// | macro                              | meaning                                                                  |
// | MR, NV, VW                         | rows, vectors and lanes of a tile                                        |
// | ACC                                | type of the sums, in which they are exact, or float                      |
// | POINTWISE                          | windows of one pixel, one for each output pixel: the rows of a matrix    |
// | FIXED, KH, KW, C, STRIDE_W         | sizes of windows so small that their loops are unrolled                  |
// | CHANNELS_FIRST                     | the next tile is that of the next channels, else that of the next pixels |
// | CPU                                | work-groups are one work-item; panels are stored one after another       |
// | FLOAT16_WEIGHTS                    | weights are float16                                                      |
// | IN_ORDER                           | products are rounded before they are added: no fused multiply-add        |
// | QUANTIZED, HYBRID, FLOAT, EPILOGUE | the epilogue, with FLOAT64_SCALES, INT16: vectors.clh                    |
// Sums, rows and weights are named variables and not arrays, which PoCL would keep in memory.
// Only for OpenCL: CUDA has kernels of its own for this.

#define V CAT(ACC, VW)
#define LOAD(p) CAT(convert_, V)(VLOAD(p))
#define NR (VW * NV)
#ifdef CPU
#define STEP NR
#else
#define STEP step
#endif
#ifndef FIXED
#define KH kh
#define KW kw
#define C c
#define STRIDE_W stride_w
#endif
#if defined(INT16)
#define SUMS(v) (v)
#elif defined(QUANTIZED) || defined(HYBRID)
#define SUMS(v) TO_INTS(v)
#else
#define SUMS(v) TO_FLOATS(v)
#endif

// ROWS(F) is F(0) ... F(MR - 1); COLUMNS(F, i) is F(i, 0) ... F(i, NV - 1).
#if MR == 1
#define ROWS(F) F(0)
#elif MR == 2
#define ROWS(F) F(0) F(1)
#elif MR == 4
#define ROWS(F) F(0) F(1) F(2) F(3)
#elif MR == 6
#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5)
#elif MR == 7
#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6)
#elif MR == 8
#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#endif
#if NV == 1
#define COLUMNS(F, i) F(i, 0)
#elif NV == 2
#define COLUMNS(F, i) F(i, 0) F(i, 1)
#elif NV == 3
#define COLUMNS(F, i) F(i, 0) F(i, 1) F(i, 2)
#elif NV == 4
#define COLUMNS(F, i) F(i, 0) F(i, 1) F(i, 2) F(i, 3)
#endif

#define SUM_START(i, j) V acc##i##j = 0;
#define ROW_SUMS(i) COLUMNS(SUM_START, i)
// Load: a0, a1 ... are where the values of the rows begin.
#ifdef POINTWISE
#define ROW_START(i) global const X_T* a##i = x + min(m0 + i, pixels - 1) * c;
#else
// One pixel after the other, since a division takes longer than many multiplications; the last one is repeated for the
// rows after it.
#define ROW_START(i)                                                                                                   \
    i32 x##i = ox * STRIDE_W - left, y##i = oy * stride_h - top, image##i = image * h;                                 \
    if (m0 + i + 1 < pixels && ++ox == ow) {                                                                           \
        ox = 0;                                                                                                        \
        if (++oy == oh) oy = 0, image++;                                                                               \
    }
#define IS_WHOLE(i) &&x##i >= 0 && x##i + KW <= w
#define NEIGHBOUR(i) global const X_T* a##i = from + i * STRIDE_W * C;
#define PIXEL(i)                                                                                                       \
    i32 iy##i = y##i + ky * dilation_h, ix##i = x##i + kx * dilation_w;                                                \
    i32 inside##i = iy##i >= 0 && iy##i < h && ix##i >= 0 && ix##i < w;                                                \
    global const X_T* a##i = inside##i ? x + ((image##i + iy##i) * w + ix##i) * C : zeros;
#endif
#ifdef FLOAT16_WEIGHTS
#define WEIGHT(i, j) V weight##j = CAT(vload_half, VW)(0, b + j * VW);
#else
#define WEIGHT(i, j) V weight##j = LOAD(b + j * VW);
#endif
#define ADD(i, j) acc##i##j += value##i * weight##j;
#define ROW_ADD(i)                                                                                                     \
    V value##i = (V)((ACC)a##i[k]);                                                                                    \
    COLUMNS(ADD, i)
// Multiply: adds `count` values of every row times their weights.
#define MULTIPLY(count)                                                                                                \
    for (i32 k = 0; k < count; k++, b += STEP) {                                                                       \
        COLUMNS(WEIGHT, 0)                                                                                             \
        ROWS(ROW_ADD)                                                                                                  \
    }
// Store: sums to memory, or outputs at once.
#define KEEP_SUM(i, j) VSTORE(acc##i##j, sums + i * NR + j * VW);
#define KEEP_ROW(i) COLUMNS(KEEP_SUM, i)
#define STORE(i, j)                                                                                                    \
    if (j < full)                                                                                                      \
        VSTORE(epilogue(acc##i##j, bias, m0 + i, n0 + j * VW, oc, ALL, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS),         \
               out + (m0 + i) * oc + n0 + j * VW);
#define ROW_STORE(i) COLUMNS(STORE, i)

#ifndef IN_ORDER
#pragma OPENCL FP_CONTRACT ON
#endif

// Store: the outputs of `height` rows from pixel m0 on, and of the channels [n, end) of the tile that begins at n0.
FN void store_tile(const ACC* sums, global const BIAS_T* bias, SCALES global OUT_T* out, i32 m0, i32 n0, i32 n, i32 end,
                   i32 height, i32 pixels, i32 oc, BOUNDS EPILOGUE_PARAMS) {
    for (; n < end; n += VW) {
        // The last vector may overlap the one before: its channels get the same values.
        i32 at = max(min(n, oc - VW), n0);
        for (i32 i = 0, m = m0; i < height; i++, m++) {
            i32 room = (pixels - m) * oc - at;
            store(epilogue(SUMS(VLOAD(sums + i * NR + at - n0)), bias, m, at, oc, room,
                           SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS), out + m * oc + at, oc - at);
        }
    }
}

#ifdef CPU
ONE_WORK_ITEM
#endif
kernel void gemm_register_tiles(global const X_T* restrict x, global const X_T* restrict zeros,
                       global const W_T* restrict weights, global const BIAS_T* restrict bias, SCALES
                       global OUT_T* restrict out, i32 tiles, i32 items, i32 pixels, i32 h, i32 w, i32 c, i32 oh,
                       i32 ow, i32 oc, i32 kh, i32 kw, i32 stride_h, i32 stride_w, i32 dilation_h, i32 dilation_w,
                       i32 top, i32 left, i32 step, i32 panel, BOUNDS EPILOGUE_PARAMS) {
    EVENLY(tiles)
    i32 panels = (oc + NR - 1) / NR, rows = (pixels + MR - 1) / MR;
#ifdef CHANNELS_FIRST
    i32 column = first % panels, line = first / panels;
    for (i32 t = first; t < last; t++, ++column == panels ? (column = 0, line++) : 0) {
#else
    i32 column = first / rows, line = first % rows;
    for (i32 t = first; t < last; t++, ++line == rows ? (line = 0, column++) : 0) {
#endif
        i32 n0 = column * NR, m0 = line * MR;
        global const W_T* b = weights + column * panel;
        ROWS(ROW_SUMS)
#ifdef POINTWISE
        ROWS(ROW_START)
        MULTIPLY(c)
#else
        i32 ox = m0 % ow, oy = m0 / ow % oh, image = m0 / ow / oh;
        i32 ix = ox * STRIDE_W - left, iy = oy * stride_h - top;
        if (m0 + MR <= pixels && ox + MR <= ow && iy >= 0 && iy + (KH - 1) * dilation_h < h && ix >= 0 &&
            ix + (MR - 1) * STRIDE_W + (KW - 1) * dilation_w < w) {
            // Neighbouring pixels, with windows inside the image. Without dilation a row of a window is contiguous.
            i32 across = dilation_w == 1 ? 1 : KW, run = dilation_w == 1 ? KW * C : C;
            global const X_T* start = x + ((image * h + iy) * w + ix) * C;
            for (i32 ky = 0; ky < KH; ky++, start += dilation_h * w * C)
                for (i32 kx = 0; kx < across; kx++) {
                    global const X_T* from = start + kx * dilation_w * C;
                    ROWS(NEIGHBOUR)
                    MULTIPLY(run)
                }
        } else {
            ROWS(ROW_START)
            i32 whole = dilation_w == 1 ROWS(IS_WHOLE);
            i32 across = whole ? 1 : KW, run = whole ? KW * C : C;
            for (i32 ky = 0; ky < KH; ky++)
                for (i32 kx = 0; kx < across; kx++) {
                    ROWS(PIXEL)
                    MULTIPLY(run)
                }
        }
#endif
        i32 height = min(MR, pixels - m0), end = min(n0 + NR, oc), n = n0;
#ifdef FLOAT
        if (height == MR) {
            i32 full = (end - n0) / VW;
            ROWS(ROW_STORE)
            n += full * VW;
            if (n == end) continue;
        }
#endif
        // By way of memory, so that the epilogue is compiled once and not for each vector of the tile.
        ACC sums[MR * NR];
        ROWS(KEEP_ROW)
        store_tile(sums, bias, SCALES_ARGS out, m0, n0, n, end, height, pixels, oc, BOUNDS_ARGS EPILOGUE_ARGS);
    }
}
