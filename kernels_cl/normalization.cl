// l2_normalization: out[r] = x[r] / the root of its sum of squares, over rows of `depth`; a block of WIDTH a row.
// local_response_normalization: x / (bias + alpha * sum of squares of the channels near by)^beta; one work-item an output.

#ifdef WIDTH
kernel void l2_normalization(global const f32* x, global f32* out, i32 depth) {
    local f32 partial[WIDTH];
    i32 t = get_local_id(0);
    x += get_group_id(0) * depth;
    out += get_group_id(0) * depth;

    f32 sum = 0;
    for (i32 c = t; c < depth; c += WIDTH) sum += x[c] * x[c];
    f32 norm = sqrt(block_sum(sum, partial));
    norm = norm > 1e-6f ? norm : 1e-6f;
    for (i32 c = t; c < depth; c += WIDTH) out[c] = x[c] / norm;
}
#else
kernel void local_response_normalization(global const f32* x, global f32* out, i32 size, i32 depth, i32 radius,
                                         f32 bias, f32 alpha, f32 beta) {
    i32 i = get_global_id(0);
    if (i >= size) return;
    i32 c = i % depth, first = max(c - radius, 0), last = min(c + radius, depth - 1);
    f32 sum = 0;
    for (i32 k = first; k <= last; k++) sum += x[i - c + k] * x[i - c + k];
    out[i] = x[i] / pow(bias + alpha * sum, beta);
}
#endif
