// out (n, oh, ow, c) = x (n, h, w, c) of 8-bit values, each channel convolved with its own weights, plus bias, by
// AVX512-VNNI (dot products of four bytes), else in plain C. Rows of x are stored as quads: for every second pixel the
// values of four neighbouring pixels, of VW channels, with their top bits flipped by FLIP; the last KH rows in a ring.
//
// weights  for each VW channels (KH, CHUNKS, 1 + TWICE, VW, 4)
// scratch  KH * quads * 4 * VW + (ow + 1) * 4 * VW bytes for each work-item, which computes `share` units one after
//          another, each a band of rows of VW channels
//
// | macro               | meaning                                                                  |
// | KH, CHUNKS          | rows of a window, and quads that an output is computed from              |
// | TWICE               | 1 where a quad gives two outputs, else 0                                 |
// | ASSEMBLY            | the sums of a row in assembly, by lowering/convolution/depthwise_vnni.py |
// | FLIP                | 128 where x is signed, else 0                                            |
// | QUANTIZED, EPILOGUE | the epilogue: vectors.clh                                                |
// Only for OpenCL, and there for CPUs.

#define QUAD (4 * VW)
#define ROW_WEIGHTS (CHUNKS * (1 + TWICE) * QUAD)

FN VU pixel(global const u8* x, i32 ix, i32 w, i32 c, i32 zeros) {
    return ix >= 0 && ix < w ? CAT(convert_, VU)(VLOAD(x + ix * c)) : (VU)(u32)(u8)zeros;
}

// x: the row of an image, from the first of the VW channels on; it is not read if it is outside of the image.
FN void build_quads(global u8* quads, i32 count, global const u8* x, i32 inside, i32 w, i32 c, i32 left, i32 zeros) {
    i32 ix = -left, end = inside ? w : 0;
    VU low = pixel(x, ix, end, c, zeros) | pixel(x, ix + 1, end, c, zeros) << 8;
    for (i32 j = 0; j < count; j++) {
        ix += 2;
        VU high = pixel(x, ix, end, c, zeros) | pixel(x, ix + 1, end, c, zeros) << 8;
        VSTORE((low | high << 16) ^ (VU)(FLIP * 0x01010101u), (global u32*)quads + j * VW);
        low = high;
    }
}

// sums (count * (1 + TWICE), VW) = the quads of KH rows times weights.
#ifdef ASSEMBLY
__attribute__((noinline)) void multiply(global const u8* row0, global const u8* row1, global const u8* row2,
                                        global const u8* row3, global const u8* row4, global const i8* weights,
                                        global i32* sums, i64 count) {
    ASSEMBLY
}
#else
FN void multiply(global const u8* row0, global const u8* row1, global const u8* row2, global const u8* row3,
                 global const u8* row4, global const i8* weights, global i32* sums, i64 count) {
    global const u8* rows[5] = {row0, row1, row2, row3, row4};
    for (i32 j = 0; j < count; j++)
        for (i32 second = 0; second <= TWICE; second++)
            for (i32 e = 0; e < VW; e++) {
                i32 sum = 0;
                for (i32 k = 0; k < KH * CHUNKS * 4; k++) {
                    i32 ky = k / (CHUNKS * 4), chunk = k / 4 % CHUNKS;
                    sum += rows[ky][(j + 2 * chunk) * QUAD + 4 * e + k % 4] *
                           weights[ky * ROW_WEIGHTS + (chunk * (1 + TWICE) + second) * QUAD + 4 * e + k % 4];
                }
                sums[(j * (1 + TWICE) + second) * VW + e] = sum;
            }
}
#endif

ONE_WORK_ITEM
kernel void depthwise_vnni(global const X_T* restrict x, global const i8* restrict weights,
                          global const i32* restrict bias, SCALES global u8* restrict scratch,
                          global OUT_T* restrict out, i32 units, i32 share, i32 h, i32 w, i32 c, i32 oh, i32 ow,
                          i32 stride_h, i32 top, i32 left, i32 bands, i32 quads, i32 zeros, BOUNDS EPILOGUE_PARAMS) {
    i32 first = get_global_id(0) * share, last = min(first + share, units), blocks = (c + VW - 1) / VW;
    i32 bytes = KH * quads * QUAD;
    global u8* ring = scratch + get_global_id(0) * (bytes + (ow + 1) * QUAD);
    global i32* sums = (global i32*)(ring + bytes);
    for (i32 unit = first; unit < last; unit++) {
        i32 block = unit / bands % blocks, image = unit / bands / blocks, band = unit % bands;
        // The last vector may overlap the one before, whose unit stores the first `others` channels.
        i32 n = min(block * VW, c - VW), others = block * VW - n;
        i32 start = band * oh / bands, end = (band + 1) * oh / bands;
        global const u8* images = (global const u8*)x + image * h * w * c + n;
        for (i32 oy = start, built = start * stride_h - top; oy < end; oy++) {
            i32 y0 = oy * stride_h - top;
            global const u8* rows[5];
            for (i32 ky = 0; ky < 5; ky++) rows[ky] = ring + (y0 + min(ky, KH - 1) + top) % KH * quads * QUAD;
            for (built = max(built, y0); built < y0 + KH; built++) {
                i32 inside = built >= 0 && built < h;
                build_quads(ring + (built + top) % KH * quads * QUAD, quads, images + (inside ? built : 0) * w * c,
                            inside, w, c, left, zeros);
            }
            multiply(rows[0], rows[1], rows[2], rows[3], rows[4], weights + block * KH * ROW_WEIGHTS, sums,
                     quads - 2 * (CHUNKS - 1));
            i32 m = (image * oh + oy) * ow;
            for (i32 ox = 0; ox < ow; ox++) {
                VI values = epilogue(VLOAD(sums + ox * VW), bias, m + ox, n, c, VW,
                                     SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS);
                global OUT_T* to = out + (m + ox) * c + n;
                if (others == 0) {
                    store(values, to, VW);
                } else {
                    OUT_T lanes[VW];
                    VSTORE(TO_STORED(values), lanes);
                    for (i32 e = others; e < VW; e++) to[e] = lanes[e];
                }
            }
            LOOK_UP(out + m * c + n + others, ow, c, VW - others)
        }
    }
}
