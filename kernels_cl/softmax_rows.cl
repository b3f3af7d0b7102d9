// out[r] = softmax(beta * x[r]) over rows of `depth`, or its LOGARITHM, by vectors of VW; a work-item takes `share` rows.
// Only for OpenCL: for CPUs, whose vectors have the functions that floats have.

kernel void softmax_rows(global const f32* x, global f32* out, i32 rows, i32 share, i32 depth, f32 beta) {
    i32 first = get_global_id(0) * share, last = min(first + share, rows), whole = depth / VW * VW;
    f32 lanes[VW];
    for (i32 r = first; r < last; r++) {
        global const f32* from = x + r * depth;
        global f32* to = out + r * depth;
        VF tops = -FLT_MAX;
        for (i32 c = 0; c < whole; c += VW) {
            VF v = VLOAD(from + c);
            tops = tops < v ? v : tops;
        }
        VSTORE(tops, lanes);
        f32 top = -FLT_MAX;
        for (i32 e = 0; e < VW; e++) top = top < lanes[e] ? lanes[e] : top;
        for (i32 c = whole; c < depth; c++) top = top < from[c] ? from[c] : top;

        VF sums = 0;
        for (i32 c = 0; c < whole; c += VW) {
            VF v = exp(beta * (VLOAD(from + c) - top));
            sums += v;
#ifndef LOGARITHM
            VSTORE(v, to + c);
#endif
        }
        VSTORE(sums, lanes);
        f32 sum = 0;
        for (i32 e = 0; e < VW; e++) sum += lanes[e];
        for (i32 c = whole; c < depth; c++) {
            f32 v = exp(beta * (from[c] - top));
            sum += v;
#ifndef LOGARITHM
            to[c] = v;
#endif
        }

#ifdef LOGARITHM
        f32 log_sum = log(sum);
        for (i32 c = 0; c < whole; c += VW) VSTORE(VLOAD(from + c) - top - log_sum, to + c);
        for (i32 c = whole; c < depth; c++) to[c] = from[c] - top - log_sum;
#else
#ifdef KEPT
        for (i32 c = 0; c < depth; c++) to[c] = KEPT(to[c]) / sum;
#else
        for (i32 c = 0; c < whole; c += VW) VSTORE(VLOAD(to + c) / sum, to + c);
        for (i32 c = whole; c < depth; c++) to[c] = to[c] / sum;
#endif
#endif
    }
}
