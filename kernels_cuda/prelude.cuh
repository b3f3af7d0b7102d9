// What shared.h and the kernels use beyond CUDA C++. The macros in capitals stand for what OpenCL and CUDA call by
// different names, so that delegates/kernels can be one text; prelude.clh has the same.
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;  // long is of 32 bits on Windows
typedef unsigned long long u64;
typedef float f32;
typedef double f64;
#define FN static __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define IN(type) const type*
#define OUT(type) type*
#define RESTRICT __restrict__
#define LOCAL __shared__
#define IN_LOCAL(type) type*
#define BARRIER __syncthreads()
#define GLOBAL_BARRIER __syncthreads()
#define GLOBAL_ID (blockIdx.x * blockDim.x + threadIdx.x)
#define LOCAL_ID threadIdx.x
#define GROUP_ID blockIdx.x
#define CLZ(x) __clz((i32)(x))
#define NAN __int_as_float(0x7fffffff)
#define INFINITY __int_as_float(0x7f800000)
#define FLT_MAX 3.402823466e+38f

// The epilogue that render_epilogues.py writes: EPILOGUE, statements on `acc`; EPILOGUE_PARAMS, its parameters;
// EPILOGUE_ARGS, their names. Its vectors have one element here.
#ifndef EPILOGUE
#define EPILOGUE
#define EPILOGUE_PARAMS
#define EPILOGUE_ARGS
#endif
#define VF f32
#define VI i32
#define some_floats(p, room) (*(p))
#define some_ints(p, room) ((i32) * (p))
#define looked_up(table, value) ((table)[(u8)(value)])
#define clamp_v clamp_f32
#define mbqm_v mbqm
#define clamp clamp_i32

#ifdef WARP
// Reductions of one value for each of the 32 threads of a warp; all get the result.
FN i32 warp_max(i32 v) {
#pragma unroll
    for (i32 s = 16; s > 0; s /= 2) v = max(v, __shfl_xor_sync(0xffffffffu, v, s));
    return v;
}

FN i32 warp_sum(i32 v) {
#pragma unroll
    for (i32 s = 16; s > 0; s /= 2) v += __shfl_xor_sync(0xffffffffu, v, s);
    return v;
}
#endif

#ifdef WIDTH
// Reductions of one value for each of the WIDTH threads of a block of whole warps; all get the result. partial: what
// PARTIAL declares.
#define PARTIAL __shared__ f32 partial[WIDTH / 32]
FN f32 block_max(f32 v, f32* partial) {
#pragma unroll
    for (i32 s = 16; s > 0; s /= 2) {
        f32 other = __shfl_xor_sync(0xffffffffu, v, s);
        v = v < other ? other : v;
    }
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
    __syncthreads();
    for (i32 w = 0; w < WIDTH / 32; w++) v = v < partial[w] ? partial[w] : v;
    __syncthreads();
    return v;
}

FN f32 block_sum(f32 v, f32* partial) {
#pragma unroll
    for (i32 s = 16; s > 0; s /= 2) v += __shfl_xor_sync(0xffffffffu, v, s);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
    __syncthreads();
    v = partial[0];
    for (i32 w = 1; w < WIDTH / 32; w++) v += partial[w];
    __syncthreads();
    return v;
}
#endif
