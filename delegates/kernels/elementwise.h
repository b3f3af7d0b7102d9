// out[i] = EXPR of the INPUTS, for i < n: an element-wise operator, or several that feed one another.
// VALUES: statements that load the inputs and compute what else EXPR names.
// FAULT: the condition on the inputs under which a fault is raised and out is not written.

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
