// widen: out = x as f32.  narrow: out = x rounded.  For i < n; FROM, TO: the conversion.

#ifdef FROM
kernel void widen(global const u16* x, global f32* out, i32 n) {
    i32 i = get_global_id(0);
    if (i < n) out[i] = FROM(x[i]);
}
#else
kernel void narrow(global const f32* x, global u16* out, i32 n) {
    i32 i = get_global_id(0);
    if (i < n) out[i] = TO(x[i]);
}
#endif
