// out[i] = EXPR of x (, y, z), for i < n.  X_AT, Y_AT, Z_AT: where output element i reads each input.
// FAULT: when x and y are not to be computed with.

#if defined(Z_AT)
extern "C" __global__ void ternary(const X_T* xs, const Y_T* ys, const Z_T* zs, OUT_T* out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    X_T x = xs[X_AT];
    Y_T y = ys[Y_AT];
    Z_T z = zs[Z_AT];
    out[i] = EXPR;
}
#elif defined(Y_AT)
#ifdef FAULT
extern "C" __global__ void binary(const X_T* xs, const Y_T* ys, OUT_T* out, i32 n, i32* fault) {
#else
extern "C" __global__ void binary(const X_T* xs, const Y_T* ys, OUT_T* out, i32 n) {
#endif
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
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
extern "C" __global__ void unary(const X_T* xs, OUT_T* out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    X_T x = xs[X_AT];
    out[i] = EXPR;
}
#endif
