// topk: the k greatest elements of each row of depth and their indices, falling; the first of equals first, NaN last.
// One work-item an element, which counts those that come before it.
// bucketize (BOUNDARY_T): out[i] = how many of the rising boundaries (count) are not above x[i].

#ifdef BOUNDARY_T
KERNEL bucketize(IN(T) RESTRICT x, IN(BOUNDARY_T) RESTRICT boundaries, OUT(i32) RESTRICT out, i32 n, i32 count) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    BOUNDARY_T v = (BOUNDARY_T)x[i];
    i32 low = 0, high = count;
    while (low < high) {
        i32 middle = (low + high) / 2;
        if (v < boundaries[middle])
            high = middle;
        else
            low = middle + 1;
    }
    out[i] = low;
}
#else
KERNEL topk(IN(T) RESTRICT x, OUT(T) RESTRICT values, OUT(INDEX_T) RESTRICT indices, i32 size, i32 depth, i32 k) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 row = i / depth, column = i % depth, before = 0;
    x += row * depth;
    T v = x[column];
    for (i32 j = 0; j < depth; j++) {
        T w = x[j];
        before += v != v ? w == w || j < column : w > v || (w == v && j < column);
    }
    if (before >= k) return;
    values[row * k + before] = v;
    indices[row * k + before] = column;
}
#endif
