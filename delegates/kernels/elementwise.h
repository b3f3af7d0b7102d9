// out[i] = EXPR of x (, y, z), for i < n.  X_AT, Y_AT, Z_AT: where output element i reads each input.
// FAULT: when x and y are not to be computed with.

#if defined(Z_AT)
KERNEL ternary(IN(X_T) xs, IN(Y_T) ys, IN(Z_T) zs, OUT(OUT_T) out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    X_T x = xs[X_AT];
    Y_T y = ys[Y_AT];
    Z_T z = zs[Z_AT];
    out[i] = EXPR;
}
#elif defined(Y_AT)
#ifdef FAULT
KERNEL binary(IN(X_T) xs, IN(Y_T) ys, OUT(OUT_T) out, i32 n, OUT(i32) fault) {
#else
KERNEL binary(IN(X_T) xs, IN(Y_T) ys, OUT(OUT_T) out, i32 n) {
#endif
    i32 i = GLOBAL_ID;
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
KERNEL unary(IN(X_T) xs, OUT(OUT_T) out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    X_T x = xs[X_AT];
    out[i] = EXPR;
}
#endif
