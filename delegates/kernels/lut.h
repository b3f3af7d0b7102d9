// lut (X_T): out[i] = table[x[i]].
// lut2: out[i] = table[256 * x + y], of the bytes at X_AT and Y_AT.
// For i < n. LEAST: values, as VALUE_T, below it are a fault. FAULT: the condition of lut2's fault.

#ifdef X_T
#ifdef LEAST
KERNEL lut(IN(X_T) RESTRICT x, IN(OUT_T) RESTRICT table, OUT(OUT_T) RESTRICT out, i32 n, OUT(i32) RESTRICT fault) {
#else
KERNEL lut(IN(X_T) RESTRICT x, IN(OUT_T) RESTRICT table, OUT(OUT_T) RESTRICT out, i32 n) {
#endif
    i32 i = GLOBAL_ID;
    if (i >= n) return;
#ifdef LEAST
    if ((VALUE_T)x[i] < LEAST) *fault = 1;
#endif
    out[i] = table[x[i]];
}
#else
#ifdef FAULT
KERNEL lut2(IN(u8) RESTRICT x, IN(u8) RESTRICT y, IN(OUT_T) RESTRICT table, OUT(OUT_T) RESTRICT out, i32 n,
            OUT(i32) RESTRICT fault) {
#else
KERNEL lut2(IN(u8) RESTRICT x, IN(u8) RESTRICT y, IN(OUT_T) RESTRICT table, OUT(OUT_T) RESTRICT out, i32 n) {
#endif
    i32 i = GLOBAL_ID;
    if (i >= n) return;
#ifdef FAULT
    if (FAULT) {
        *fault = 1;
        return;
    }
#endif
    out[i] = table[256 * x[X_AT] + y[Y_AT]];
}
#endif
