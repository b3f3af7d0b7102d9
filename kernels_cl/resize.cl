// out (n, oh, ow, c) from x (n, h, w, c), by the rows and columns of x that each of out's takes. One work-item an output.

#define PLACE                                                                                                          \
    i32 i = get_global_id(0);                                                                                          \
    if (i >= size) return;                                                                                             \
    i32 channel = i % c, ox = i / c % ow, oy = i / c / ow % oh, image = i / c / ow / oh;                               \
    x += image * h * w * c + channel;

#ifdef NEAREST
kernel void resize_nearest(global const T* x, global const i32* rows, global const i32* columns, global T* out,
                           i32 size, i32 h, i32 w, i32 c, i32 oh, i32 ow) {
    PLACE
    out[i] = x[(rows[oy] * w + columns[ox]) * c];
}
#else
kernel void resize_bilinear(global const T* x, global const i32* upper, global const i32* lower,
                            global const WEIGHT_T* upper_weight, global const WEIGHT_T* lower_weight,
                            global const i32* left, global const i32* right, global const WEIGHT_T* left_weight,
                            global const WEIGHT_T* right_weight, global T* out, i32 size, i32 h, i32 w, i32 c, i32 oh,
                            i32 ow) {
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
