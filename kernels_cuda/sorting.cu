// cumsum: along lines of `count` elements that lie `inner` apart. One thread a line.

extern "C" __global__ void cumsum(const T* __restrict__ x, T* __restrict__ out, i32 lines, i32 count, i32 inner,
                                  i32 exclusive, i32 reverse) {
    i32 line = blockIdx.x * blockDim.x + threadIdx.x;
    if (line >= lines) return;
    i32 start = line / inner * count * inner + line % inner;
    ACC_T acc = 0;
    for (i32 k = 0; k < count; k++) {
        i32 i = start + (reverse ? count - 1 - k : k) * inner;
        ACC_T v = x[i];
        out[i] = exclusive ? acc : acc + v;
        acc += v;
    }
}
