// gather (AXIS): out (batch, outer, count, inner) = x (batch, outer, rows, inner) at positions (batch, count).
// gather_rows (AXIS, ROW): the same, on CPUs, a row of `inner` elements a work-item.
// gather_nd: out (count, inner) = x (n0, ..., n5, inner) at indices (count, nd).
// one_hot (ONE_HOT): out (outer, depth, inner) = on where the middle index is indices (outer, inner), else off.
// embed (RESULT): out (n, depth) = rows of the int8 table (count, depth) times their scales, converted by RESULT.
// embed_int4 (INT4): the same of 4-bit values, panels of `panel` rows as lowering/gemm/int4.py packs them, with scales
//                    by block of a row: SCALE_T, HALF_SCALES.
// lookup (KEYS): out (n, inner) = the rows of the table whose sorted keys (rows) are wanted (n), else 0; hits (n).
// slice_at (START): out (u0, ..., u5) = the elements of x (n0, ..., n5) from start (6 - empty) on.
// update_slice (UPDATE): out (n0, ..., n5) = update (u0, ..., u5) from start (6 - empty) on, moved inside.
// An index out of bounds is a fault. One work-item an output, but for gather_rows.

#if defined(AXIS) && defined(ROW)
ONE_WORK_ITEM
KERNEL gather_rows(IN(T) RESTRICT x, IN(INDEX_T) RESTRICT positions, OUT(T) RESTRICT out, i32 outer, i32 rows, i32 count,
                   i32 inner, OUT(i32) RESTRICT fault) {
    i32 position = GLOBAL_ID, block = position / count;
    INDEX_T row = positions[block / outer * count + position % count];
    if (row < 0 || row >= rows) {
        *fault = 1;
        return;
    }
    x += (block * rows + (i32)row) * inner;
    out += position * inner;
    for (i32 k = 0; k < inner; k++) out[k] = x[k];
}
#elif defined(AXIS)
KERNEL gather(IN(T) RESTRICT x, IN(INDEX_T) RESTRICT positions, OUT(T) RESTRICT out, i32 size, i32 outer, i32 rows,
              i32 count, i32 inner, OUT(i32) RESTRICT fault) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 position = i / inner, block = position / count;
    INDEX_T row = positions[block / outer * count + position % count];
    if (row < 0 || row >= rows) {
        *fault = 1;
        return;
    }
    out[i] = x[(block * rows + (i32)row) * inner + i % inner];
}
#elif defined(INT4)
#ifdef HALF_SCALES
#define SCALE_OF(v) from_f16(v)
#else
#define SCALE_OF(v) (v)
#endif
KERNEL embed_int4(IN(u32) table, IN(i32) rows, IN(SCALE_T) scales, OUT(OUT_T) out, i32 size, i32 count, i32 depth,
                  i32 block, i32 panel, OUT(i32) fault) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 row = rows[i / depth], column = i % depth;
    if (row < 0 || row >= count) {
        *fault = 1;
        return;
    }
    i32 first = row / panel, lane = row % panel;
    u32 word = table[(first * (depth / 8) + column / 8) * panel + lane];
    i32 value = (i32)(word >> (column % 4 * 8 + column % 8 / 4 * 4) & 15) - 8;
    out[i] = RESULT((f32)value * SCALE_OF(scales[(first * (depth / block) + column / block) * panel + lane]));
}
#elif defined(RESULT)
KERNEL embed(IN(i8) table, IN(i32) rows, IN(f32) scales, OUT(OUT_T) out, i32 size, i32 count, i32 depth, i32 scale_step,
             OUT(i32) fault) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 row = rows[i / depth];
    if (row < 0 || row >= count) {
        *fault = 1;
        return;
    }
    out[i] = RESULT((f32)table[row * depth + i % depth] * scales[row * scale_step]);
}
#elif defined(KEYS)
KERNEL lookup(IN(i32) wanted, IN(i32) keys, IN(T) table, OUT(T) out, OUT(u8) hits, i32 size, i32 rows, i32 inner) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 key = wanted[i / inner], low = 0, high = rows, row = -1;
    while (low < high && row < 0) {
        i32 middle = (low + high) / 2, above = (i32)((u32)key - (u32)keys[middle]);
        if (above == 0)
            row = middle;
        else if (above < 0)
            high = middle;
        else
            low = middle + 1;
    }
    out[i] = row < 0 ? (T)0 : table[row * inner + i % inner];
    if (i % inner == 0) hits[i / inner] = row >= 0;
}
#elif defined(START)
KERNEL slice_at(IN(T) x, IN(INDEX_T) start, OUT(T) out, i32 size, i32 empty, i32 n0, i32 n1, i32 n2, i32 n3, i32 n4,
                i32 n5, i32 u0, i32 u1, i32 u2, i32 u3, i32 u4, i32 u5, OUT(i32) fault) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 sizes[6] = {n0, n1, n2, n3, n4, n5}, inner[6] = {u0, u1, u2, u3, u4, u5};
    i32 rest = i, offset = 0, below = 1;
    for (i32 d = 5; d >= 0; d--) {
        i64 first = d < empty ? 0 : start[d - empty];
        if (first < 0 || first + inner[d] > sizes[d]) {
            if (i == 0) *fault = 1;  // every work-item finds the same
            return;
        }
        offset += ((i32)first + rest % inner[d]) * below;
        rest /= inner[d];
        below *= sizes[d];
    }
    out[i] = x[offset];
}
#elif defined(UPDATE)
KERNEL update_slice(IN(T) RESTRICT update, IN(INDEX_T) RESTRICT start, OUT(T) RESTRICT out, i32 size, i32 empty, i32 n0,
                    i32 n1, i32 n2, i32 n3, i32 n4, i32 n5, i32 u0, i32 u1, i32 u2, i32 u3, i32 u4, i32 u5) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 sizes[6] = {n0, n1, n2, n3, n4, n5}, inner[6] = {u0, u1, u2, u3, u4, u5};
    i32 rest = i, offset = 0, below = 1;
    for (i32 d = 5; d >= 0; d--) {
        i64 first = d < empty ? 0 : clamp_i64(start[d - empty], 0, sizes[d] - inner[d]);
        offset += ((i32)first + rest % inner[d]) * below;
        rest /= inner[d];
        below *= sizes[d];
    }
    out[offset] = update[i];
}
#elif defined(ONE_HOT)
KERNEL one_hot(IN(INDEX_T) RESTRICT indices, IN(T) RESTRICT on, IN(T) RESTRICT off, OUT(T) RESTRICT out, i32 size,
               i32 depth, i32 inner) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    out[i] = indices[i / inner / depth * inner + i % inner] == i / inner % depth ? *on : *off;
}
#else
KERNEL gather_nd(IN(T) RESTRICT x, IN(INDEX_T) RESTRICT indices, OUT(T) RESTRICT out, i32 size, i32 nd, i32 inner,
                 i32 n0, i32 n1, i32 n2, i32 n3, i32 n4, i32 n5, OUT(i32) RESTRICT fault) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 sizes[6] = {n0, n1, n2, n3, n4, n5};
    i32 row = 0;
    indices += i / inner * nd;
    for (i32 d = 0; d < nd; d++) {
        if (indices[d] < 0 || indices[d] >= sizes[d]) {
            *fault = 1;
            return;
        }
        row = row * sizes[d] + (i32)indices[d];
    }
    out[i] = x[row * inner + i % inner];
}
#endif
