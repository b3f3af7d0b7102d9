// widen: out = x as f32.  narrow: out = x rounded.  For i < n; FROM, TO: the conversion.

#ifdef FROM
extern "C" __global__ void widen(const u16* __restrict__ x, f32* __restrict__ out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = FROM(x[i]);
}
#else
extern "C" __global__ void narrow(const f32* __restrict__ x, u16* __restrict__ out, i32 n) {
    i32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = TO(x[i]);
}
#endif
