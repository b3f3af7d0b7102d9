// move: out[out_start + OUT_AT] = x[x_start + X_AT].  take: out[i] = x[table[i]].  take_or: out[i] = x[table[i] - 1],
// or *other where that is -1. For i < n. T is an unsigned type of the element's size.

#if defined(X_AT)
extern "C" __global__ void move(const T* __restrict__ x, T* __restrict__ out, i32 n, i32 x_start, i32 out_start) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[out_start + OUT_AT] = x[x_start + X_AT];
}
#elif defined(PADDED)
extern "C" __global__ void take_or(const T* __restrict__ x, const i32* __restrict__ table, const T* __restrict__ other,
                                   T* __restrict__ out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = table[i] ? x[table[i] - 1] : *other;
}
#else
extern "C" __global__ void take(const T* __restrict__ x, const i32* __restrict__ table, T* __restrict__ out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[table[i]];
}
#endif
