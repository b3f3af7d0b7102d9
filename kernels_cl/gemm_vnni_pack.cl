// Packs a matrix that is computed at run time as gemm_vnni.cl takes its weights. y (batches, k, n), with a step from
// one row and one column to the next, becomes panels (batches, n / NR, steps, NR, 4), padded with zeros; without
// INTERLEAVED (batches, n / NR, steps * 4, NR). bias (batches, n / NR, NR) = offset - x_zero * the column's sum.
// One work-item a panel.
//
// | macro       | meaning                                                            |
// | NR          | columns of a panel                                                 |
// | INTERLEAVED | four values of a column are neighbours, as the assembly takes them |
// Only for OpenCL, and there for CPUs.

ONE_WORK_ITEM
kernel void pack(global const i8* restrict y, global i8* restrict panels, global i32* restrict bias, i32 blocks, i32 n,
                 i32 k, i32 across, i32 steps, i32 y_row, i32 y_column, i32 x_zero, i32 offset) {
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
            i8 values[4];
            for (i32 j = 0; j < 4; j++) values[j] = i < count && s + j < k ? from[j * y_row] : 0;
            sums[i] += values[0] + values[1] + values[2] + values[3];
#ifdef INTERLEAVED
            vstore4(vload4(0, values), i, panels);
#else
            for (i32 j = 0; j < 4; j++) panels[j * NR + i] = values[j];
#endif
        }
    }
    for (i32 i = 0; i < NR; i++) bias[i] = offset - x_zero * sums[i];
}
