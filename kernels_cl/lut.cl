// lut: out[i] = table[x[i]].  lut2: out[i] = table[256 * x + y], of the bytes at X_AT and Y_AT.  For i < n.
// LEAST: codes, of type CODE_T, below it are a fault.

#ifdef X_T
#ifdef LEAST
kernel void lut(global const X_T* x, global const OUT_T* table, global OUT_T* out, i32 n, global i32* fault) {
#else
kernel void lut(global const X_T* x, global const OUT_T* table, global OUT_T* out, i32 n) {
#endif
    i32 i = get_global_id(0);
    if (i >= n) return;
#ifdef LEAST
    if ((CODE_T)x[i] < LEAST) *fault = 1;
#endif
    out[i] = table[x[i]];
}
#else
#ifdef FAULT
kernel void lut2(global const u8* x, global const u8* y, global const OUT_T* table, global OUT_T* out, i32 n,
                 global i32* fault) {
#else
kernel void lut2(global const u8* x, global const u8* y, global const OUT_T* table, global OUT_T* out, i32 n) {
#endif
    i32 i = get_global_id(0);
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
