// slice_from: out[i] = x[x_start + X_AT + the offsets of the picks], for i < n. T: an unsigned type of the element's
// size. STARTS: one ENTRY(k, size, step, low, high) for each dimension in which begin[k], known only at run time, picks
// one of `size` elements, `step` apart; it counts from the end if negative, and is clamped to [low, high]. A pick that
// is still out of bounds is a fault.

#define ENTRY(k, size, step, low, high)                                                                                \
    {                                                                                                                  \
        i32 at = begin[k];                                                                                             \
        at = at < 0 ? at + size : at;                                                                                  \
        at = at < low ? low : at > high ? high : at;                                                                   \
        if (at < 0 || at >= size) {                                                                                    \
            if (i == 0) *fault = 1;                                                                                    \
            return;                                                                                                    \
        }                                                                                                              \
        start += at * step;                                                                                            \
    }

KERNEL slice_from(IN(T) RESTRICT x, IN(i32) RESTRICT begin, OUT(T) RESTRICT out, i32 n, i32 x_start,
                  OUT(i32) RESTRICT fault) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    i32 start = x_start;
    STARTS
    out[i] = x[start + X_AT];
}
