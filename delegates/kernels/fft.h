// The spectrum of the first `seen` of each row, or of each column, of what is in a larger one filled up with zeros:
// sums of products with twiddles (length, 2), exp(-2 pi i k / length). One work-item an output.
// rows: z (images, seen_h, columns) of x (images, h, w).  columns: out (images, length, columns) of z.
// Complex numbers are pairs.

#ifdef ROWS
KERNEL rows(IN(f32) RESTRICT x, IN(R) RESTRICT twiddles, OUT(R) RESTRICT z, i32 size, i32 h, i32 w, i32 seen_h,
            i32 seen, i32 columns, i32 length) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 u = i % columns, y = i / columns % seen_h, image = i / columns / seen_h;
    x += (image * h + y) * w;
    R real = 0, imaginary = 0;
    for (i32 c = 0; c < seen; c++) {
        i32 k = u * c % length;
        real += x[c] * twiddles[2 * k];
        imaginary += x[c] * twiddles[2 * k + 1];
    }
    z[2 * i] = real;
    z[2 * i + 1] = imaginary;
}
#else
KERNEL columns(IN(R) RESTRICT z, IN(R) RESTRICT twiddles, OUT(f32) RESTRICT out, i32 size, i32 seen, i32 columns,
               i32 length) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 u = i % columns, v = i / columns % length, image = i / columns / length;
    R real = 0, imaginary = 0;
    for (i32 y = 0; y < seen; y++) {
        i32 k = v * y % length, at = 2 * ((image * seen + y) * columns + u);
        real += z[at] * twiddles[2 * k] - z[at + 1] * twiddles[2 * k + 1];
        imaginary += z[at] * twiddles[2 * k + 1] + z[at + 1] * twiddles[2 * k];
    }
    out[2 * i] = (f32)real;
    out[2 * i + 1] = (f32)imaginary;
}
#endif
