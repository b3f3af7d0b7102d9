// cumsum: running sums along lines of `count` elements, `inner` apart. One work-item a line.

KERNEL cumsum(IN(T) RESTRICT x, OUT(T) RESTRICT out, i32 lines, i32 count, i32 inner, i32 exclusive, i32 reverse) {
    i32 line = GLOBAL_ID;
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
