// gather_windows: out[i] = x[START + X_AT], START from the index vectors.
// scatter_windows: out[at] = COMBINE of it and updates[UPDATE_AT], where STEPS find `at` inside, for every `columns`-th i
// in turn; one work-item for all that can meet.
// reduce_window: out[i] = FINISH of the x[X_AT + K_AT], k < count, taken together by COMBINE from *init on.
// The others: one work-item an output.

#if defined(STEPS)
kernel void scatter_windows(global const T* updates, global const INDEX_T* indices, global T* out, i32 columns,
                            i32 count) {
    i32 c = get_global_id(0);
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
kernel void gather_windows(global const T* x, global const INDEX_T* indices, global T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i < n) out[i] = x[START + X_AT];
}
#else
kernel void reduce_window(global const T* x, global const T* init, global T* out, i32 n, i32 count) {
    i32 i = get_global_id(0);
    if (i >= n) return;
    x += X_AT;
    T a = *init;
    for (i32 k = 0; k < count; k++) {
        T v = x[K_AT];
        a = COMBINE(a, v);
    }
    out[i] = FINISH(a);
}
#endif
