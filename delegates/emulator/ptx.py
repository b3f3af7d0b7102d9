"""PTX, as NVRTC makes it of a kernel, translated to C++ for the emulator's runtime; ptx.h has what instructions do."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tflgpu.delegates.emulator import ptx_instructions as known
from tflgpu.delegates.emulator.ptx_instructions import C_TYPES
from tflgpu.delegates.emulator.ptx_text import array_of, body_of, name_of, operands_of, size_of, statements_of

ARRAY = (
    r"^\s*\.(?:visible |weak )?(global|const|shared)\s+\.align (\d+) \.(\w+) ([\w$]+)"
    r"(?:\[(\d+)\])?(?: = \{?([^};]*)\}?)?;"
)
"""One that all kernels of a program see."""

PARAMETER = r"\s*\.param \.(?:align \d+ )?\.?(\w+)(?: \.ptr[^,]*)? ([\w$]+)\s*"


class UnknownInstruction(Exception):
    """PTX that is not translated; the text is the instruction."""


@dataclass(frozen=True)
class Translated:
    """A program in C++. parameters: of each kernel, the sizes in bytes, and whether an address fits."""

    text: str
    parameters: Mapping[str, Sequence[tuple[int, bool]]]


@functools.lru_cache(256)
def translated(ptx: str) -> Translated:
    """Raises UnknownInstruction."""
    ptx = re.sub(r"//[^\n]*", "", ptx)
    out, arrays, parameters = ['#include "ptx.h"'], set[str](), dict[str, Sequence[tuple[int, bool]]]()
    heads = list(re.finditer(r"\.entry ([\w$]+)\(([^)]*)\)([^{]*)\{", ptx))
    for space, align, kind, name, count, values in re.findall(ARRAY, ptx[: heads[0].start()] if heads else "", re.M):
        arrays.add(name)
        out.append(array_of(space, align, kind, name, count or "1", values))
    tables = [f"(p >= (u64)&{name_of(one)} && p + size <= (u64)(&{name_of(one)} + 1))" for one in sorted(arrays)]
    out.append(f"static bool in_table(u64 p, int size) {{ return {' || '.join(tables) or 'false'}; }}")
    for head in heads:
        given = [re.fullmatch(PARAMETER, one) for one in head[2].split(",")]
        named = [(p[1], p[2]) for p in given if p]
        parameters[head[1]] = [(size_of(kind), size_of(kind) == 8) for kind, _ in named]
        entry = _Entry(arrays, {name: number for number, (_, name) in enumerate(named)})
        out.append(entry.text(head[1], body_of(ptx, head.end())))
    return Translated("\n".join(out), parameters)


@dataclass
class _Entry:
    """One kernel on its way. arrays: names in memory; parameters: their numbers by name; types: of registers."""

    arrays: set[str]
    parameters: Mapping[str, int]
    types: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def text(self, name: str, body: str) -> str:
        declared = re.compile(r"\.reg \.(\w+)\s+([^;]+);")
        for kind, names in declared.findall(body):
            for one in names.split(","):
                base, _, count = one.strip().partition("<")
                every = [f"{base}{i}" for i in range(int(count[:-1]))] if count else [base]
                self.types |= dict.fromkeys(every, C_TYPES[kind])
        arrays = re.compile(r"\.(shared|local) \.align (\d+) \.(\w+)\s+([\w$]+)(?:\[(\d+)\])?;")
        for space, align, kind, array, count in arrays.findall(body):
            self.arrays = self.arrays | {array}
            self.lines.append(array_of(space, align, kind, array, count or "1"))
        body = arrays.sub("", declared.sub("", re.sub(r"\.(pragma|loc|file) [^;\n]*;?", "", body)))
        used = [self._statement(one) for one in statements_of(body)]
        words = set(re.findall(r"[%\w$]+", body))
        registers = [f"{kind} {name_of(one)} = {{}};" for one, kind in self.types.items() if one in words]
        return "\n".join([f"static void ptx_{name}(void* const* args) {{", *self.lines, *registers, *used, "}"])

    def _statement(self, said: str) -> str:
        if said.endswith(":"):
            return f"{name_of(said[:-1])}:;"
        guard, rest = re.fullmatch(r"(?:@(!?%\w+) )?(.*)", said).groups()  # type: ignore[union-attr]
        name, _, operands = rest.partition(" ")
        try:
            done = self._instruction(name, operands_of(operands))
        except (KeyError, IndexError, ValueError) as error:
            raise UnknownInstruction(said) from error
        negated = "!" if guard and guard[0] == "!" else ""
        when = f"if ({negated}{name_of(guard.lstrip('!'))}) " if guard else ""
        return f"{when}{{ {done}; }}"

    def _instruction(self, name: str, given: Sequence[str]) -> str:
        op, *suffixes = name.split(".")
        kind = suffixes[-1] if suffixes else ""
        if name in known.ALONE:
            return known.ALONE[name]
        if op == "bra":
            return f"goto {name_of(given[0])}"
        if op in ("ld", "st", "atom", "red"):
            return self._memory(op, suffixes, given)
        if op in ("mov", "cvta") and kind != "pred":
            return self._mov(kind, given)
        if op == "setp":
            return f"{name_of(given[0])} = {self._compared(suffixes[0], kind, *given[1:])}"
        if op == "selp":
            chosen = f"{name_of(given[3])} ? {self.value(given[1], kind)} : {self.value(given[2], kind)}"
            return self._put(given[0], chosen)
        if name == "cvt.rn.f16x2.f32":
            high, low = (f"half_of({self.value(one, 'f32')})" for one in given[1:])
            return self._put(given[0], f"(u32){high} << 16 | {low}")
        if op == "cvt":
            return self._put(given[0], self._converted(suffixes, given[1]))
        if op in ("shfl", "vote") or name == "bar.warp.sync":
            return self._of_warps(name, suffixes, given)
        if op == "wmma":
            return self._of_tensor_cores(suffixes, given)
        return self._arithmetic(op, suffixes, kind, given)

    def _arithmetic(self, op: str, suffixes: Sequence[str], kind: str, given: Sequence[str]) -> str:
        if kind == "pred":
            return f"{name_of(given[0])} = {known.PREDICATES[op].format(*map(self._predicate, given[1:]))}"
        if kind[0] == "f":
            values = [f"({self.value(one, kind)})" for one in given[1:]]
            form = known.FLOATS.get(f"{op}.{suffixes[0]}") or known.FLOATS[op]
            return self._put(given[0], f"({C_TYPES[kind]})({form.format(*values)})")
        if op == "dp4a":
            both = "int" if kind[0] == "s" else "unsigned"
            return self._put(given[0], f"(u32)__dp4a({', '.join(f'({both}){self.value(o, kind)}' for o in given[1:])})")
        wide = suffixes[0] == "wide"
        result = f"{kind[0]}{2 * size_of(kind) * 8}" if wide else kind
        values = [f"({C_TYPES[result]}){self.value(one, kind)}" for one in given[1:3]]
        values += [self.value(one, result) for one in given[3:4]] if wide else []
        values = (
            values if wide else [f"({self.value(one, self._count(op, k, kind))})" for k, one in enumerate(given[1:])]
        )
        form = known.INTEGERS[f"{op}.lo" if wide else op if op in known.INTEGERS else f"{op}.{suffixes[0]}"]
        return self._put(given[0], f"({C_TYPES[result]})({form.format(*values)})")

    @staticmethod
    def _count(op: str, operand: int, kind: str) -> str:
        """The type of an operand: the second of a shift is 32 bits wide."""
        return "u32" if op in ("shl", "shr") and operand == 1 else kind

    def value(self, operand: str, kind: str) -> str:
        """An operand as a value of a type."""
        c, of = C_TYPES[kind], self.types.get(operand, "u64")
        if operand[:2] in ("0f", "0d"):
            held, of = f"bits<{'f32' if operand[1] == 'f' else 'f64'}>(0x{operand[2:]}ull)", "f"
        elif re.fullmatch(r"-?\d+", operand):
            return f"({c}){operand}ll"
        elif operand in known.SPECIAL:
            held = f"(u32){known.SPECIAL[operand]}"
        else:
            held = f"(u64){name_of(operand)}" if operand in self.arrays else name_of(operand)
        # Of integers it is a cast, which compiles faster than a call.
        return f"({c}){held}" if of[0] == "u" and c[0] in "us" else f"bits<{c}>({held})"

    def _predicate(self, operand: str) -> str:
        return name_of(operand) if operand[0] == "%" else str(int(operand != "0"))

    def _put(self, register: str, value: str) -> str:
        if self.types[register][0] == "u" and re.match(r"\([us]\d", value):
            return f"{name_of(register)} = {value}"
        return f"put({name_of(register)}, {value})"

    def _memory(self, op: str, suffixes: Sequence[str], given: Sequence[str]) -> str:
        kind = suffixes[-1]
        first, second = (given[1], given[0]) if op in ("ld", "atom") else (given[0], given[1])
        found = re.fullmatch(r"\[([^\]+]+)(?:\+(-?\d+))?\]", first)
        assert found is not None, first
        if suffixes[0] == "param":
            offset = f"(const u8*)args[{self.parameters[found[1]]}] + {found[2] or 0}"
            return self._put(second, f"load<{C_TYPES[kind]}>((u64)({offset}))")
        registers = [one.strip() for one in second.strip("{}").split(",")]
        size, of_global = size_of(kind), "global" in suffixes and found[1] not in self.arrays
        how = "CONSTANT" if "nc" in suffixes else "READ" if op == "ld" else "WRITE"
        check = (
            f"check_global(p, {size * len(registers)}, {how})"
            if of_global
            else f"check_aligned(p, {size * len(registers)})"
        )
        done = [f"u64 p = {self.value(found[1], 'u64')} + {found[2] or 0}", check]
        if op in ("atom", "red"):
            form = next(known.ATOMICS[suffix] for suffix in suffixes if suffix in known.ATOMICS)
            done.append(f"emu_atomic((void*)p); {C_TYPES[kind]} value = {self.value(given[-1], kind)}")
            done.append(f"{C_TYPES[kind]} old = load<{C_TYPES[kind]}>(p); store<{C_TYPES[kind]}>(p, {form})")
            return "; ".join([*done, *([self._put(given[0], "old")] if op == "atom" else [])])
        # The address may be in a register that is loaded: all are written at the end.
        for number, one in enumerate(registers):
            at = f"p + {number * size}"
            done.append(
                f"{C_TYPES[kind]} v{number} = load<{C_TYPES[kind]}>({at})"
                if op == "ld"
                else f"store<{C_TYPES[kind]}>({at}, {self.value(one, kind)})"
            )
        return "; ".join([*done, *(self._put(r, f"v{n}") for n, r in enumerate(registers) if op == "ld")])

    def _mov(self, kind: str, given: Sequence[str]) -> str:
        if "{" not in "".join(given):
            return self._put(given[0], self.value(given[1], kind))
        packed, vector = (given[0], given[1]) if given[1][0] == "{" else (given[1], given[0])
        pieces = [one.strip() for one in vector.strip("{}").split(",")]
        each = 8 * size_of(kind) // len(pieces)
        if vector is given[1]:
            whole = " | ".join(f"(u64){self.value(one, f'u{each}')} << {k * each}" for k, one in enumerate(pieces))
            return self._put(packed, f"({C_TYPES[kind]})({whole})")
        whole = f"u64 w = {self.value(packed, f'u{8 * size_of(kind)}')}"
        return "; ".join([whole, *(self._put(one, f"(u{each})(w >> {k * each})") for k, one in enumerate(pieces))])

    def _compared(self, how: str, kind: str, a: str, b: str) -> str:
        x, y = self.value(a, kind), self.value(b, kind)
        both = f"{x} == {x} && {y} == {y}"
        if how in ("num", "nan"):
            return f"{'!' if how == 'nan' else ''}({both})"
        base = known.UNSIGNED.get(how, how[:2])
        compared = f"{x} {known.COMPARISONS[base]} {y}"
        if kind[0] != "f" or how in known.UNSIGNED:
            return compared
        return f"!({both}) || {compared}" if how.endswith("u") and len(how) == 3 else f"({both}) && {compared}"

    def _converted(self, suffixes: Sequence[str], operand: str) -> str:
        *how, to, of = suffixes
        special = {("f16", "f32"): "half_of", ("f32", "f16"): "float_of", ("tf32", "f32"): "tf32_of"}
        value = self.value(operand, of)
        if (to, of) in special:
            return f"{special[to, of]}({value})"
        for name in how:
            if name == "sat" and to != "f32":
                raise ValueError("saturation of integers")
            value = f"{'saturated' if name == 'sat' else known.ROUNDED.get(name, '')}({value})"
        if of[0] == "f" and to[0] != "f":
            return f"integer<{C_TYPES[to]}>({value})"
        return f"({C_TYPES[to]}){value}"

    def _of_warps(self, name: str, suffixes: Sequence[str], given: Sequence[str]) -> str:
        if name == "bar.warp.sync":
            return f"__syncwarp({self.value(given[0], 'u32')})"
        if name == "vote.sync.ballot.b32":
            return self._put(given[0], f"__ballot_sync({self.value(given[2], 'u32')}, {self._predicate(given[1])})")
        mode = next(one for one in known.SHUFFLES if one in suffixes).upper()
        values = ", ".join(self.value(one, "u32") for one in given[1:5])
        return self._put(given[0].split("|")[0], f"shuffled({mode}, {values})")

    def _of_tensor_cores(self, suffixes: Sequence[str], given: Sequence[str]) -> str:
        k = 8 if "m16n16k8" in suffixes else 16
        if suffixes[0] == "mma":
            kind, sums = ("s8", "s32") if "s8" in suffixes else ("f32" if "tf32" in suffixes else "_Float16", "f32")
            names = ["d", "a", "b", "c"]
            fragments = [self._fragment(name, one) for name, one in zip(names, given, strict=True)]
            return "; ".join([*fragments, f"wmma_mma<{kind}, {sums}, {k}>(d, a, b, c)", self._unpacked("d", given[0])])
        by_column = str(int("col" in suffixes))
        vector, at = (given[1], given[0]) if suffixes[0] == "store" else (given[0], given[1])
        address = f"{self.value(at.strip('[]').partition('+')[0], 'u64')} + {at.strip('[]').partition('+')[2] or 0}"
        where = f"f, {address}, {self.value(given[2], 'u32')}, {by_column}"
        if suffixes[0] == "store":
            return f"{self._fragment('f', vector)}; wmma_store({where})"
        kind = {"s8": "s8", "f16": "_Float16", "tf32": "f32"}.get(suffixes[-1], "u32")
        shape = {"a": f"16, {k}", "b": f"{k}, 16", "c": "16, 16"}[suffixes[1]]
        return f"{self._fragment('f', vector)}; wmma_load<{kind}, {shape}>({where}); {self._unpacked('f', vector)}"

    def _fragment(self, name: str, vector: str) -> str:
        """A declaration of a fragment with the values of its registers."""
        values = [self.value(one.strip(), "b32") for one in vector.strip("{}").split(",")]
        return f"u32 {name}[{len(values)}] = {{{', '.join(values)}}}"

    def _unpacked(self, name: str, vector: str) -> str:
        registers = [one.strip() for one in vector.strip("{}").split(",")]
        return "; ".join(self._put(one, f"{name}[{number}]") for number, one in enumerate(registers))
