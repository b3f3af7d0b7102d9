// Kernels over `rows` rows of `c` elements, whose last row has all elements up to n; the `items` work-items share the
// rows evenly.
// element_rows (STEPS): out[i] = EXPR, VW elements at once; LOADS and STEPS compute from the INPUTS what it names.
// move_rows: out[OUT_ROW + k] = x[X_ROW + k], from out_start and x_start on; SCALAR: x[X_ROW] for every k.
// X_ROW, OUT_ROW and the like: C for where row r of a tensor begins.
// Only for OpenCL: CUDA has a work-item for each element.

#ifndef EVENLY  // of vectors.clh, which is not included for copies
#define EVENLY(n)                                                                                                      \
    i32 first = min((u64)get_global_id(0), (u64)items) * (u64)(n) / items;                                             \
    i32 last = min((u64)get_global_id(0) + 1, (u64)items) * (u64)(n) / items;
#endif
#define ROWS                                                                                                           \
    EVENLY(rows)                                                                                                       \
    for (i32 r = first; r < last; r++) {                                                                               \
        i32 width = r == rows - 1 ? n - r * c : c;

#ifdef STEPS
ONE_WORK_ITEM
kernel void element_rows(INPUTS global OUT_T* restrict out, i32 n, i32 rows, i32 items, i32 c) {
    ROWS
        for (i32 k0 = 0; k0 < width; k0 += VW) {
            // The last vector may overlap the one before: its elements get the same values.
            i32 k = min(k0, width - VW);
            LOADS
            STEPS
            VSTORE(EXPR, out + r * c + k);
        }
    }
}
#else
ONE_WORK_ITEM
kernel void move_rows(global const T* restrict x, global T* restrict out, i32 n, i32 rows, i32 items, i32 c,
                      i32 x_start, i32 out_start) {
    ROWS
        global const T* from = x + x_start + X_ROW;
        global T* to = out + out_start + OUT_ROW;
#ifdef SCALAR
        T values[LANES];
        for (i32 k = 0; k < LANES; k++) values[k] = *from;
#define FROM(k) values
#else
#define FROM(k) from + (k)
#endif
        i32 k = 0;
        for (; k + LANES <= width; k += LANES) PUT(GET(0, FROM(k)), 0, to + k);
        if (k < width) PUT(GET(0, FROM(width - LANES)), 0, to + width - LANES);
    }
}
#endif
