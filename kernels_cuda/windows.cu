// gather_windows: out[i] = x[START + X_AT], START from the index vectors.
// scatter_windows: out[at] = COMBINE of it and updates[UPDATE_AT], where STEPS find `at` inside, for every `columns`-th i
// in turn; one thread for all that can meet.
// reduce_window: out[i] = FINISH of the x[X_AT + K_AT], k < count, taken together by COMBINE from *init on.
// The others: one thread an output.

#if defined(STEPS)
extern "C" __global__ void scatter_windows(const T* __restrict__ updates, const INDEX_T* __restrict__ indices, T* __restrict__ out, i32 columns,
                            i32 count) {
    i32 c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= columns) return;
    for (i32 k = 0; k < count; k++) {
        i32 i = k * columns + c, at = 0, inside = 1;
        STEPS
        if (!inside) continue;
        T a = out[at], v = updates[UPDATE_AT];
        out[at] = COMBINE(a, v);
    }
}
#elif defined(INDEX_T)
extern "C" __global__ void gather_windows(const T* __restrict__ x, const INDEX_T* __restrict__ indices, T* __restrict__ out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[START + X_AT];
}
#else
extern "C" __global__ void reduce_window(const T* __restrict__ x, const T* __restrict__ init, T* __restrict__ out, i32 n, i32 count) {
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
