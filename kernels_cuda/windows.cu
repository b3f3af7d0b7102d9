// gather_windows: out[i] = x[START + X_AT], START from the index vectors.
// reduce_window: out[i] = FINISH of the x[X_AT + K_AT], k < count, taken together by COMBINE from *init on.
// One thread an output.

#ifdef INDEX_T
extern "C" __global__ void gather_windows(const T* __restrict__ x, const INDEX_T* __restrict__ indices,
                                          T* __restrict__ out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[START + X_AT];
}
#else
extern "C" __global__ void reduce_window(const T* __restrict__ x, const T* __restrict__ init, T* __restrict__ out,
                                         i32 n, i32 count) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    x += X_AT;
    T a = *init;
    for (i32 k = 0; k < count; k++) {
        T v = x[K_AT];
        a = COMBINE(a, v);
    }
    out[i] = FINISH(a);
}
#endif
