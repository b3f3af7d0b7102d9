// move: out[out_start + OUT_AT] = x[x_start + X_AT].  take: out[i] = x[table[i]].  take_or: out[i] = x[table[i] - 1], or *other where that is -1.
// For i < n. T is an unsigned type of the element's size.

#if defined(X_AT)
kernel void move(global const T* x, global T* out, i32 n, i32 x_start, i32 out_start) {
    i32 i = get_global_id(0);
    if (i < n) out[out_start + OUT_AT] = x[x_start + X_AT];
}
#elif defined(PADDED)
kernel void take_or(global const T* x, global const i32* table, global const T* other, global T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i < n) out[i] = table[i] ? x[table[i] - 1] : *other;
}
#else
kernel void take(global const T* x, global const i32* table, global T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i < n) out[i] = x[table[i]];
}
#endif
