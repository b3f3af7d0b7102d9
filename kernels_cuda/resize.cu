// out (n, oh, ow, c) from x (n, h, w, c), by the rows and columns of x that each of out's takes. One thread an output.

#define PLACE                                                                                                          \
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;                                                                     \
    if (i >= size) return;                                                                                             \
    i32 channel = i % c, ox = i / c % ow, oy = i / c / ow % oh, image = i / c / ow / oh;                               \
    x += image * h * w * c + channel;

#ifdef NEAREST
extern "C" __global__ void resize_nearest(const T* __restrict__ x, const i32* __restrict__ rows,
                                          const i32* __restrict__ columns, T* __restrict__ out, i32 size, i32 h, i32 w,
                                          i32 c, i32 oh, i32 ow) {
    PLACE
    out[i] = x[(rows[oy] * w + columns[ox]) * c];
}
#else
extern "C" __global__ void resize_bilinear(const T* __restrict__ x, const i32* __restrict__ upper,
                                           const i32* __restrict__ lower, const WEIGHT_T* __restrict__ upper_weight,
                                           const WEIGHT_T* __restrict__ lower_weight, const i32* __restrict__ left,
                                           const i32* __restrict__ right, const WEIGHT_T* __restrict__ left_weight,
                                           const WEIGHT_T* __restrict__ right_weight, T* __restrict__ out, i32 size,
                                           i32 h, i32 w, i32 c, i32 oh, i32 ow) {
    PLACE
    WEIGHT_T top = upper_weight[oy], bottom = lower_weight[oy], before = left_weight[ox], after = right_weight[ox];
    // In the reference's order, which shows in the last bit.
    WEIGHT_T acc = x[(upper[oy] * w + left[ox]) * c] * top * before;
    acc += x[(lower[oy] * w + left[ox]) * c] * bottom * before;
    acc += x[(upper[oy] * w + right[ox]) * c] * top * after;
    acc += x[(lower[oy] * w + right[ox]) * c] * bottom * after;
    out[i] = (T)FINISH(acc);
}
#endif
