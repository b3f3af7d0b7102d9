// l2_normalization (WIDTH): out[r] = x[r] / the square root of its sum of squares, over rows of `depth`; a block of
// WIDTH a row.
// local_response_normalization: x / (bias + alpha * sum of squares of the channels at most `radius` away)^beta; one
// work-item an output.

#ifdef WIDTH
KERNEL l2_normalization(IN(f32) RESTRICT x, OUT(f32) RESTRICT out, i32 depth) {
    PARTIAL;
    i32 t = LOCAL_ID;
    x += GROUP_ID * depth;
    out += GROUP_ID * depth;

    f32 sum = 0;
    for (i32 c = t; c < depth; c += WIDTH) sum += x[c] * x[c];
    f32 norm = sqrt(block_sum(sum, partial));
    norm = norm > 1e-6f ? norm : 1e-6f;
    for (i32 c = t; c < depth; c += WIDTH) out[c] = x[c] / norm;
}
#else
KERNEL local_response_normalization(IN(f32) RESTRICT x, OUT(f32) RESTRICT out, i32 size, i32 depth, i32 radius,
                                    f32 bias, f32 alpha, f32 beta) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 c = i % depth, first = max(c - radius, 0), last = min(c + radius, depth - 1);
    f32 sum = 0;
    for (i32 k = first; k <= last; k++) sum += x[i - c + k] * x[i - c + k];
    out[i] = x[i] / pow(bias + alpha * sum, beta);
}
#endif
