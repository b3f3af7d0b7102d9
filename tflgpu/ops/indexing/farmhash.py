"""FarmHash's Fingerprint64, by which LSH_PROJECTION hashes (google/farmhash, namespace farmhashna)."""

from __future__ import annotations

_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_MASK = (1 << 64) - 1


def _fetch(data: bytes, at: int, nbytes: int = 8) -> int:
    return int.from_bytes(data[at : at + nbytes], "little")


def _rotate(x: int, by: int) -> int:
    x &= _MASK
    return x >> by | (x << (64 - by) & _MASK)


def _mix(x: int) -> int:
    return x ^ x >> 47


def _of_two(u: int, v: int, mul: int) -> int:
    u, v = u & _MASK, v & _MASK
    a = _mix((u ^ v) * mul & _MASK)
    return _mix((v ^ a) * mul & _MASK) * mul & _MASK


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_fetch(data, at + i) for i in (0, 8, 16, 24))
    a += w
    b = _rotate(b + a + z, 21)
    total = a + x + y
    return (total + z) & _MASK, (b + _rotate(total, 44) + a) & _MASK


def fingerprint64(data: bytes) -> int:
    """The unsigned 64-bit fingerprint of `data`."""
    n = len(data)
    if n > 64:
        return _long(data)
    if n > 16:
        return _of_17_to_64(data)
    mul = _K2 + 2 * n
    if n >= 8:
        a, b = _fetch(data, 0) + _K2, _fetch(data, n - 8)
        return _of_two(_rotate(b, 37) * mul + a, (_rotate(a, 25) + b) * mul, mul)
    if n >= 4:
        return _of_two(n + (_fetch(data, 0, 4) << 3), _fetch(data, n - 4, 4), mul)
    if not n:
        return _K2
    y, z = data[0] + (data[n >> 1] << 8), n + (data[n - 1] << 2)
    return _mix((y * _K2 ^ z * _K0) & _MASK) * _K2 & _MASK


def _of_17_to_64(data: bytes) -> int:
    n = len(data)
    mul = _K2 + 2 * n
    a = _fetch(data, 0) * (_K1 if n <= 32 else _K2) & _MASK
    b = _fetch(data, 8)
    c, d = _fetch(data, n - 8) * mul, _fetch(data, n - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _of_two(y, a + _rotate(b + _K2, 18) + c, mul)
    if n <= 32:
        return z
    e, f = _fetch(data, 16) * mul, _fetch(data, 24)
    g, h = (y + _fetch(data, n - 32)) * mul, (z + _fetch(data, n - 24)) * mul
    return _of_two(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _long(data: bytes) -> int:
    n = len(data)
    x, y = 81 * _K2 + _fetch(data, 0), 81 * _K1 + 113
    z = _mix((y * _K2 + 113) & _MASK) * _K2
    v, w = (0, 0), (0, 0)
    for at in range(0, (n - 1) // 64 * 64, 64):
        x, y, z, v, w = _round(data, at, x, y, z, v, w, _K1, 1)
    mul = _K1 + ((z & 0xFF) << 1)
    w0 = w[0] + ((n - 1) & 63)
    v = (v[0] + w0, v[1])
    w = (w0 + v[0], w[1])
    x, y, z, v, w = _round(data, n - 64, x, y, z, v, w, mul, 9)
    first = _of_two(v[0], w[0], mul) + _mix(y & _MASK) * _K0 + z
    return _of_two(first, _of_two(v[1], w[1], mul) + x, mul)


Pair = tuple[int, int]


def _round(
    data: bytes, at: int, x: int, y: int, z: int, v: Pair, w: Pair, mul: int, last: int
) -> tuple[int, int, int, Pair, Pair]:
    """One step over 64 bytes; the final one has another multiplier, and `last` = 9 for 1."""
    x = _rotate(x + y + v[0] + _fetch(data, at + 8), 37) * mul & _MASK
    y = _rotate(y + v[1] + _fetch(data, at + 48), 42) * mul & _MASK
    x ^= w[1] * last & _MASK
    y = (y + v[0] * last + _fetch(data, at + 40)) & _MASK
    z = _rotate(z + w[0], 33) * mul & _MASK
    v = _weak(data, at, v[1] * mul, x + w[0])
    w = _weak(data, at + 32, z + w[1], y + _fetch(data, at + 16))
    return z, y, x, v, w
