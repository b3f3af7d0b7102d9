// out (b, m, n) = x (b, m, k) times y (b, k, n), of floats that are both computed at run time. A work-item packs NR
// columns of a y into its scratch (k, NR) and multiplies all rows of x by them, MR at a time. x and y have a step from
// one row and one column to the next.
//
// | macro            | meaning                                         |
// | VW, NV, MR       | lanes, vectors and rows of a tile; NR = VW * NV |
// | X_BATCH, Y_BATCH | C for where matrix `b` of each begins           |
// Only for OpenCL, and there for CPUs: CUDA has batched_gemm.cu.

#define NR (VW * NV)
#pragma OPENCL FP_CONTRACT ON

// Load: the first `count` columns of y as a panel (k, NR), then zeros.
FN void pack(global f32* panel, global const f32* y, i32 count, i32 k, i32 y_row, i32 y_column) {
    if (y_column == 1) {
        for (i32 j = 0; j < k; j++) {
            i32 i = 0;
            for (; i + VW <= count; i += VW) VSTORE(VLOAD(y + j * y_row + i), panel + j * NR + i);
            for (; i < NR; i++) panel[j * NR + i] = i < count ? y[j * y_row + i] : 0;
        }
    } else {
        for (i32 i = 0; i < NR; i++)
            for (i32 j = 0; j < k; j++) panel[j * NR + i] = i < count ? y[i * y_column + j * y_row] : 0;
    }
}

ONE_WORK_ITEM
kernel void gemm_packed_b(global const f32* restrict x, global const f32* restrict y, global f32* restrict scratch,
                           global f32* restrict out, i32 blocks, i32 across, i32 m, i32 n, i32 k, i32 x_row,
                           i32 x_column, i32 y_row, i32 y_column) {
    i32 block = get_global_id(0);
    if (block >= blocks) return;
    i32 b = block / across, n0 = block % across * NR, count = min(NR, n - n0);
    global f32* panel = scratch + block * k * NR;
    x += X_BATCH;
    y += Y_BATCH + n0 * y_column;
    out += b * m * n + n0;
    pack(panel, y, count, k, y_row, y_column);
    for (i32 m0 = 0; m0 < m; m0 += MR) {  // multiply, then store
        VF acc[MR][NV];
        global const f32* from[MR];
        #pragma unroll
        for (i32 i = 0; i < MR; i++) {
            from[i] = x + min(m0 + i, m - 1) * x_row;
            #pragma unroll
            for (i32 v = 0; v < NV; v++) acc[i][v] = 0;
        }
        global const f32* at = panel;
        for (i32 j = 0; j < k; j++, at += NR) {
            VF weights[NV];
            #pragma unroll
            for (i32 v = 0; v < NV; v++) weights[v] = VLOAD(at + v * VW);
            #pragma unroll
            for (i32 i = 0; i < MR; i++) {
                f32 value = from[i][j * x_column];
                #pragma unroll
                for (i32 v = 0; v < NV; v++) acc[i][v] += value * weights[v];
            }
        }
        #pragma unroll
        for (i32 i = 0; i < MR; i++)
            #pragma unroll
            for (i32 v = 0; v < NV; v++)
                if (m0 + i < m && v * VW < count) store(acc[i][v], out + (m0 + i) * n + v * VW, count - v * VW);
    }
}
