// The CUDA that the kernels use, for a C++ compiler on the CPU: included before an unmodified program. The threads of a
// block run one after another, as fibers where they wait for one another; runtime.cpp schedules them.
#pragma once

#define CUDA_EMULATOR 1
#define __CUDA_ARCH__ 900
#define __CUDACC__ 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// A section of their own, so that the runtime can fill them with NaN before every block.
#define __shared__ static __attribute__((section("emu_shared"), aligned(16)))

// What stands for hardware is not watched by check mode.
#define EMU_FN static inline __attribute__((unused, no_sanitize("thread"), no_sanitize("alignment")))

typedef __INT8_TYPE__ emu_i8;
typedef __UINT8_TYPE__ emu_u8;
typedef __UINT16_TYPE__ emu_u16;
typedef __INT32_TYPE__ emu_i32;
typedef __UINT32_TYPE__ emu_u32;
typedef __INT64_TYPE__ emu_i64;
typedef __UINT64_TYPE__ emu_u64;
typedef __SIZE_TYPE__ size_t;

// The same of what is in a struct.
#define EMU_FN_MEMBER inline __attribute__((no_sanitize("thread"), no_sanitize("alignment")))

struct uint3 {
    unsigned x, y, z;
};
struct EmuThread {
    uint3 thread, block, block_dim, grid_dim;
    int lane;
};
extern "C" {
extern EmuThread emu_thread;
void emu_barrier(void);
// Waits until every lane of mask that still runs has come with an operation of the same size; out: 32 slots of
// `size` bytes, one a lane. Returns the lanes that came.
unsigned emu_exchange(unsigned mask, const void* in, void* out, int size);
// What check mode must know of how blocks order their accesses: a __threadfence, and an atomic at p.
void emu_fence(void);
void emu_atomic(void* p);
void emu_sleep(void);
void emu_error(const char* format, ...);
}
struct EmuLaunch {
    unsigned grid[3], block[3];
    void* const* args;
    unsigned char *shared_begin, *shared_end;
    int cooperative;  // whether all blocks are under way at once
};
extern "C" int emu_run(const EmuLaunch* launch, void (*body)(void* const*));

#ifndef EMU_RUNTIME
#define threadIdx (emu_thread.thread)
#define blockIdx (emu_thread.block)
#define blockDim (emu_thread.block_dim)
#define gridDim (emu_thread.grid_dim)
#define warpSize 32

// Vectors, aligned as CUDA's.
#define EMU_VECTORS(T, name, size)                                                                                     \
    struct __attribute__((aligned(2 * size))) name##2 {                                                                \
        T x, y;                                                                                                        \
    };                                                                                                                 \
    struct name##3 {                                                                                                   \
        T x, y, z;                                                                                                     \
    };                                                                                                                 \
    struct __attribute__((aligned(4 * size > 16 ? 16 : 4 * size))) name##4 {                                           \
        T x, y, z, w;                                                                                                  \
    };                                                                                                                 \
    EMU_FN name##2 make_##name##2(T x, T y) { return {x, y}; }                                                         \
    EMU_FN name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTORS(signed char, char, 1)
EMU_VECTORS(unsigned char, uchar, 1)
EMU_VECTORS(short, short, 2)
EMU_VECTORS(int, int, 4)
EMU_VECTORS(float, float, 4)
EMU_VECTORS(double, double, 8)
struct __attribute__((aligned(8))) uint2 {
    unsigned x, y;
};
struct __attribute__((aligned(16))) uint4 {
    unsigned x, y, z, w;
};

// Barriers and what lanes tell one another.
#define __syncthreads() emu_barrier()
EMU_FN void __syncwarp(unsigned mask = 0xffffffffu) {
    char nothing = 0, all[32];
    emu_exchange(mask, &nothing, all, 1);
}
EMU_FN void __threadfence() { emu_fence(); }
EMU_FN void __threadfence_block() {}
EMU_FN void __nanosleep(unsigned) { emu_sleep(); }

template <class T> EMU_FN T emu_shuffle(unsigned mask, T v, int source, bool inside) {
    T all[32];
    unsigned came = emu_exchange(mask, &v, all, sizeof(T));
    if (!inside) return v;
    if (came >> source & 1) return all[source];
    emu_error("a shuffle reads lane %d, which is not in the mask %08x", source, mask);
    return v;
}
template <class T> EMU_FN T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
    return emu_shuffle(mask, v, (emu_thread.lane & ~(width - 1)) | (source & (width - 1)), true);
}
template <class T> EMU_FN T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
    int source = emu_thread.lane ^ bits;
    return emu_shuffle(mask, v, source & 31, source / width <= emu_thread.lane / width);
}
template <class T> EMU_FN T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int lane = emu_thread.lane, source = lane + (int)by;
    return emu_shuffle(mask, v, source & 31, lane % width + (int)by < width);
}
template <class T> EMU_FN T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int lane = emu_thread.lane, source = lane - (int)by;
    return emu_shuffle(mask, v, source & 31, lane % width >= (int)by);
}
EMU_FN unsigned __ballot_sync(unsigned mask, int predicate) {
    int v = !!predicate, all[32];
    unsigned came = emu_exchange(mask, &v, all, 4), out = 0;
    for (int i = 0; i < 32; i++)
        if ((came >> i & 1) && all[i]) out |= 1u << i;
    return out;
}

// Atomics: fibers never pre-empt one another, so plain C is atomic.
#define EMU_ATOMIC(name, value)                                                                                        \
    template <class T> EMU_FN T name(T* p, T v) {                                                                      \
        emu_atomic(p);                                                                                                 \
        T old = *p;                                                                                                    \
        *p = (value);                                                                                                  \
        return old;                                                                                                    \
    }
EMU_ATOMIC(atomicAdd, old + v)
EMU_ATOMIC(atomicMax, old > v ? old : v)
EMU_ATOMIC(atomicMin, old < v ? old : v)
EMU_ATOMIC(atomicExch, v)
EMU_ATOMIC(atomicOr, old | v)
EMU_ATOMIC(atomicInc, old >= v ? 0 : old + 1)

// Loads, bits, integers.
template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcg(const T* p) { return *p; }
template <class T> static inline void __stcg(T* p, T v) { *p = v; }
EMU_FN int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 32; i += 8) c += (int)(emu_i8)(a >> i) * (int)(emu_i8)(b >> i);
    return c;
}
EMU_FN unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
    return c;
}
EMU_FN int __clz(int x) { return x ? __builtin_clz(x) : 32; }
EMU_FN int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
EMU_FN int __popc(unsigned x) { return __builtin_popcount(x); }
EMU_FN float __int_as_float(int i) {
    float f;
    __builtin_memcpy(&f, &i, 4);
    return f;
}
EMU_FN int __float_as_int(float f) {
    int i;
    __builtin_memcpy(&i, &f, 4);
    return i;
}
#define EMU_MIN_MAX(T)                                                                                                 \
    EMU_FN T min(T a, T b) { return b < a ? b : a; }                                                                   \
    EMU_FN T max(T a, T b) { return a < b ? b : a; }
EMU_MIN_MAX(int)
EMU_MIN_MAX(unsigned)
EMU_MIN_MAX(long long)
EMU_MIN_MAX(unsigned long long)
EMU_FN int abs(int x) { return x < 0 ? -x : x; }

// Mathematics: CUDA overloads by type.
#define EMU_UNARY(name)                                                                                                \
    EMU_FN float name(float x) { return __builtin_##name##f(x); }                                                      \
    EMU_FN double name(double x) { return __builtin_##name(x); }                                                       \
    EMU_FN float name##f(float x) { return __builtin_##name##f(x); }
#define EMU_BINARY(name)                                                                                               \
    EMU_FN float name(float x, float y) { return __builtin_##name##f(x, y); }                                          \
    EMU_FN double name(double x, double y) { return __builtin_##name(x, y); }                                          \
    EMU_FN float name##f(float x, float y) { return __builtin_##name##f(x, y); }
EMU_UNARY(acos) EMU_UNARY(asin) EMU_UNARY(atan) EMU_UNARY(ceil) EMU_UNARY(cos) EMU_UNARY(cosh) EMU_UNARY(erf)
EMU_UNARY(erfc) EMU_UNARY(exp) EMU_UNARY(exp2) EMU_UNARY(expm1) EMU_UNARY(fabs) EMU_UNARY(floor) EMU_UNARY(log)
EMU_UNARY(log10) EMU_UNARY(log1p) EMU_UNARY(log2) EMU_UNARY(rint) EMU_UNARY(round) EMU_UNARY(sin) EMU_UNARY(sinh)
EMU_UNARY(sqrt) EMU_UNARY(tan) EMU_UNARY(tanh) EMU_UNARY(trunc) EMU_UNARY(cbrt) EMU_UNARY(acosh) EMU_UNARY(asinh)
EMU_UNARY(atanh) EMU_UNARY(exp10) EMU_UNARY(lgamma) EMU_UNARY(tgamma)
EMU_BINARY(atan2) EMU_BINARY(copysign) EMU_BINARY(fmax) EMU_BINARY(fmin) EMU_BINARY(fmod) EMU_BINARY(pow)
EMU_BINARY(hypot) EMU_BINARY(remainder) EMU_BINARY(nextafter)
EMU_FN float ldexp(float x, int n) { return __builtin_ldexpf(x, n); }
EMU_FN double ldexp(double x, int n) { return __builtin_ldexp(x, n); }
EMU_FN float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
EMU_FN double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
EMU_FN float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
EMU_FN float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
template <class T> EMU_FN bool isnan(T x) { return x != x; }
template <class T> EMU_FN bool isinf(T x) { return __builtin_isinf(x); }
template <class T> EMU_FN bool isfinite(T x) { return __builtin_isfinite(x); }
template <class T> EMU_FN bool signbit(T x) { return __builtin_signbit(x); }

// How the runtime calls a kernel: EMU_KERNEL(name) after its definition.
extern "C" {
extern unsigned char __start_emu_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_emu_shared[] __attribute__((weak, visibility("hidden")));
}

template <int... I> struct EmuPlaces {};
template <int N, int... I> struct EmuCount : EmuCount<N - 1, N - 1, I...> {};
template <int... I> struct EmuCount<0, I...> {
    typedef EmuPlaces<I...> type;
};
template <class T> struct EmuPlain {
    typedef T type;
    enum { kind = 0 };
};
template <class T> struct EmuPlain<const T> : EmuPlain<T> {};
template <class T> struct EmuPlain<T*> {
    typedef T* type;
    enum { kind = 1 };
};
template <class T> struct EmuPlain<const T*> {
    typedef const T* type;
    enum { kind = 2 };
};
template <class T> struct EmuPlain<T* __restrict__> : EmuPlain<T*> {};
template <auto f, class... A, int... I> EMU_FN void emu_apply(void (*)(A...), EmuPlaces<I...>, void* const* args) {
    f(*(typename EmuPlain<A>::type*)args[I]...);
}
template <class... A> EMU_FN typename EmuCount<sizeof...(A)>::type emu_indices(void (*)(A...)) { return {}; }
template <class... A> EMU_FN int emu_describe(void (*)(A...), int* sizes, int* kinds) {
    int all_sizes[] = {0, (int)sizeof(typename EmuPlain<A>::type)...};
    int all_kinds[] = {0, (int)EmuPlain<A>::kind...};
    for (int i = 0; sizes && i < (int)sizeof...(A); i++) {
        sizes[i] = all_sizes[i + 1];
        kinds[i] = all_kinds[i + 1];
    }
    return sizeof...(A);
}
// go: runs a grid; returns the number of errors. describe: each parameter's size, and whether it is a value (0), a
// pointer (1) or a pointer to const (2), where sizes is not null; returns their number.
#define EMU_KERNEL(name)                                                                                               \
    static void __attribute__((no_sanitize("thread"))) emu_body_##name(void* const* args) {                            \
        emu_apply<name>(name, emu_indices(name), args);                                                                \
    }                                                                                                                  \
    extern "C" __attribute__((visibility("default"))) int emu_go_##name(EmuLaunch* launch) {                           \
        launch->shared_begin = __start_emu_shared;                                                                     \
        launch->shared_end = __stop_emu_shared;                                                                        \
        return emu_run(launch, emu_body_##name);                                                                       \
    }                                                                                                                  \
    extern "C" __attribute__((visibility("default"))) int emu_describe_##name(int* sizes, int* kinds) {                \
        return emu_describe(name, sizes, kinds);                                                                       \
    }
#endif
