// move (X_AT): out[out_start + OUT_AT] = x[x_start + X_AT].
// take: out[i] = x[table[i]].
// take_or (PADDED): out[i] = x[table[i] - 1], or *other where table[i] is 0.
// For i < n. T: an unsigned type of the element's size.

#if defined(X_AT)
KERNEL move(IN(T) RESTRICT x, OUT(T) RESTRICT out, i32 n, i32 x_start, i32 out_start) {
    i32 i = GLOBAL_ID;
    if (i < n) out[out_start + OUT_AT] = x[x_start + X_AT];
}
#elif defined(PADDED)
KERNEL take_or(IN(T) RESTRICT x, IN(i32) RESTRICT table, IN(T) RESTRICT other, OUT(T) RESTRICT out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i < n) out[i] = table[i] ? x[table[i] - 1] : *other;
}
#else
KERNEL take(IN(T) RESTRICT x, IN(i32) RESTRICT table, OUT(T) RESTRICT out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i < n) out[i] = x[table[i]];
}
#endif
