"""What PTX's types, registers and instructions are in C++, with the functions of ptx.h."""

from __future__ import annotations

from collections.abc import Mapping

C_TYPES: Mapping[str, str] = {
    **{f"{kind}{bits}": f"{'s' if kind == 's' else 'u'}{bits}" for kind in "sub" for bits in (8, 16, 32, 64)},
    "f16": "u16",
    "f32": "f32",
    "f64": "f64",
    "pred": "pred",
}
"""By PTX's types, what holds a value of it."""

SPECIAL: Mapping[str, str] = {
    **{
        f"%{name}.{axis}": f"{variable}.{axis}"
        for name, variable in (
            ("tid", "threadIdx"),
            ("ctaid", "blockIdx"),
            ("ntid", "blockDim"),
            ("nctaid", "gridDim"),
        )
        for axis in "xyz"
    },
    "%laneid": "emu_thread.lane",
}

FLOATS: Mapping[str, str] = {
    "add": "number({0} + {1})",
    "sub": "number({0} - {1})",
    "mul": "number({0} * {1})",
    "neg": "-{0}",
    "div": "number({0} / {1})",
    "abs": "fabs({0})",
    "sqrt": "number(sqrt({0}))",
    "copysign": "copysign({1}, {0})",
    "min": "lesser({0}, {1})",
    "max": "greater({0}, {1})",
    "fma": "number(fma({0}, {1}, {2}))",
    "fma.rm": "fma_down({0}, {1}, {2})",
    "rcp": "number(1 / {0})",
    "rcp.approx": "flushed(1 / flushed({0}))",
    "ex2.approx": "flushed(exp2(flushed({0})))",
}
"""Instructions on floats by name, and rounding where it matters; the operands' values are of the instruction's type."""

INTEGERS: Mapping[str, str] = {
    "add": "(u64){0} + {1}",
    "sub": "(u64){0} - {1}",
    "mul.lo": "(u64){0} * {1}",
    "neg": "0 - (u64){0}",
    "mad.lo": "(u64){0} * {1} + {2}",
    "mul.hi": "(s64)(((__int128){0} * {1}) >> (8 * sizeof({0})))",
    "div": "quotient({0}, {1})",
    "rem": "remainder_of({0}, {1})",
    "abs": "{0} < 0 ? 0 - (u64){0} : {0}",
    "min": "{0} < {1} ? {0} : {1}",
    "max": "{0} > {1} ? {0} : {1}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "not": "~{0}",
    "shl": "left({0}, (u32){1})",
    "shr": "right({0}, (u32){1})",
    "clz": "sizeof({0}) == 8 ? __clzll({0}) : __clz({0})",
    "popc": "__popc({0})",
    "bfi": "inserted({0}, {1}, (u32){2}, (u32){3})",
    "prmt": "permuted({0}, {1}, {2})",
}
"""Instructions on integers; the result is cut off at the instruction's type."""

PREDICATES: Mapping[str, str] = {
    "and": "{0} && {1}",
    "or": "{0} || {1}",
    "xor": "{0} != {1}",
    "not": "!{0}",
    "mov": "{0}",
}

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}

ATOMICS: Mapping[str, str] = {
    "add": "old + value",
    "max": "old > value ? old : value",
    "min": "old < value ? old : value",
    "exch": "value",
    "or": "old | value",
    "and": "old & value",
    "inc": "old >= value ? 0 : old + 1",
}

ALONE: Mapping[str, str] = {
    "ret": "return",
    "exit": "return",
    "bar.sync": "emu_barrier()",
    "barrier.sync": "emu_barrier()",
    "membar.gl": "emu_fence()",
    "membar.sys": "emu_fence()",
    "membar.cta": "",
    "nanosleep.u32": "emu_sleep()",
}
"""Instructions whose operands do not matter here."""

SHUFFLES = ("bfly", "idx", "up", "down")
ROUNDED = {"rzi": "trunc", "rmi": "floor", "rpi": "ceil", "rni": "rint"}
