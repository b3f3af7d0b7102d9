// out[i] = EXPR of the INPUTS, for i < n: an element-wise operator, or several that feed one another.
// VALUES: statements that load the inputs and compute what EXPR speaks of besides them.
// FAULT: when the inputs are not to be computed with.

#ifdef FAULT
KERNEL elementwise(INPUTS OUT(OUT_T) out, i32 n, OUT(i32) fault) {
#else
KERNEL elementwise(INPUTS OUT(OUT_T) out, i32 n) {
#endif
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    VALUES
#ifdef FAULT
    if (FAULT) {
        *fault = 1;
        return;
    }
#endif
    out[i] = EXPR;
}
