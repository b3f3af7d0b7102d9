// move: out[OUT_AT] = x[X_AT], for i < n.  take: out[i] = x[table[i]].  T is an unsigned type of the element's size.

#ifdef X_AT
kernel void move(global const T* x, global T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i < n) out[OUT_AT] = x[X_AT];
}
#else
kernel void take(global const T* x, global const i32* table, global T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i < n) out[i] = x[table[i]];
}
#endif
