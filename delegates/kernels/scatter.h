// out (n0, ..., n5, inner) at each of `count` vectors of nd indices, in order, = COMBINE(out, a row of updates (count,
// inner)), or of (1, inner) where update_step is 0. One work-item a column of inner.
// An index out of bounds is a fault; SKIP_NEGATIVE: rows of negative indices are left out.

KERNEL scatter(IN(T) RESTRICT updates, IN(INDEX_T) RESTRICT indices, OUT(T) RESTRICT out, i32 count, i32 inner,
               i32 update_step, i32 nd, i32 n0, i32 n1, i32 n2, i32 n3, i32 n4, i32 n5, OUT(i32) RESTRICT fault) {
    i32 c = GLOBAL_ID;
    if (c >= inner) return;
    i32 sizes[6] = {n0, n1, n2, n3, n4, n5};
    for (i32 j = 0; j < count; j++) {
        i32 row = 0, skipped = 0;
        for (i32 d = 0; d < nd; d++) {
            INDEX_T index = indices[j * nd + d];
#ifdef SKIP_NEGATIVE
            skipped |= index < 0;
            if (index >= sizes[d]) {
#else
            if (index < 0 || index >= sizes[d]) {
#endif
                *fault = 1;
                return;
            }
            row = row * sizes[d] + (i32)index;
        }
        if (skipped) continue;
        T a = out[row * inner + c], v = updates[j * update_step + c];
        out[row * inner + c] = COMBINE(a, v);
    }
}
