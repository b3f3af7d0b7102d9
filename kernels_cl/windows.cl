// gather_windows: out[i] = x[START + X_AT], START from the index vectors.
// reduce_window: out[i] = FINISH of the x[X_AT + K_AT], k < count, taken together by COMBINE from *init on.
// One work-item an output.

#ifdef INDEX_T
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
