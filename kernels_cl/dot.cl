// Convolution of 8-bit codes by the processor's own instruction for four products of bytes and their sum (AVX512-VNNI):
// out (n, oh, ow, oc) = x (n, h, w, c) convolved with weights, plus bias (oc), tiles of MR pixels by 16 * NV channels.
// x's codes become unsigned ones by flipping their top bit, FLIP; the bias answers for that.
// weights: panels of NR channels, each (steps, NR, 4), steps = kh * kw * c / 4 rounded up, padded with zeros.
// A work-item takes `share` blocks of one tile of pixels by `across` panels. rows: scratch, MR * steps words for each.
// CALCULATE is a tile's product in assembly, which lowering/dot.py writes.
// Only for OpenCL, and there for CPUs of that kind.

#define NR (VW * NV)

// The MR windows of pixels from m0 on, as words, one after another.
FN void gather(global u32* rows, global const X_T* x, i32 m0, i32 steps, i32 pixels, i32 h, i32 w, i32 c, i32 oh,
               i32 ow, i32 kh, i32 kw, i32 stride_h, i32 stride_w, i32 dilation_h, i32 dilation_w, i32 top, i32 left,
               i32 zeros) {
    i32 ox = m0 % ow, oy = m0 / ow % oh, image = m0 / ow / oh;
    for (i32 i = 0; i < MR; i++) {
        i32 x0 = ox * stride_w - left, y0 = oy * stride_h - top;
        global u8* to = (global u8*)(rows + i * steps);
        i32 whole = dilation_w == 1 && x0 >= 0 && x0 + kw <= w;
        i32 across = whole ? 1 : kw, run = whole ? kw * c : c;
        for (i32 ky = 0; ky < kh; ky++)
            for (i32 kx = 0; kx < across; kx++, to += run) {
                i32 iy = y0 + ky * dilation_h, ix = x0 + kx * dilation_w, k = 0;
                if (iy >= 0 && iy < h && ix >= 0 && ix < w) {
                    global const u8* from = (global const u8*)x + ((image * h + iy) * w + ix) * c;
                    for (; k + 16 <= run; k += 16) vstore16(vload16(0, from + k) ^ (u8)FLIP, 0, to + k);
                    for (; k + 8 <= run; k += 8) vstore8(vload8(0, from + k) ^ (u8)FLIP, 0, to + k);
                    for (; k < run; k++) to[k] = from[k] ^ (u8)FLIP;
                } else {
                    for (; k < run; k++) to[k] = (u8)zeros ^ (u8)FLIP;
                }
            }
        while (to < (global u8*)(rows + (i + 1) * steps)) *to++ = 0;
        // One place after the other, since a division takes long; the last stands for those behind it.
        if (m0 + i + 1 < pixels && ++ox == ow) {
            ox = 0;
            if (++oy == oh) oy = 0, image++;
        }
    }
}

// sums (MR, NR) = rows times a panel. Not inlined: the text has a label.
__attribute__((noinline)) void multiply(global const u32* rows, global const i8* panel, i32* sums, i32 steps) {
    i64 left = steps, row = (i64)steps * 4;
    CALCULATE
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void dot_tiles(global const X_T* restrict x, global const i8* restrict weights, global const i32* restrict bias,
                      SCALES global u32* restrict scratch, global OUT_T* restrict out, i32 blocks, i32 share, i32 across,
                      i32 steps, i32 pixels, i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 oc, i32 kh, i32 kw, i32 stride_h,
                      i32 stride_w, i32 dilation_h, i32 dilation_w, i32 top, i32 left, i32 zeros, ENDS EXTRA) {
    i32 first = get_global_id(0) * share, last = min(first + share, blocks);
    i32 panels = (oc + NR - 1) / NR, groups = (panels + across - 1) / across;
    global u32* rows = scratch + get_global_id(0) * MR * steps;
    for (i32 t = first; t < last; t++) {
        i32 m0 = t / groups * MR, p0 = t % groups * across;
        if (t == first || p0 == 0)
            gather(rows, x, m0, steps, pixels, h, w, c, oh, ow, kh, kw, stride_h, stride_w, dilation_h, dilation_w, top,
                   left, zeros);
        i32 height = min(MR, pixels - m0);
        for (i32 p = p0; p < min(p0 + across, panels); p++) {
            i32 sums[MR * NR] __attribute__((aligned(64)));
            multiply(rows, weights + p * steps * 4 * NR, sums, steps);
            for (i32 n = p * NR; n < min((p + 1) * NR, oc); n += VW)
                for (i32 i = 0, m = m0; i < height; i++, m++)
                    store(finish(VLOAD(sums + i * NR + n - p * NR), bias, m, n, oc, (pixels - m) * oc - n,
                                 FINISH EXTRA_PASSED), out + m * oc + n, oc - n);
        }
    }
}
