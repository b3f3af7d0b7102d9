// slice_from: out[i] = x[x_start + X_AT + where single elements are taken], for i < n, T an unsigned type of the
// element's size. STARTS: one ENTRY(place, size, step, low, high) for each dimension in which begin[place], known only at
// run time, picks one element: of `size` elements `step` apart, counted from the end if negative, kept from low to high.
// A pick that is still outside is a fault.

#define ENTRY(place, size, step, low, high)                      \
    {                                                            \
        i32 at = begin[place];                                   \
        at = at < 0 ? at + size : at;                            \
        at = at < low ? low : at > high ? high : at;             \
        if (at < 0 || at >= size) {                              \
            if (i == 0) *fault = 1;                              \
            return;                                              \
        }                                                        \
        start += at * step;                                      \
    }

KERNEL slice_from(IN(T) RESTRICT x, IN(i32) RESTRICT begin, OUT(T) RESTRICT out, i32 n, i32 x_start,
                  OUT(i32) RESTRICT fault) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    i32 start = x_start;
    STARTS
    out[i] = x[start + X_AT];
}
