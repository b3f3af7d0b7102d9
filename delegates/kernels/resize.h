// out (n, oh, ow, c) from x (n, h, w, c). resize_nearest (NEAREST): from the pixel at rows[oy], columns[ox].
// resize_bilinear: from two rows and two columns, weighted; RESULT rounds. One work-item an output.

#define OUTPUT_PIXEL                                                                                                   \
    i32 i = GLOBAL_ID;                                                                                                 \
    if (i >= size) return;                                                                                             \
    i32 channel = i % c, ox = i / c % ow, oy = i / c / ow % oh, image = i / c / ow / oh;                               \
    x += image * h * w * c + channel;

#ifdef NEAREST
KERNEL resize_nearest(IN(T) RESTRICT x, IN(i32) RESTRICT rows, IN(i32) RESTRICT columns, OUT(T) RESTRICT out, i32 size,
                      i32 h, i32 w, i32 c, i32 oh, i32 ow) {
    OUTPUT_PIXEL
    out[i] = x[(rows[oy] * w + columns[ox]) * c];
}
#else
KERNEL resize_bilinear(IN(T) RESTRICT x, IN(i32) RESTRICT upper, IN(i32) RESTRICT lower,
                       IN(WEIGHT_T) RESTRICT upper_weight, IN(WEIGHT_T) RESTRICT lower_weight, IN(i32) RESTRICT left,
                       IN(i32) RESTRICT right, IN(WEIGHT_T) RESTRICT left_weight, IN(WEIGHT_T) RESTRICT right_weight,
                       OUT(T) RESTRICT out, i32 size, i32 h, i32 w, i32 c, i32 oh, i32 ow) {
    OUTPUT_PIXEL
    WEIGHT_T top = upper_weight[oy], bottom = lower_weight[oy], before = left_weight[ox], after = right_weight[ox];
    // In the reference's order, which decides the last bit.
    WEIGHT_T acc = x[(upper[oy] * w + left[ox]) * c] * top * before;
    acc += x[(lower[oy] * w + left[ox]) * c] * bottom * before;
    acc += x[(upper[oy] * w + right[ox]) * c] * top * after;
    acc += x[(lower[oy] * w + right[ox]) * c] * bottom * after;
    out[i] = (T)RESULT(acc);
}
#endif
