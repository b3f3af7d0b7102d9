// scatter_windows (STEPS): out[at] = COMBINE(out[at], updates[UPDATE_AT]); STEPS compute `at`, and whether it is
// `inside`, for every `columns`-th i, in order. One work-item for all updates that can share an output.
// gather_windows (INDEX_T): out[i] = x[START + X_AT], START from the index vectors.
// reduce_window: out[i] = RESULT(a), a being the elements x[X_AT + K_AT], k < count, combined by COMBINE from *init on.
// The last two: one work-item an output.

#if defined(STEPS)
KERNEL scatter_windows(IN(T) RESTRICT updates, IN(INDEX_T) RESTRICT indices, OUT(T) RESTRICT out, i32 columns,
                       i32 count) {
    i32 c = GLOBAL_ID;
    if (c >= columns) return;
    for (i32 k = 0; k < count; k++) {
        i32 i = k * columns + c, at = 0, inside = 1;
        STEPS
        if (!inside) continue;
        T a = out[at], v = updates[UPDATE_AT];
        out[at] = COMBINE(a, v);
    }
}
#elif defined(INDEX_T)
KERNEL gather_windows(IN(T) RESTRICT x, IN(INDEX_T) RESTRICT indices, OUT(T) RESTRICT out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i < n) out[i] = x[START + X_AT];
}
#else
KERNEL reduce_window(IN(T) RESTRICT x, IN(T) RESTRICT init, OUT(T) RESTRICT out, i32 n, i32 count) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    x += X_AT;
    T a = *init;
    for (i32 k = 0; k < count; k++) {
        T v = x[K_AT];
        a = COMBINE(a, v);
    }
    out[i] = RESULT(a);
}
#endif
