// out[i] = EXPR of x (, y, z), for i < n.  X_AT, Y_AT, Z_AT: where output element i reads each input.
// FAULT: when x and y are not to be computed with.

#if defined(Z_AT)
kernel void ternary(global const X_T* xs, global const Y_T* ys, global const Z_T* zs, global OUT_T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i >= n) return;
    X_T x = xs[X_AT];
    Y_T y = ys[Y_AT];
    Z_T z = zs[Z_AT];
    out[i] = EXPR;
}
#elif defined(Y_AT)
#ifdef FAULT
kernel void binary(global const X_T* xs, global const Y_T* ys, global OUT_T* out, i32 n, global i32* fault) {
#else
kernel void binary(global const X_T* xs, global const Y_T* ys, global OUT_T* out, i32 n) {
#endif
    i32 i = get_global_id(0);
    if (i >= n) return;
    X_T x = xs[X_AT];
    Y_T y = ys[Y_AT];
#ifdef FAULT
    if (FAULT) {
        *fault = 1;
        return;
    }
#endif
    out[i] = EXPR;
}
#else
kernel void unary(global const X_T* xs, global OUT_T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i >= n) return;
    X_T x = xs[X_AT];
    out[i] = EXPR;
}
#endif
