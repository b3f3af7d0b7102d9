// out[i] = EXPR of what STEPS make of the INPUTS, for i < n: element-wise operators that feed one another.

KERNEL chain(INPUTS OUT(OUT_T) out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    STEPS
    out[i] = EXPR;
}
