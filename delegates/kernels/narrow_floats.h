// widen (FROM): out = x as f32. narrow (TO): out = x rounded. For i < n; FROM and TO are the conversions.

#ifdef FROM
KERNEL widen(IN(u16) RESTRICT x, OUT(f32) RESTRICT out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i < n) out[i] = FROM(x[i]);
}
#else
KERNEL narrow(IN(f32) RESTRICT x, OUT(u16) RESTRICT out, i32 n) {
    i32 i = GLOBAL_ID;
    if (i < n) out[i] = TO(x[i]);
}
#endif
