// out (n, oh, ow, c) = x (n, h, w, c), each channel convolved with its own weights (KH, KW, c), plus bias (c). A thread
// computes STRIP output pixels in a row of four channels, from rows of x that it keeps in registers.
//
// | macro                    | meaning                                                           |
// | STRIP                    | output pixels of a thread                                         |
// | KH, KW, SW, DW           | the window, its stride and dilation across                        |
// | QUANTIZED, UNSIGNED      | int8, or uint8, requantized in fixed point                        |
// | EPILOGUE, _PARAMS, _ARGS | statements on `acc`, their parameters and these parameters' names |
// Only for CUDA.

#define SEEN ((STRIP - 1) * SW + (KW - 1) * DW + 1)

#ifdef QUANTIZED
typedef i32 sum;
#ifdef UNSIGNED
typedef uchar4 four;
#define X_T u8
#define ZERO_POINT i32 w_zero,
#define ZERO_POINT_ARGS w_zero,
#define TAP(v) ((i32)(v) - w_zero)
#else
typedef char4 four;
#define X_T i8
#define ZERO_POINT
#define ZERO_POINT_ARGS
#define TAP(v) (v)
#endif
#define X_ZERO x_zero
#define MAC(acc, a, b) ((acc) + (a) * (i32)(b))
#define SCALES const i32 *__restrict__ multipliers, const i32 *__restrict__ exponents,
#define BOUNDS i32 x_zero, i32 out_zero, i32 low, i32 high
#define SCALES_ARGS multipliers, exponents,
#define BOUNDS_ARGS x_zero, out_zero, low, high
#define RESCALED clamp_i32(mbqm(acc, multipliers[n], exponents[n]) + out_zero, low, high)
#else
typedef f32 sum;
typedef float4 four;
#define X_T f32
#define ZERO_POINT
#define ZERO_POINT_ARGS
#define TAP(v) (v)
#define X_ZERO 0
#define MAC(acc, a, b) fma(a, b, acc)
#define SCALES
#define BOUNDS f32 low, f32 high
#define SCALES_ARGS
#define BOUNDS_ARGS low, high
#define RESCALED clamp_f32(acc, low, high)
#endif

// The output of pixel m and channel n, of oc, from its sum.
FN X_T epilogue(sum acc, i32 m, i32 n, i32 oc, SCALES BOUNDS EPILOGUE_PARAMS) {
    acc = RESCALED;
    EPILOGUE
    return acc;
}

// Load: the columns of a row of the image that the strip's windows cover, less the zero point; 0 outside.
FN void load_row(sum (&seen)[SEEN][4], const X_T* row, i32 iy, i32 left_most, i32 h, i32 w, i32 c, sum x_zero) {
#pragma unroll
    for (i32 k = 0; k < SEEN; k++) {
        i32 ix = left_most + k;
        bool inside = (u32)iy < (u32)h && (u32)ix < (u32)w;
        four v = {};
        if (inside) v = *(const four*)(row + ix * c);
        sum zero = inside ? x_zero : 0;
        seen[k][0] = v.x - zero;
        seen[k][1] = v.y - zero;
        seen[k][2] = v.z - zero;
        seen[k][3] = v.w - zero;
    }
}

// Multiply: acc += the row times a row of taps.
FN void multiply(sum (&acc)[STRIP][4], const sum (&seen)[SEEN][4], const X_T* taps, ZERO_POINT i32 c) {
#pragma unroll
    for (i32 kx = 0; kx < KW; kx++) {
        four tap = *(const four*)(taps + kx * c);
#pragma unroll
        for (i32 s = 0; s < STRIP; s++) {
            const sum* v = seen[s * SW + kx * DW];
            acc[s][0] = MAC(acc[s][0], v[0], TAP(tap.x));
            acc[s][1] = MAC(acc[s][1], v[1], TAP(tap.y));
            acc[s][2] = MAC(acc[s][2], v[2], TAP(tap.z));
            acc[s][3] = MAC(acc[s][3], v[3], TAP(tap.w));
        }
    }
}

extern "C" __global__ void __launch_bounds__(128, 4)
    depthwise_strips(const X_T* __restrict__ x, const X_T* __restrict__ weights, const sum* __restrict__ bias,
                     SCALES X_T* __restrict__ out, i32 size, i32 h, i32 w, i32 c, i32 oh, i32 ow, i32 sh, i32 dh,
                     i32 top, i32 left, ZERO_POINT BOUNDS EPILOGUE_PARAMS) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    i32 groups = c / 4, strips = (ow + STRIP - 1) / STRIP;
    i32 n = i % groups * 4, ox = i / groups % strips * STRIP, oy = i / groups / strips % oh;
    i32 image = i / groups / strips / oh;
    i32 y = oy * sh - top, left_most = ox * SW - left;

    sum acc[STRIP][4];
#pragma unroll
    for (i32 s = 0; s < STRIP; s++)
#pragma unroll
        for (i32 e = 0; e < 4; e++) acc[s][e] = bias[n + e];

    // No branches, so that the loads of several rows are issued before the first is used.
#pragma unroll (KH > 3 ? 2 : KH)
    for (i32 ky = 0; ky < KH; ky++) {
        i32 iy = y + ky * dh;
        sum seen[SEEN][4];
        load_row(seen, x + (i64)(image * h + iy) * w * c + n, iy, left_most, h, w, c, X_ZERO);
        multiply(acc, seen, weights + ky * KW * c + n, ZERO_POINT_ARGS c);
    }

    i32 pixel = (image * oh + oy) * ow + ox;
    out += (i64)pixel * c + n;
#pragma unroll
    for (i32 s = 0; s < STRIP; s++) {
        if (ox + s >= ow) break;
        four v;
        v.x = epilogue(acc[s][0], pixel + s, n, c, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS);
        v.y = epilogue(acc[s][1], pixel + s, n + 1, c, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS);
        v.z = epilogue(acc[s][2], pixel + s, n + 2, c, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS);
        v.w = epilogue(acc[s][3], pixel + s, n + 3, c, SCALES_ARGS BOUNDS_ARGS EPILOGUE_ARGS);
        *(four*)(out + s * c) = v;
    }
}
