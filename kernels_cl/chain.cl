// out[i] = EXPR of what STEPS make of the INPUTS, for i < n: element-wise operators that feed one another.

kernel void chain(INPUTS global OUT_T* out, i32 n) {
    i32 i = get_global_id(0);
    if (i >= n) return;
    STEPS
    out[i] = EXPR;
}
