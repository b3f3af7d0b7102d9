// product: z (rows, n) = start + x (rows, k) times w (k, n); row r of start begins at start_offset + r * start_step.
//   A work-item makes COLUMNS of a row, n / COLUMNS apart. HYBRID: x and w are codes, those of w as W_T, in which their
//   sums are exact; a row of x with scale and zero point. CODES: sums are rescaled, clamped; w_sums are biases.
// normalize_gate: one gate of z (rows, gates * n), its view of the cell added, to mean 0 and variance 1; a block of
//   WIDTH a row.
//   see_codes, normalize_codes: both of codes. cell_of_codes: the same of codes.
// cell: one step of an LSTM from its gates' sums z (rows, gates * n) on, at AT_I, AT_F, AT_O, AT_C. One work-item a
//   cell.
// emit: state = ACTIVATE(p), and so row r of y from y_offset + r * y_step on.

// Of one row, work-items side by side have memory side by side, as compilers that make vectors of them like it.
#ifdef ONE_ROW
#define ROW(i, n) 0
#define PLACE(i, n) (i)
#else
#define ROW(i, n) ((i) / (n))
#define PLACE(i, n) ((i) % (n))
#endif
#if COLUMNS == 4
#define COLUMN(F) F(0) F(1) F(2) F(3)
#else
#define COLUMN(F) F(0)
#endif
#define SUM(c) W_T acc##c = 0;
#define ADD(c) acc##c = fma(v, w[c * across], acc##c);
#define ADD_CODES(c) acc##c += v * w[c * across];
#define STORE(c) z[c * across] = start[c * across] + acc##c;
#define STORE_HYBRID(c)                                                                                                \
    z[c * across] =                                                                                                    \
        start[c * across] + (f32)((i32)acc##c - zero_point * w_sums[c * across]) * (w_scales[c * across] * scale);

#if defined(HYBRID)
KERNEL product_hybrid(IN(i8) RESTRICT x, IN(f32) RESTRICT scales, IN(i32) RESTRICT zero_points, IN(W_T) RESTRICT w,
                      IN(f32) RESTRICT w_scales, IN(i32) RESTRICT w_sums, IN(f32) start, OUT(f32) z, i32 size, i32 n,
                      i32 k, i32 start_step, i32 start_offset) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 across = n / COLUMNS, r = ROW(i, across), j = PLACE(i, across);
    x += r * k;
    w += j;
    COLUMN(SUM)
    for (i32 q = 0; q < k; q++, w += n) {
        W_T v = x[q];
        COLUMN(ADD_CODES)
    }
    i32 zero_point = zero_points[r];
    f32 scale = scales[r];
    start += start_offset + r * start_step + j;
    z += r * n + j;
    w_scales += j;
    w_sums += j;
    COLUMN(STORE_HYBRID)
}
#elif defined(CODES)
KERNEL product_codes(IN(i8) RESTRICT x, IN(i8) RESTRICT w, IN(i32) RESTRICT w_sums, IN(i32) RESTRICT multipliers,
                     IN(i32) RESTRICT exponents, IN(i32) start, OUT(i32) z, i32 size, i32 n, i32 k, i32 start_step,
                     i32 start_offset, i32 low, i32 high) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = PLACE(i, n);
    i32 acc = 0;
    for (i32 q = 0; q < k; q++) acc += x[r * k + q] * w[q * n + j];
    acc = (i32)((u32)acc + (u32)w_sums[j]);
    i64 sum = (i64)mbqm(acc, multipliers[j], exponents[j]) + start[start_offset + r * start_step + j];
    z[i] = (i32)clamp_i64(sum, low, high);
}
#elif defined(FLOATS)
KERNEL product(IN(f32) RESTRICT x, IN(f32) RESTRICT w, IN(f32) start, OUT(f32) z, i32 size, i32 n, i32 k,
               i32 start_step, i32 start_offset) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 across = n / COLUMNS, r = ROW(i, across), j = PLACE(i, across);
    x += r * k;
    w += j;
    COLUMN(SUM)
    for (i32 q = 0; q < k; q++, w += n) {
        f32 v = x[q];
        COLUMN(ADD)
    }
    start += start_offset + r * start_step + j;
    z += r * n + j;
    COLUMN(STORE)
}
#elif defined(DIAGONAL)
KERNEL diagonal(IN(f32) RESTRICT h, IN(f32) RESTRICT w, OUT(f32) z, i32 size, i32 n, i32 width, i32 at) {
    i32 i = GLOBAL_ID;
    if (i < size) z[ROW(i, n) * width + at + PLACE(i, n)] += h[i] * w[PLACE(i, n)];
}
#elif defined(WIDTH)
KERNEL normalize_gate(IN(f32) RESTRICT peephole, IN(f32) RESTRICT state, IN(f32) RESTRICT weights,
                      IN(f32) RESTRICT bias, OUT(f32) z, i32 n, i32 gates, i32 gate, i32 sees) {
    LOCAL f32 partial[WIDTH];
    i32 r = GROUP_ID, t = LOCAL_ID;
    z += (r * gates + gate) * n;
    state += r * n;
    f32 sum = 0;
    for (i32 j = t; j < n; j += WIDTH) {
        if (sees) z[j] += peephole[gate * n + j] * state[j];
        sum += z[j];
    }
    f32 mean = block_sum(sum, partial) / n, squares = 0;
    for (i32 j = t; j < n; j += WIDTH) squares += (z[j] - mean) * (z[j] - mean);
    f32 factor = 1.0f / sqrt(block_sum(squares, partial) / n + 1e-8f);
    for (i32 j = t; j < n; j += WIDTH) z[j] = (z[j] - mean) * factor * weights[gate * n + j] + bias[gate * n + j];
}
#elif defined(SEEN)
KERNEL see_codes(IN(i32) RESTRICT weights, IN(u8) RESTRICT up, IN(i16) RESTRICT state, OUT(i32) z, i32 size, i32 n,
                 i32 gates, i32 gate, i32 together, i32 m, i32 e) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = PLACE(i, n), w = r % together * n + j, product = weights[w] * state[i];
    i32 seen = up[w] && e < 0 ? (i32)(((i64)srdhm(product, m) + ((i64)1 << (-e - 1))) >> -e) : mbqm(product, m, e);
    z += (r * gates + gate) * n + j;
    *z = (i32)clamp_i64((i64)*z + seen, -32768, 32767);
}
#elif defined(NORMAL)
KERNEL normalize_codes(IN(i16) RESTRICT weights, IN(i32) RESTRICT bias, OUT(i32) z, i32 rows, i32 n, i32 gates,
                       i32 gate, i32 m, i32 e, i32 guard) {
    i32 r = GLOBAL_ID;
    if (r >= rows) return;
    z += (r * gates + gate) * n;
    i64 sum = 0, squares = 0;
    for (i32 j = 0; j < n; j++) {
        sum += z[j];
        squares += z[j] * z[j];
    }
    i64 mean = sum * 1024 / n, variance = (squares * ((1 << 20) / n) - mean * mean) / (1 << 20);
    i32 exponent, factor = inverse_root(variance < 1 ? guard : (i32)variance, &exponent);
    for (i32 j = 0; j < n; j++) {
        i32 normal = mbqm((i32)(z[j] * 1024 - mean), factor, exponent);
        i32 weighted = (i32)((u32)(i32)((i64)normal * weights[j]) + (u32)bias[j]);
        i32 rounded = (i32)(((i64)weighted + (weighted > 0 ? 512 : -512)) / 1024);
        z[j] = clamp_i32(mbqm(rounded, m, e), -32768, 32767);
    }
}
#elif defined(CELL_OF_CODES)
KERNEL cell_of_codes(IN(i32) z, IN(i16) RESTRICT logistic, IN(i16) RESTRICT tangent, IN(i16) RESTRICT tangent_of_state,
                     OUT(i16) RESTRICT state, OUT(i8) RESTRICT hidden, OUT(i8) RESTRICT y, i32 size, i32 n, i32 y_step,
                     i32 y_offset, i32 shift, i32 low, i32 high, i32 multiplier, i32 exponent, i32 zero_point) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = PLACE(i, n);
    z += r * GATES * n + j;
    i32 now = state[i];
#if CELL_OF_CODES != 2
    i32 forget = logistic[(u16)z[AT_F * n]];
#ifdef AT_I
    i32 admit = logistic[(u16)z[AT_I * n]];
#else
    i32 admit = 32767 - forget;
#endif
    i32 kept = now * forget, added = admit * tangent[(u16)z[AT_C * n]];
    kept = (kept - (kept < 0) + (1 << 14)) >> 15;
    // The product is cut to 16 bits, not clamped.
    added = (i16)((added - (added < 0) + (1 << (shift - 1))) >> shift);
    now = clamp_i32(kept + added, low, high);
    state[i] = now;
#endif
#if CELL_OF_CODES != 1
    i32 product = tangent_of_state[(u16)now] * logistic[(u16)z[AT_O * n]];
    i32 code = clamp_i32(mbqm(product, multiplier, exponent) + zero_point, -128, 127);
    hidden[i] = code;
#ifdef WRITES_Y
    y[y_offset + r * y_step + j] = code;
#endif
#endif
}
#elif defined(CELL)
#define SIGMOID(x) (1.0f / (1.0f + exp(-(x))))
#ifdef PEEPHOLE
#define SUM(gate, c) (z[gate * n] + peephole[gate * n + j] * (c))
#else
#define SUM(gate, c) (z[gate * n])
#endif
KERNEL cell(IN(f32) z, IN(f32) RESTRICT peephole, OUT(f32) RESTRICT state, OUT(f32) RESTRICT hidden,
            OUT(f32) RESTRICT y, i32 size, i32 n, i32 y_step, i32 y_offset, f32 clip) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = PLACE(i, n);
    z += r * GATES * n + j;
    f32 now = state[i];
#if CELL != 2
    f32 forget = SIGMOID(SUM(AT_F, now));
#ifdef AT_I
    f32 admit = SIGMOID(SUM(AT_I, now));
#else
    f32 admit = 1.0f - forget;
#endif
    f32 input = z[AT_C * n];
    now = now * forget + admit * ACTIVATE(input);
    if (clip > 0) now = clamp_f32(now, -clip, clip);
    state[i] = now;
#endif
#if CELL != 1
    f32 out = SIGMOID(SUM(AT_O, now)) * ACTIVATE(now);
    hidden[i] = out;
#ifdef WRITES_Y
    y[y_offset + r * y_step + j] = out;
#endif
#endif
}
#else
KERNEL emit(IN(P_T) RESTRICT p, OUT(T) RESTRICT state, OUT(T) RESTRICT y, i32 size, i32 n, i32 y_step, i32 y_offset) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    P_T v = p[i];
    T out = ACTIVATE(v);
    state[i] = out;
    y[y_offset + ROW(i, n) * y_step + PLACE(i, n)] = out;
}
#endif
