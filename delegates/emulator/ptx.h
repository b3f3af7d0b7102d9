// What PTX instructions do, for ptx.py's translations of programs: the PTX ISA's rules for NaN, saturation, shifts and
// division, and checks of every access to memory. Included after cuda_emulator.h.
#pragma once
typedef emu_i8 s8;
typedef emu_u8 u8;
typedef short s16;
typedef emu_u16 u16;
typedef emu_i32 s32;
typedef emu_u32 u32;
typedef emu_i64 s64;
typedef emu_u64 u64;
typedef float f32;
typedef double f64;
typedef bool pred;

// The bits of s as a T: cut off or filled with zeros where their sizes differ.
template <class T, class S> EMU_FN T bits(S s) {
    u64 wide = 0;
    __builtin_memcpy(&wide, &s, sizeof s);
    T t;
    __builtin_memcpy(&t, &wide, sizeof t);
    return t;
}
// Writes a value to a register: an integer is extended by its sign or by zeros, all else keeps its bits.
template <class R, class V> EMU_FN void put(R& r, V v) {
    if constexpr ((R)0.5 == 0 && (V)0.5 == 0)
        r = (R)v;
    else
        r = bits<R>(v);
}

// Memory: the buffers of a launch, each with a byte of marks for each of its own.
struct Buffer {
    u64 begin, end;
    u8* marks;
};
static const Buffer* ptx_buffers;
static int ptx_count;
enum { READ = 1, CONSTANT = 2, WRITE = 4 };

extern "C" __attribute__((visibility("default"))) void ptx_set_buffers(int count, const Buffer* buffers) {
    ptx_count = count;
    ptx_buffers = buffers;
}

// Whether the program has a constant array there: a translation defines it.
static bool in_table(u64 p, int size);

static __attribute__((noinline)) void check_global(u64 p, int size, int how) {
    if (p % size) emu_error("a global access of %d bytes at a multiple of %d", size, (int)(p & -p));
    for (int i = 0; i < ptx_count; i++) {
        const Buffer& b = ptx_buffers[i];
        if (p < b.begin || p + size > b.end) continue;
        for (u8* mark = b.marks + (p - b.begin); size > 0; size--, mark++) {
            *mark |= how;
            if ((*mark & (CONSTANT | WRITE)) == (CONSTANT | WRITE)) {
                emu_error("byte %d of buffer %d is written and read by ld.global.nc", (int)(mark - b.marks), i);
                return;
            }
        }
        return;
    }
    if (how == WRITE || !in_table(p, size)) emu_error("a global access of %d bytes outside of all buffers", size);
}
EMU_FN void check_aligned(u64 p, int size) {
    if (p % size) emu_error("an access of %d bytes at a multiple of %d", size, (int)(p & -p));
}
template <class T> EMU_FN T load(u64 p) {
    T t;
    __builtin_memcpy(&t, (const void*)p, sizeof t);
    return t;
}
template <class T> EMU_FN void store(u64 p, T v) { __builtin_memcpy((void*)p, &v, sizeof v); }

// Floats: a NaN that an instruction makes is the canonical one.
EMU_FN f32 number(f32 v) { return v != v ? bits<f32>(0x7fffffffu) : v; }
EMU_FN f64 number(f64 v) { return v; }
template <class T> EMU_FN T lesser(T a, T b) {
    if (a != a || b != b) return number(a != a ? b : a);
    return a == b ? (__builtin_signbit(a) ? a : b) : a < b ? a : b;
}
template <class T> EMU_FN T greater(T a, T b) {
    if (a != a || b != b) return number(a != a ? b : a);
    return a == b ? (__builtin_signbit(a) ? b : a) : a > b ? a : b;
}
EMU_FN f32 flushed(f32 v) { return __builtin_fabsf(v) < 1.17549435e-38f ? __builtin_copysignf(0, v) : v; }
// Rounded towards minus infinity: the double is exact where exponents are as near as in expf.
EMU_FN f32 fma_down(f32 a, f32 b, f32 c) {
    f64 exact = (f64)a * b + c;
    f32 v = (f32)exact;
    return (f64)v > exact ? bits<f32>(bits<s32>(v) + (v > 0 ? -1 : 1)) : v;
}
EMU_FN f32 saturated(f32 v) { return v > 0 ? (v > 1 ? 1 : v) : 0; }
// To an integer, from a whole number: 0 for NaN, else the nearest that there is.
template <class I, class F> EMU_FN I integer(F v) {
    const f64 end = (I)-1 < 0 ? (f64)((u64)1 << (8 * sizeof(I) - 1)) : 2.0 * (f64)((u64)1 << (8 * sizeof(I) - 1));
    const f64 begin = (I)-1 < 0 ? -end : 0;
    const I least = (I)-1 < 0 ? (I)((u64)1 << (8 * sizeof(I) - 1)) : (I)0;
    return v != v ? 0 : (f64)v < begin ? least : (f64)v >= end ? (I)~least : (I)v;
}
EMU_FN u16 half_of(f32 v) {
    _Float16 h = (_Float16)v;
    return v != v ? 0x7fff : bits<u16>(h);
}
EMU_FN f32 float_of(u16 h) { return number((f32)bits<_Float16>(h)); }
EMU_FN u32 tf32_of(f32 v) {
    u32 b = bits<u32>(v);
    return (b >> 23 & 255) == 255 ? (v != v ? 0x7fffffff : b) : (b + 0x1000) & ~0x1fffu;
}

// Integers: shifts by more than the width, division by zero.
template <class T> EMU_FN T left(T a, u32 n) { return n >= 8 * sizeof(T) ? 0 : a << n; }
template <class T> EMU_FN T right(T a, u32 n) {
    return n >= 8 * sizeof(T) ? ((T)-1 < 0 && a < 0 ? -1 : 0) : a >> n;
}
template <class T> EMU_FN T quotient(T a, T b) { return b == 0 ? (T)-1 : (T)-1 < 0 && b == (T)-1 ? (T)(0 - (u64)a) : a / b; }
template <class T> EMU_FN T remainder_of(T a, T b) { return b == 0 ? a : (T)-1 < 0 && b == (T)-1 ? 0 : a % b; }
template <class T> EMU_FN T inserted(T a, T b, u32 at, u32 length) {
    const u32 width = 8 * sizeof(T);
    at &= 255, length &= 255;
    T mask = left<T>(length >= width ? (T)~0ull : (T)((1ull << length) - 1), at);
    return (b & ~mask) | (left(a, at) & mask);
}
EMU_FN u32 permuted(u32 a, u32 b, u32 selector) {
    u64 bytes = (u64)b << 32 | a;
    u32 out = 0;
    for (int i = 0; i < 4; i++) {
        u32 chosen = selector >> 4 * i & 15, byte = bytes >> 8 * (chosen & 7) & 255;
        out |= (chosen & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * i;
    }
    return out;
}

// Warps: shfl.sync with the segment and the bound that c holds.
enum { BFLY, IDX, UP, DOWN };
EMU_FN u32 shuffled(int mode, u32 v, u32 b, u32 c, u32 mask) {
    u32 all[32];
    unsigned came = emu_exchange(mask, &v, all, 4);
    int lane = emu_thread.lane, segment = c >> 8 & 31, bound = c & 31, by = b & 31;
    int least = lane & segment, most = least | (bound & ~segment);
    int from = mode == BFLY ? lane ^ by : mode == IDX ? least | (by & ~segment) : mode == UP ? lane - by : lane + by;
    if (mode == UP ? from < most : from > most) return v;
    if (!(came >> from & 1)) emu_error("shfl reads lane %d, which is not in the mask %08x", from, mask);
    return all[from];
}

// Tensor cores. Element i of a lane's fragment of R x C is element lane * R * C / 32 + i of the matrix, as in mma.h.
template <class T, int R, int C, int N> EMU_FN void wmma_load(u32 (&fragment)[N], u64 p, u32 step, bool by_column) {
    if (p % 16 || step * sizeof(T) % 16) emu_error("wmma of rows that are not at multiples of 16 bytes");
    __syncwarp();
    T* out = (T*)fragment;
    for (int i = 0; i < R * C / 32; i++) {
        int at = emu_thread.lane * (R * C / 32) + i, row = at / C, column = at % C;
        out[i] = ((const T*)p)[by_column ? column * step + row : row * step + column];
    }
    __syncwarp();
}
EMU_FN void wmma_store(const u32 (&fragment)[8], u64 p, u32 step, bool by_column) {
    if (p % 16 || step % 4) emu_error("wmma of rows that are not at multiples of 16 bytes");
    __syncwarp();
    for (int i = 0; i < 8; i++) {
        int at = emu_thread.lane * 8 + i, row = at / 16, column = at % 16;
        ((u32*)p)[by_column ? column * step + row : row * step + column] = fragment[i];
    }
    __syncwarp();
}
EMU_FN f32 factor(_Float16 v) { return v; }
EMU_FN f32 factor(f32 v) { return bits<f32>(bits<u32>(v) & ~0x1fffu); }
EMU_FN s32 factor(s8 v) { return v; }
EMU_FN s32 factor(u8 v) { return v; }
// d (16, 16) = a (16, K) times b (K, 16) plus c; products are summed in order of k.
template <class T, class S, int K, int A, int B>
EMU_FN void wmma_mma(u32 (&d)[8], const u32 (&a)[A], const u32 (&b)[B], const u32 (&c)[8]) {
    const int each = 16 * K / 32;
    struct Both {
        T a[each], b[each];
    } mine, all[32];
    __builtin_memcpy(mine.a, a, sizeof mine.a);
    __builtin_memcpy(mine.b, b, sizeof mine.b);
    emu_exchange(0xffffffffu, &mine, all, sizeof mine);
    for (int i = 0; i < 8; i++) {
        int at = emu_thread.lane * 8 + i, row = at / 16, column = at % 16;
        S sum = bits<S>(c[i]);
        for (int k = 0; k < K; k++) {
            int x = row * K + k, y = k * 16 + column;
            sum += factor(all[x / each].a[x % each]) * factor(all[y / each].b[y % each]);
        }
        d[i] = bits<u32>(sum);
    }
}
