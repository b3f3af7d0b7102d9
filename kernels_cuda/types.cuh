// The macros of types.h, and conversions of f16.
#define FLOAT_OF(bits) __int_as_float((i32)(bits))
#define BITS_OF(v) (u32)__float_as_int(v)
#define PAIR(x, y) make_float2(x, y)

#ifdef CUDA_EMULATOR
#include <cuda_fp16.h>
FN f32 from_f16(u16 bits) { return emu_half_value(bits); }
FN u16 to_f16(f32 v) { return emu_half_bits(v); }
#else
// The instructions of cuda_fp16.h, which takes long to compile.
FN f32 from_f16(u16 bits) {
    f32 v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
}
FN u16 to_f16(f32 v) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
}
#endif
