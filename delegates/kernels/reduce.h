// reduce: out[i] = RESULT(a), a being the elements x[X_AT + K_AT], k < count, combined by COMBINE from INIT on; i < n.
// One block of WIDTH work-items makes COLUMNS outputs, whose elements are neighbours in x; one work-item one where WIDTH
// is 1.
// arg (BETTER): out[i] = the first k at which x[X_AT + K_AT] is the BETTER of all numbers; 0 where none is a number.

#ifdef BETTER
KERNEL arg(IN(X_T) RESTRICT x, OUT(OUT_T) RESTRICT out, i32 n, i32 count) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    x += X_AT;
    X_T best = x[0];
    i32 index = 0;
    for (i32 k = 1; k < count; k++) {
        X_T v = x[K_AT];
        if (v BETTER best || (best != best && v == v)) {
            best = v;
            index = k;
        }
    }
    out[i] = index;
}
#else
KERNEL reduce(IN(X_T) RESTRICT x, OUT(OUT_T) RESTRICT out, i32 n, i32 count, i32 offset, i32 multiplier, i32 exponent,
              i32 zero_point, f32 scale, f32 bias) {
#if WIDTH == 1
    i32 i = GLOBAL_ID, t = 0;
    if (i >= n) return;
#else
    i32 i = GROUP_ID * COLUMNS + LOCAL_ID % COLUMNS, t = LOCAL_ID / COLUMNS;
#endif
    IN(X_T) from = x + X_AT;
    ACC_T a = INIT;
    for (i32 k = t; k < count; k += WIDTH / COLUMNS) {
        X_T v = from[K_AT];
        a = COMBINE(a, v);
    }
#if WIDTH > 1
    LOCAL ACC_T partial[WIDTH];
    i32 at = LOCAL_ID;
    partial[at] = a;
    for (i32 s = WIDTH / 2; s >= COLUMNS; s /= 2) {
        BARRIER;
        if (at < s) partial[at] = COMBINE(partial[at], partial[at + s]);
    }
    if (t > 0) return;
    a = partial[at];
#endif
    out[i] = RESULT(a);
}
#endif
