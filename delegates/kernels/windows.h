// gather_windows: out[i] = x[START + X_AT], START from the index vectors.
// scatter_windows: out[at] = COMBINE of it and updates[UPDATE_AT], where STEPS find `at` inside, for every `columns`-th
// i in turn; one work-item for all that can meet.
// reduce_window: out[i] = RESULT of the x[X_AT + K_AT], k < count, taken together by COMBINE from *init on.
// The others: one work-item an output.

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
