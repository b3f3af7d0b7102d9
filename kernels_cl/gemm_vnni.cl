// out (batches, pixels, oc) = x times weights, plus bias, of 8-bit values: tiles of MR rows by NV vectors of columns,
// by AVX512-VNNI (dot products of four bytes), else in plain C. A row of x is the window over an output pixel of images
// (n, h, w, c), gathered when its tile is computed: implicit GEMM.
//
// x        (n, h, w, c); flipping the top bit where FLIP is 128 makes its values unsigned; the bias accounts for that
// weights  panels of NR columns, (steps, NR, 4), in plain C (steps * 4, NR); steps = kh * kw * c / 4 rounded up
//          INT4: panels of 4-bit values, (steps / 2, NR) words of 8, as lowering/gemm/int4.py packs them
// bias     (panels * NR); SCALES: vectors.clh
// scratch  MR * steps words for each work-item, which computes `share` blocks of one tile of rows by `across` panels;
//          INT4: and MR * scale_blocks
//
// | macro                       | meaning                                                                        |
// | MR, NV, VW                  | rows, vectors and lanes of a tile                                              |
// | ASSEMBLY                    | the multiplication of a tile in assembly, by lowering/gemm/vnni.py             |
// | FLIP                        | 128 where x is signed, else 0                                                  |
// | ROW_SUMS                    | by_sum times the sum of each row's unsigned values is added to its sums        |
// | X_BATCH, Y_BATCH            | C for the matrix of x, and the panels, that matrix `b` of out is computed from |
// | SPREAD_H, SPREAD_W          | output pixels of each window, down and across: a transposed convolution        |
// | SPREAD_TOP, SPREAD_LEFT     | how many of the first of them lie outside of out (out_h x out_w)               |
// | INT4                        | weights of 4 bits; FLIP is 0, and a row has `scale_blocks` scales of y         |
// | BLOCKWISE                   | HYBRID and INT4: sums are floats, each block of a row times its own scale      |
// | QUANTIZED, HYBRID, EPILOGUE | the epilogue, with FLOAT64_SCALES: vectors.clh                                 |
// Only for OpenCL, and there for CPUs.

#define NR (VW * NV)
#ifdef HYBRID
#define BIAS_T f32
#define ZERO_POINTS , global const i32* zero_points
#define ZERO_POINTS_ARGS , zero_points
#define PADDING zero_points[image]
#else
#define BIAS_T i32
#define ZERO_POINTS
#define ZERO_POINTS_ARGS
#define PADDING zeros
#endif
#ifdef SPREAD_H
#define EXTENT , i32 out_h, i32 out_w, i32 padded_oc
#define EXTENT_ARGS , out_h, out_w, padded_oc
#else
#define EXTENT
#define EXTENT_ARGS
#endif
#ifdef INT4
#define SCALE_BLOCKS , i32 scale_blocks
#else
#define SCALE_BLOCKS
#define scale_blocks 0
#endif
#ifdef ROW_SUMS
#define BY_SUM , i32 by_sum
#else
#define BY_SUM
#endif
#ifndef X_BATCH
#define X_BATCH 0
#define Y_BATCH 0
#endif
#define IMAGE                                                                                                          \
    i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 oc, i32 kh, i32 kw, i32 stride_h, i32 stride_w, i32 dilation_h,           \
        i32 dilation_w, i32 top, i32 left
#define IMAGE_ARGS h, w, c, oh, ow, oc, kh, kw, stride_h, stride_w, dilation_h, dilation_w, top, left

// The layout of a tile's rows: ROW bytes from one to the next; a row is RUNS runs of WORDS words, each JUMP bytes after
// the end of the last.
#define ROW layout[0]
#define RUNS layout[1]
#define WORDS layout[2]
#define JUMP layout[3]

// No loop over single elements: the last vector overlaps the one before.
FN void copy(global u8* to, global const u8* from, i32 n) {
    if (n >= 16) {
        for (i32 k = 0; k + 16 <= n; k += 16) vstore16(vload16(0, from + k), 0, to + k);
        if (n % 16) vstore16(vload16(0, from + n - 16), 0, to + n - 16);
    } else if (n >= 8) {
        vstore8(vload8(0, from), 0, to);
        vstore8(vload8(0, from + n - 8), 0, to + n - 8);
    } else if (n >= 4) {
        vstore4(vload4(0, from), 0, to);
        vstore4(vload4(0, from + n - 4), 0, to + n - 4);
    } else {
        for (i32 k = 0; k < n; k++) to[k] = from[k];
    }
}

FN void fill(global u8* to, u8 value, i32 n) {
    if (n >= 16) {
        for (i32 k = 0; k + 16 <= n; k += 16) vstore16((uchar16)value, 0, to + k);
        vstore16((uchar16)value, 0, to + n - 16);
    } else {
        for (i32 k = 0; k < n; k++) to[k] = value;
    }
}

// rows = the windows of MR pixels from m0 on, one after another.
FN void gather(global u8* rows, global const u8* x, i32 m0, i32 steps, i32 pixels, IMAGE, i32 zeros ZERO_POINTS) {
    i32 ox = m0 % ow, oy = m0 / ow % oh, image = m0 / ow / oh;
    for (i32 i = 0; i < MR; i++) {
        i32 x0 = ox * stride_w - left, y0 = oy * stride_h - top;
        global u8 *to = rows + i * steps * 4, *end = to + steps * 4;
        i32 whole = dilation_w == 1 && x0 >= 0 && x0 + kw <= w;
        i32 across = whole ? 1 : kw, run = whole ? kw * c : c;
        for (i32 ky = 0; ky < kh; ky++)
            for (i32 kx = 0; kx < across; kx++, to += run) {
                i32 iy = y0 + ky * dilation_h, ix = x0 + kx * dilation_w;
                if (iy >= 0 && iy < h && ix >= 0 && ix < w)
                    copy(to, x + ((image * h + iy) * w + ix) * c, run);
                else
                    fill(to, PADDING, run);
            }
        while (to < end) *to++ = 0;
        // One pixel after the other, since a division takes long; the last one is repeated for the rows after it.
        if (m0 + i + 1 < pixels && ++ox == ow) {
            ox = 0;
            if (++oy == oh) oy = 0, image++;
        }
    }
}

// gather for neighbouring windows inside the image: kh runs each, `down` bytes from one to the next.
FN void gather_inside(global u8* rows, global const u8* x, i32 steps, i32 right, i32 down, i32 kh, i32 run) {
    for (i32 i = 0; i < MR; i++, x += right) {
        global u8* to = rows + i * steps * 4;
        vstore4((uchar4)0, steps - 1, to);
        for (i32 ky = 0; ky < kh; ky++, to += run) copy(to, x + ky * down, run);
    }
}

// Load: the windows of MR pixels from m0 on, in place in the image if they can be multiplied there, else gathered.
FN void load(global const u8** rows, i64* layout, global u8* gathered, global const u8* images, i32 m0, i32 steps,
             i32 pixels, IMAGE, i32 zeros ZERO_POINTS) {
    i32 ox = m0 % ow, x0 = ox * stride_w - left, y0 = m0 / ow % oh * stride_h - top, run = kw * c;
    // Neighbouring windows inside the image.
    i32 inside = x0 >= 0 && x0 + (MR - 1) * stride_w + kw <= w && y0 >= 0 && y0 + (kh - 1) * dilation_h < h;
    inside = inside && dilation_w == 1 && ox + MR <= ow;
    global const u8* first = images + ((m0 / ow / oh * h + y0) * w + x0) * c;
    if (inside && run % 4 == 0) {
        *rows = first;
        ROW = stride_w * c, RUNS = kh, WORDS = run / 4, JUMP = dilation_h * w * c - run;
        return;
    }
    if (inside)
        gather_inside(gathered, first, steps, stride_w * c, dilation_h * w * c, kh, run);
    else
        gather(gathered, images, m0, steps, pixels, IMAGE_ARGS, zeros ZERO_POINTS_ARGS);
    *rows = gathered;
    ROW = steps * 4, RUNS = 1, WORDS = steps, JUMP = 0;
}

// The sum of n unsigned values.
FN i32 sum_of_values(global const u8* x, i32 n) {
    int8 sums = 0;
    i32 k = 0, rest = 0;
    for (; k + 8 <= n; k += 8) sums += convert_int8(vload8(0, x + k) ^ (uchar8)FLIP);
    for (; k < n; k++) rest += x[k] ^ (u8)FLIP;
    int4 four = sums.lo + sums.hi;
    return rest + four.x + four.y + four.z + four.w;
}

#ifdef ROW_SUMS
// row_sums (MR) = by_sum times the sum of each row's unsigned values.
FN void sum_rows(i32* row_sums, global const u8* rows, const i64* layout, i32 kh, i32 run, i32 by_sum) {
    for (i32 i = 0; i < MR; i++) {
        i32 sum = 0;
        if (RUNS == 1)
            sum = sum_of_values(rows + i * ROW, kh * run);
        else
            for (i32 ky = 0; ky < kh; ky++) sum += sum_of_values(rows + i * ROW + ky * (run + JUMP), run);
        row_sums[i] = by_sum * sum;
    }
}
#endif

#ifdef INT4
#include "vnni_int4.clh"
#else
// Multiply: sums (MR, NR) = the rows times a panel.
#ifdef ASSEMBLY
// Not inlined: the text has labels.
__attribute__((noinline)) void multiply(global const u8* rows, i64 row, i64 runs, i64 words, i64 jump,
                                        global const i8* panel, i32* sums) {
    ASSEMBLY
}
#else
FN void multiply(global const u8* rows, i64 row, i64 runs, i64 words, i64 jump, global const i8* panel, i32* sums) {
    for (i32 j = 0; j < NV; j++) {
        VI acc[MR];
        for (i32 i = 0; i < MR; i++) acc[i] = 0;
        global const u8* at = rows;
        global const i8* b = panel + j * VW;
        for (i64 r = 0; r < runs; r++, at += jump)
            for (i64 k = 0; k < words * 4; k++, at++, b += NR) {
                VI weight = TO_INTS(VLOAD(b));
                for (i32 i = 0; i < MR; i++) acc[i] += weight * (VI)(i32)(at[i * row] ^ (u8)FLIP);
            }
        for (i32 i = 0; i < MR; i++) VSTORE(acc[i], sums + i * NR + j * VW);
    }
}
#endif
#endif

// The sums of row i from column `column` of a panel on.
FN VI sums_at(const i32* sums, const i32* row_sums, i32 i, i32 column) {
    VI sum = VLOAD(sums + i * NR + column);
#ifdef ROW_SUMS
    sum += (VI)row_sums[i];
#endif
    return sum;
}

// Store: the epilogue of the sums of `height` rows, from pixel m0 of batch `b` on, and panel p. total: the rows of all
// batches.
#ifdef SPREAD_H
FN void store_tile(const i32* sums, const i32* row_sums, global const BIAS_T* bias, SCALES global OUT_T* out, i32 b,
                   i32 p, i32 m0, i32 height, i32 pixels, i32 total, i32 oh, i32 ow, i32 oc EXTENT,
                   BOUNDS EPILOGUE_PARAMS) {
    for (i32 column = p * NR; column < min((p + 1) * NR, SPREAD_H * SPREAD_W * padded_oc); column += VW) {
        i32 phase = column / padded_oc, n = column - phase * padded_oc;
        i32 qx = m0 % ow, qy = m0 / ow % oh, image = m0 / ow / oh;
        for (i32 i = 0; i < height; i++) {
            i32 oy = qy * SPREAD_H + phase / SPREAD_W - SPREAD_TOP;
            i32 ox = qx * SPREAD_W + phase % SPREAD_W - SPREAD_LEFT;
            i32 m = (image * out_h + oy) * out_w + ox;
            if (++qx == ow) {
                qx = 0;
                if (++qy == oh) qy = 0, image++;
            }
            if (oy < 0 || oy >= out_h || ox < 0 || ox >= out_w) continue;
            i32 room = (total / ow / oh * out_h * out_w - m) * oc - n;
            VI sum = sums_at(sums, row_sums, i, column - p * NR);
            store(epilogue(sum, bias + phase * padded_oc, m, n, oc, room, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS),
                  out + m * oc + n, oc - n);
            LOOK_UP(out + m * oc + n, 1, 0, min(VW, oc - n))
        }
    }
}
#else
FN void store_tile(const i32* sums, const i32* row_sums, global const BIAS_T* bias, SCALES global OUT_T* out, i32 b,
                   i32 p, i32 m0, i32 height, i32 pixels, i32 total, i32 oh, i32 ow, i32 oc EXTENT,
                   BOUNDS EPILOGUE_PARAMS) {
    i32 start = b * pixels + m0;
    for (i32 n = p * NR; n < min((p + 1) * NR, oc); n += VW)
        for (i32 i = 0, m = start; i < height; i++, m++) {
            VI sum = sums_at(sums, row_sums, i, n - p * NR);
            i32 room = (total - m) * oc - n;
            store(epilogue(sum, bias, m, n, oc, room, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS), out + m * oc + n, oc - n);
        }
    LOOK_UP(out + start * oc + p * NR, height, oc, min(NR, oc - p * NR))
}
#endif

ONE_WORK_ITEM
kernel void gemm_vnni(global const X_T* restrict x, global const i8* restrict weights,
                      global const BIAS_T* restrict bias, SCALES global u8* restrict scratch,
                      global OUT_T* restrict out, i32 blocks, i32 share, i32 across, i32 steps, i32 pixels, IMAGE,
                      i32 batches EXTENT SCALE_BLOCKS, i32 zeros BY_SUM, BOUNDS EPILOGUE_PARAMS) {
    i32 first = get_global_id(0) * share, last = min(first + share, blocks);
#ifdef SPREAD_H
    i32 columns = SPREAD_H * SPREAD_W * padded_oc;
#else
    i32 columns = oc;
#endif
    i32 panels = (columns + NR - 1) / NR, groups = (panels + across - 1) / across, heights = (pixels + MR - 1) / MR;
    global u8* gathered = scratch + get_global_id(0) * MR * (steps + scale_blocks) * 4;
    global const u8* rows = gathered;
    i64 layout[4];
    i32 row_sums[MR];
    for (i32 t = first; t < last; t++) {
        i32 b = t / groups / heights, m0 = t / groups % heights * MR, p0 = t % groups * across;
        if (t == first || p0 == 0) {
            global const u8* images = (global const u8*)x + X_BATCH * pixels * c;
            load(&rows, layout, gathered, images, m0, steps, pixels, IMAGE_ARGS, zeros ZERO_POINTS_ARGS);
#ifdef ROW_SUMS
            sum_rows(row_sums, rows, layout, kh, kw * c, by_sum);
#endif
#ifdef INT4
            start_sums((global i32*)(gathered + MR * steps * 4), rows, ROW, scale_blocks, c / scale_blocks);
#endif
        }
        for (i32 p = p0; p < min(p0 + across, panels); p++) {
            i32 sums[MR * NR] __attribute__((aligned(64)));
#ifdef INT4
            global const u8* panel = (global const u8*)weights + p * steps * 2 * NR;
            multiply_int4(rows, ROW, scale_blocks, steps / 2 / scale_blocks, panel,
                          (global const i32*)(gathered + MR * steps * 4), PANEL_SCALES(p), sums);
#else
            global const i8* panel = weights + (Y_BATCH * panels + p) * steps * 4 * NR;
            multiply(rows, ROW, RUNS, WORDS, JUMP, panel, sums);
#endif
            store_tile(sums, row_sums, bias + Y_BATCH * panels * NR, SCALES_ARGS out, b, p, m0, min(MR, pixels - m0),
                       pixels, batches * pixels, oh, ow, oc EXTENT_ARGS, BOUNDS_ARGS EPILOGUE_ARGS);
        }
    }
}
