// lut: out[i] = table[x[i]].  lut2: out[i] = table[256 * x + y], of the bytes at X_AT and Y_AT.  For i < n.
// LEAST: codes, of type CODE_T, below it are a fault.

#ifdef X_T
#ifdef LEAST
extern "C" __global__ void lut(const X_T* __restrict__ x, const OUT_T* __restrict__ table, OUT_T* __restrict__ out,
                               i32 n, i32* __restrict__ fault) {
#else
extern "C" __global__ void lut(const X_T* __restrict__ x, const OUT_T* __restrict__ table, OUT_T* __restrict__ out,
                               i32 n) {
#endif
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
#ifdef LEAST
    if ((CODE_T)x[i] < LEAST) *fault = 1;
#endif
    out[i] = table[x[i]];
}
#else
#ifdef FAULT
extern "C" __global__ void lut2(const u8* __restrict__ x, const u8* __restrict__ y, const OUT_T* __restrict__ table,
                                OUT_T* __restrict__ out, i32 n, i32* __restrict__ fault) {
#else
extern "C" __global__ void lut2(const u8* __restrict__ x, const u8* __restrict__ y, const OUT_T* __restrict__ table,
                                OUT_T* __restrict__ out, i32 n) {
#endif
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
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
