// Discrete Fourier transforms of rows of numbers, by Stockham's passes, each of a radix that divides POINTS, from one
// buffer to the other and back. A block of THREADS work-items transforms LANES rows at once, as vectors if LANES > 1.
// Element k of row r is at r / inner * outer + r % inner * step + k * stride, and 0 from k = seen on; of out likewise.
// Complex numbers are pairs (real, imaginary) and count as one element.
//
// LENGTH    numbers of a row in the time domain
// N         complex numbers that are transformed: LENGTH, or half of it where pairs of real ones are taken for them
// X_REAL    x is real, and out the first LENGTH / 2 + 1 of the spectrum; OUT_REAL: x and out the other way round
// INVERSE   from the spectrum, divided by LENGTH; the imaginary parts change their signs before and after
// PASSES    PASS4(from, to, s) and PASS(from, to, radix, s), s being the product of the radices before; to RESULT
// CHIRP     Bluestein: the passes compute a convolution of POINTS >= 2 N - 1 numbers, which is the transform of N
//           numbers of any factors; PASSES_BACK are those from RESULT to RESULT_BACK
// REAL      the type of the arithmetic; X_T, OUT_T: of x and out
// CPU       THREADS is 1
// SCRATCH   the buffers are in `scratch`, a slice for each of `blocks` blocks; else in the block's local memory
// tables    pairs: exp(-2 pi i k / POINTS), k < POINTS; where N is half of LENGTH, exp(-2 pi i k / LENGTH), k <= N; of
//           CHIRP, exp(-pi i k k / N), k < N, and the spectrum of the chirp, divided by POINTS

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#if LANES > 1
#define R CAT(REAL, LANES)
#else
#define R REAL
#endif
#ifdef SCRATCH
#define ROW_BUFFER OUT(R)
#else
#define ROW_BUFFER IN_LOCAL(R)
#endif
#if THREADS == 1
#define SYNC
#else
#define SYNC GLOBAL_BARRIER
#endif
#if 2 * N == LENGTH
#define PAIRED
#define TWIDDLES (tables + 2 * POINTS)
#define CHIRPS (TWIDDLES + 2 * (N + 1))
#else
#define CHIRPS (tables + 2 * POINTS)
#endif
#define SPECTRUM (CHIRPS + 2 * N)
#ifdef X_REAL
#define X_EACH 1
#else
#define X_EACH 2
#endif
#ifdef OUT_REAL
#define OUT_EACH 1
#else
#define OUT_EACH 2
#endif

// The number at offset `at` of each row.
FN R load(IN(X_T) x, const i64* starts, i64 at) {
#if LANES > 1
    REAL lanes[LANES];
    for (i32 lane = 0; lane < LANES; lane++) lanes[lane] = x[starts[lane] + at];
    return CAT(vload, LANES)(0, lanes);
#else
    return x[starts[0] + at];
#endif
}

FN void store(R v, OUT(OUT_T) out, const i64* starts, i64 at) {
#if LANES > 1
    REAL lanes[LANES];
    CAT(vstore, LANES)(v, 0, lanes);
    for (i32 lane = 0; lane < LANES; lane++) out[starts[lane] + at] = (OUT_T)lanes[lane];
#else
    out[starts[0] + at] = (OUT_T)v;
#endif
}

FN i64 start_of(i32 row, i32 inner, i32 outer, i32 step) {
    return (i64)(row / inner) * outer + (i64)(row % inner) * step;
}

// (*re, *im) times (c, s).
FN void multiply_by(R* re, R* im, REAL c, REAL s) {
    R product = *re * c - *im * s;
    *im = *re * s + *im * c;
    *re = product;
}

FN void pass_of_4(ROW_BUFFER from, ROW_BUFFER to, IN(REAL) roots, i32 s, i32 thread) {
    const i32 m = POINTS / 4;
    for (i32 i = thread; i < m; i += THREADS) {
        i32 q = i % s, e = i - q;
        R sum_re = from[i] + from[i + 2 * m], sum_im = from[i + POINTS] + from[i + 2 * m + POINTS];
        R off_re = from[i] - from[i + 2 * m], off_im = from[i + POINTS] - from[i + 2 * m + POINTS];
        R odd_re = from[i + m] + from[i + 3 * m], odd_im = from[i + m + POINTS] + from[i + 3 * m + POINTS];
        R odd_off_re = from[i + m] - from[i + 3 * m], odd_off_im = from[i + m + POINTS] - from[i + 3 * m + POINTS];
        R re1 = off_re + odd_off_im, im1 = off_im - odd_off_re;
        R re2 = sum_re - odd_re, im2 = sum_im - odd_im;
        R re3 = off_re - odd_off_im, im3 = off_im + odd_off_re;
        if (4 * s != POINTS) {
            multiply_by(&re1, &im1, roots[2 * e], roots[2 * e + 1]);
            multiply_by(&re2, &im2, roots[4 * e], roots[4 * e + 1]);
            multiply_by(&re3, &im3, roots[6 * e], roots[6 * e + 1]);
        }
        i32 at = q + 4 * e;
        to[at] = sum_re + odd_re;
        to[at + POINTS] = sum_im + odd_im;
        to[at + s] = re1;
        to[at + s + POINTS] = im1;
        to[at + 2 * s] = re2;
        to[at + 2 * s + POINTS] = im2;
        to[at + 3 * s] = re3;
        to[at + 3 * s + POINTS] = im3;
    }
}

// By the definition: radix multiplications an output.
FN void pass_by_definition(ROW_BUFFER from, ROW_BUFFER to, IN(REAL) roots, i32 radix, i32 s, i32 thread) {
    const i32 m = POINTS / radix;
    for (i32 i = thread; i < m; i += THREADS) {
        i32 q = i % s, e = i - q;
        for (i32 j = 0; j < radix; j++) {
            R re = from[i], im = from[i + POINTS];
            for (i32 t = 1, k = j; t < radix; t++) {
                R one = from[i + t * m], other = from[i + t * m + POINTS];
                REAL c = roots[2 * k * m], s = roots[2 * k * m + 1];
                re += one * c - other * s;
                im += one * s + other * c;
                k += j;
                if (k >= radix) k -= radix;
            }
            multiply_by(&re, &im, roots[2 * e * j], roots[2 * e * j + 1]);
            to[q + radix * e + j * s] = re;
            to[q + radix * e + j * s + POINTS] = im;
        }
    }
}
#define PASS4(from, to, s) pass_of_4(from, to, tables, s, thread); SYNC;
#define PASS(from, to, radix, s) pass_by_definition(from, to, tables, radix, s, thread); SYNC;

// Element k of x, complex.
FN void element(IN(X_T) x, const i64* starts, i32 stride, i32 seen, i32 k, R* re, R* im) {
    *re = *im = 0;
    if (k >= seen) return;
    *re = load(x, starts, (i64)k * stride * X_EACH);
#ifndef X_REAL
    *im = load(x, starts, (i64)k * stride * 2 + 1);
#endif
}

// Complex number k of the N that the passes transform.
FN void first(IN(X_T) x, const i64* starts, i32 stride, i32 seen, IN(REAL) tables, i32 k, R* re, R* im) {
#if defined(X_REAL) && defined(PAIRED)
    R none;
    element(x, starts, stride, seen, 2 * k, re, &none);
    element(x, starts, stride, seen, 2 * k + 1, im, &none);
#elif defined(OUT_REAL) && defined(PAIRED)
    // Twice the spectrum of the even numbers, plus i times twice that of the odd ones.
    R far_re, far_im, odd_re, odd_im;
    element(x, starts, stride, seen, k, re, im);
    element(x, starts, stride, seen, N - k, &far_re, &far_im);
    if (k == 0) *im = far_im = 0;
    odd_re = *re - far_re;
    odd_im = *im + far_im;
    multiply_by(&odd_re, &odd_im, TWIDDLES[2 * k], -TWIDDLES[2 * k + 1]);
    *re += far_re - odd_im;
    *im += odd_re - far_im;
#elif defined(OUT_REAL)
    i32 mirrored = 2 * k > LENGTH;
    element(x, starts, stride, seen, mirrored ? LENGTH - k : k, re, im);
    if (mirrored) *im = -*im;
    if (k == 0) *im = 0;
#else
    element(x, starts, stride, seen, k, re, im);
#endif
#ifdef INVERSE
    *im = -*im;
#endif
#ifdef CHIRP
    multiply_by(re, im, CHIRPS[2 * k], CHIRPS[2 * k + 1]);
#endif
}

// Stores element k of the output; of PAIRED real outputs elements 2 k and 2 k + 1.
FN void last(ROW_BUFFER made, IN(REAL) tables, OUT(OUT_T) out, const i64* starts, i32 stride, i32 k) {
#if defined(X_REAL) && defined(PAIRED)
    i32 near = k == N ? 0 : k, far = k == 0 ? 0 : N - k;
    R even_re = (made[near] + made[far]) * (REAL)0.5, even_im = (made[near + POINTS] - made[far + POINTS]) * (REAL)0.5;
    R re = (made[near + POINTS] + made[far + POINTS]) * (REAL)0.5, im = (made[far] - made[near]) * (REAL)0.5;
    multiply_by(&re, &im, TWIDDLES[2 * k], TWIDDLES[2 * k + 1]);
    re += even_re;
    im += even_im;
#else
    R re = made[k], im = made[k + POINTS];
#endif
#ifdef INVERSE
    re *= (REAL)1 / LENGTH;
    im *= -(REAL)1 / LENGTH;
#endif
#if defined(OUT_REAL) && defined(PAIRED)
    store(re, out, starts, (i64)2 * k * stride);
    store(im, out, starts, ((i64)2 * k + 1) * stride);
#else
    store(re, out, starts, (i64)k * stride * OUT_EACH);
#ifndef OUT_REAL
    store(im, out, starts, (i64)k * stride * 2 + 1);
#endif
#endif
}

#ifdef CPU
ONE_WORK_ITEM
#endif
KERNEL fft(IN(X_T) RESTRICT x, IN(REAL) RESTRICT tables, OUT(REAL) RESTRICT scratch, OUT(OUT_T) RESTRICT out, i32 rows,
           i32 blocks, i32 outputs, i32 seen, i32 x_inner, i32 x_outer, i32 x_step, i32 x_stride, i32 out_inner,
           i32 out_outer, i32 out_step, i32 out_stride) {
#ifdef SCRATCH
    ROW_BUFFER a = (ROW_BUFFER)scratch + (i64)GROUP_ID * (4 * POINTS);
    ROW_BUFFER b = a + 2 * POINTS;
#else
    LOCAL R a[2 * POINTS];
    LOCAL R b[2 * POINTS];
#endif
    i32 thread = LOCAL_ID;
    for (i32 row = GROUP_ID * LANES; row < rows; row += blocks * LANES) {
        i64 from[LANES], to[LANES];
        for (i32 lane = 0; lane < LANES; lane++) {
            i32 present = row + lane < rows ? row + lane : row;  // twice the same where there are no more
            from[lane] = start_of(present, x_inner, x_outer, x_step) * X_EACH;
            to[lane] = start_of(present, out_inner, out_outer, out_step) * OUT_EACH;
        }
        for (i32 k = thread; k < POINTS; k += THREADS) {
            R re = 0, im = 0;
            if (k < N) first(x, from, x_stride, seen, tables, k, &re, &im);
            a[k] = re;
            a[k + POINTS] = im;
        }
        SYNC;
        PASSES
#ifdef CHIRP
        for (i32 k = thread; k < POINTS; k += THREADS) {
            R re = RESULT[k], im = RESULT[k + POINTS];
            multiply_by(&re, &im, SPECTRUM[2 * k], SPECTRUM[2 * k + 1]);
            RESULT[k] = re;
            RESULT[k + POINTS] = -im;
        }
        SYNC;
        PASSES_BACK
        for (i32 k = thread; k < N; k += THREADS) {
            R re = RESULT_BACK[k], im = -RESULT_BACK[k + POINTS];
            multiply_by(&re, &im, CHIRPS[2 * k], CHIRPS[2 * k + 1]);
            RESULT_BACK[k] = re;
            RESULT_BACK[k + POINTS] = im;
        }
        SYNC;
#else
#define RESULT_BACK RESULT
#endif
        for (i32 k = thread; k < outputs; k += THREADS) last(RESULT_BACK, tables, out, to, out_stride, k);
        SYNC;
    }
}
