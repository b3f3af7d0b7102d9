// Products of 8-bit codes, tiles of MR rows by NV vectors of channels, by the processor's own instruction for four
// products of bytes and their sum (AVX512-VNNI) where CALCULATE, a tile's product in assembly, is given by
// lowering/gemm/vnni.py, else in plain C.
// dot_tiles: out (n, oh, ow, oc) = x (n, h, w, c) convolved with weights, plus bias. weights: panels of NR channels, each
// (steps, NR, 4), steps = kh * kw * c / 4 rounded up, padded with zeros; in plain C (steps * 4, NR).
// x's codes become unsigned ones by flipping their top bit where FLIP is 128; the bias answers for that.
// A work-item takes `share` blocks of one tile of rows by `across` panels. scratch: MR * steps words for each.
// ROW_SUMS: what a row's sum, of unsigned codes, is multiplied by and added to its sums.
// SPREAD_H, SPREAD_W: so many outputs down and across are made of each window, from one channel after another; the
// first SPREAD_TOP rows and SPREAD_LEFT columns of them are outside of out, which is out_h x out_w.
// X_BATCH, Y_BATCH: C for which matrix of x, and which panels and bias, the matrices `b` of the output come of.
// pack: those panels, of matrices that are computed, and the bias: what the zero points amount to.
// HYBRID: each image's codes, or each row's of a matrix, have a scale and a zero point of their own.
// Only for OpenCL, and there for CPUs.

#ifndef PACK
#define NR (VW * NV)
#endif
#ifdef HYBRID
#define BIAS_T f32
#else
#define BIAS_T i32
#endif

#ifdef PACK
// y (batches, k, n) by steps from one row and column to the next. bias[column] = constant - x_zero * the column's sum.
SINGLE
kernel void pack(global const i8* restrict y, global i8* restrict panels, global i32* restrict bias, i32 blocks, i32 n,
                 i32 k, i32 across, i32 steps, i32 y_row, i32 y_column, i32 x_zero, i32 constant_part) {
    i32 block = get_global_id(0);
    if (block >= blocks) return;
    i32 batch = block / across, n0 = block % across * NR, count = min(NR, n - n0);
    y += batch * n * k + n0 * y_column;
    panels += block * steps * 4 * NR;
    bias += block * NR;
    i32 sums[NR];
    for (i32 i = 0; i < NR; i++) sums[i] = 0;
    for (i32 s = 0; s < steps * 4; s += 4, panels += 4 * NR) {
        for (i32 i = 0; i < NR; i++) {
            global const i8* from = y + s * y_row + i * y_column;
            i8 codes[4];
            for (i32 j = 0; j < 4; j++) codes[j] = i < count && s + j < k ? from[j * y_row] : 0;
            sums[i] += codes[0] + codes[1] + codes[2] + codes[3];
#ifdef INTERLEAVED
            vstore4(vload4(0, codes), i, panels);
#else
            for (i32 j = 0; j < 4; j++) panels[j * NR + i] = codes[j];
#endif
        }
    }
    for (i32 i = 0; i < NR; i++) bias[i] = constant_part - x_zero * sums[i];
}
#else

#ifdef SPREAD_H
#define EXTENT , i32 out_h, i32 out_w, i32 padded_oc
#else
#define EXTENT
#endif
#ifdef HYBRID
#define ZEROS , global const i32* zero_points
#define ZEROS_PASSED , zero_points
#define PADDING zero_points[image]
#else
#define ZEROS
#define ZEROS_PASSED
#define PADDING zeros
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

// No loop over single elements: the last vector lies over the one before.
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

// The sum of n unsigned codes.
FN i32 sum_of_codes(global const u8* x, i32 n) {
    int8 sums = 0;
    i32 k = 0, rest = 0;
    for (; k + 8 <= n; k += 8) sums += convert_int8(vload8(0, x + k) ^ (uchar8)FLIP);
    for (; k < n; k++) rest += x[k] ^ (u8)FLIP;
    int4 four = sums.lo + sums.hi;
    return rest + four.x + four.y + four.z + four.w;
}

// The MR windows of pixels from m0 on, one after another.
FN void gather(global u8* rows, global const u8* x, i32 m0, i32 steps, i32 pixels, i32 h, i32 w, i32 c, i32 oh, i32 ow,
               i32 kh, i32 kw, i32 stride_h, i32 stride_w, i32 dilation_h, i32 dilation_w, i32 top, i32 left,
               i32 zeros ZEROS) {
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
        // One place after the other, since a division takes long; the last stands for those behind it.
        if (m0 + i + 1 < pixels && ++ox == ow) {
            ox = 0;
            if (++oy == oh) oy = 0, image++;
        }
    }
}

// The same of windows side by side that lie inside the image: kh runs each, `down` bytes from one to the next.
FN void gather_inside(global u8* rows, global const u8* x, i32 steps, i32 right, i32 down, i32 kh, i32 run) {
    for (i32 i = 0; i < MR; i++, x += right) {
        global u8* to = rows + i * steps * 4;
        vstore4((uchar4)0, steps - 1, to);
        for (i32 ky = 0; ky < kh; ky++, to += run) copy(to, x + ky * down, run);
    }
}

// sums (MR, NR) = MR rows, `row` bytes from one to the next, times a panel. A row is `runs` runs of `words` words, each
// `jump` bytes behind the end of the last.
#ifdef CALCULATE
// Not inlined: the text has labels.
__attribute__((noinline)) void multiply(global const u8* rows, i64 row, i64 runs, i64 words, i64 jump,
                                        global const i8* panel, i32* sums) {
    CALCULATE
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

SINGLE
kernel void gemm_vnni(global const X_T* restrict x, global const i8* restrict weights,
                      global const BIAS_T* restrict bias, SCALES global u8* restrict scratch, global OUT_T* restrict out, i32 blocks, i32 share, i32 across,
                      i32 steps, i32 pixels, i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 oc, i32 kh, i32 kw, i32 stride_h,
                      i32 stride_w, i32 dilation_h, i32 dilation_w, i32 top, i32 left,
                      i32 batches EXTENT, i32 zeros BY_SUM, ENDS EPILOGUE_PARAMS) {
    i32 first = get_global_id(0) * share, last = min(first + share, blocks);
#ifdef SPREAD_H
    i32 columns = SPREAD_H * SPREAD_W * padded_oc;
#else
    i32 columns = oc;
#endif
    i32 panels = (columns + NR - 1) / NR, groups = (panels + across - 1) / across, heights = (pixels + MR - 1) / MR;
    i32 run = kw * c, panel_bytes = steps * 4 * NR;
    global u8* gathered = scratch + get_global_id(0) * MR * steps * 4;
    global const u8 *images = (global const u8*)x, *rows = gathered;
    i64 row = 0, runs = 1, words = steps, jump = 0;
    i32 row_sums[MR];
    for (i32 t = first; t < last; t++) {
        i32 b = t / groups / heights, m0 = t / groups % heights * MR, p0 = t % groups * across;
        if (t == first || p0 == 0) {
            i32 ox = m0 % ow, x0 = ox * stride_w - left, y0 = m0 / ow % oh * stride_h - top;
            images = (global const u8*)x + X_BATCH * pixels * c;
            // Windows side by side that lie inside the image are multiplied where they are.
            i32 inside = x0 >= 0 && x0 + (MR - 1) * stride_w + kw <= w && y0 >= 0 && y0 + (kh - 1) * dilation_h < h;
            inside = inside && dilation_w == 1 && ox + MR <= ow;
            rows = images + ((m0 / ow / oh * h + y0) * w + x0) * c;
            if (inside && run % 4 == 0) {
                row = stride_w * c, runs = kh, words = run / 4, jump = dilation_h * w * c - run;
            } else if (inside) {
                gather_inside(gathered, rows, steps, stride_w * c, dilation_h * w * c, kh, run);
                rows = gathered, row = steps * 4, runs = 1, words = steps, jump = 0;
            } else {
                gather(gathered, images, m0, steps, pixels, h, w, c, oh, ow, kh, kw, stride_h, stride_w, dilation_h,
                       dilation_w, top, left, zeros ZEROS_PASSED);
                rows = gathered, row = steps * 4, runs = 1, words = steps, jump = 0;
            }
#ifdef ROW_SUMS
            for (i32 i = 0; i < MR; i++) {
                i32 sum = 0;
                if (runs == 1)
                    sum = sum_of_codes(rows + i * row, kh * run);
                else
                    for (i32 ky = 0; ky < kh; ky++) sum += sum_of_codes(rows + i * row + ky * (run + jump), run);
                row_sums[i] = by_sum * sum;
            }
#endif
        }
        i32 height = min(MR, pixels - m0), start = b * pixels + m0, total = batches * pixels;
        global const BIAS_T* added = bias + Y_BATCH * panels * NR;
        for (i32 p = p0; p < min(p0 + across, panels); p++) {
            i32 sums[MR * NR] __attribute__((aligned(64)));
            multiply(rows, row, runs, words, jump, weights + (Y_BATCH * panels + p) * panel_bytes, sums);
            for (i32 column = p * NR; column < min((p + 1) * NR, columns); column += VW) {
#ifdef SPREAD_H
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
                    global const BIAS_T* its_bias = added + phase * padded_oc;
#else
                i32 n = column;
                for (i32 i = 0, m = start; i < height; i++, m++) {
                    i32 room = (total - m) * oc - n;
                    global const BIAS_T* its_bias = added;
#endif
                    VI sum = VLOAD(sums + i * NR + column - p * NR);
#ifdef ROW_SUMS
                    sum += (VI)row_sums[i];
#endif
                    store(finish(sum, its_bias, m, n, oc, room, FINISH EPILOGUE_ARGS), out + m * oc + n, oc - n);
#ifdef SPREAD_H
                    LOOK_UP(out + m * oc + n, 1, 0, min(VW, oc - n))
#endif
                }
            }
#ifndef SPREAD_H
            LOOK_UP(out + start * oc + p * NR, height, oc, min(NR, oc - p * NR))
#endif
        }
    }
}
#endif
