"""Launches that run one after another in one launch of one block: what each costs to start is then paid once.

Each constituent's kernel becomes a function of the work-item's number, under its own defines, and its work-items are
shared out among the WIDTH of the block, which meet at a barrier behind each. A CPU's compiler makes vectors of them.
Scalars become literals; a Loop becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import (
    LIBRARY,
    Argument,
    Dialect,
    Fault,
    Launch,
    Loop,
    Ref,
    Turn,
    kernel_file,
    launches_of,
    needs_types,
)
from tflgpu.delegates.lowering.registry import c_float
from tflgpu.delegates.preprocess import active_lines

MAX_BUFFERS = 96
"""Pointers that a kernel may have: PoCL takes 1024 bytes of arguments."""

Step = Launch | Loop


def width(limits: DeviceLimits) -> int:
    """Work-items in a sequence's block. On a CPU a few vectors' worth, by measurement: from 16 to 256 makes no odds."""
    return 64 if limits.cpu else limits.max_block


@dataclass(frozen=True)
class _Words:
    """How a dialect's kernels begin, number their work-items, and have memory of a block."""

    kernel: str
    item: str
    row: str
    partial: str
    partial_type: str
    header: str


_DIALECTS = {
    "cl": _Words(
        r"\b(?:KERNEL|kernel void) (\w+)\(",
        r"\bGLOBAL_ID\b|get_global_id\(0\)",
        r"\bGROUP_ID\b|get_group_id\(0\)",
        r"\b(?:LOCAL|local) f32 partial\[WIDTH\];",
        "local f32*",
        "sequence.clh",
    ),
    "cu": _Words(
        r'(?:\bKERNEL|extern "C" __global__ void) (\w+)\(',
        r"\bGLOBAL_ID\b|blockIdx\.x \* blockDim\.x \+ threadIdx\.x",
        r"\bGROUP_ID\b|blockIdx\.x\b",
        r"\b(?:LOCAL|__shared__) f32 partial\[WIDTH(?: / 32)?\];",
        "f32*",
        "sequence.cuh",
    ),
}
_ALONE = re.compile(
    r"\b(?:GLOBAL_ID|LOCAL_ID|GROUP_ID|LOCAL|BARRIER|get_\w+|barrier|local|atomic\w*|v(?:load|store)\d+|\w*(?:float|int|char|short|long|double)(?:2|4|8|16)\b|"
    r"blockIdx|threadIdx|blockDim|__shared__|__shfl\w*|__sync\w+|atomic\w+|__launch_bounds__|asm)\b"
)
"""What a kernel that runs as a stage of a sequence does not say, its rows' own places and sums aside."""


@dataclass(frozen=True)
class _Function:
    """A kernel's file as functions. rows: the whole block makes one row after another."""

    text: str
    names: tuple[str, ...]
    macros: tuple[str, ...]
    rows: bool


def fits(launch: Launch, dialect: Dialect, limits: DeviceLimits) -> bool:
    """Whether the launch can be a stage of a sequence: no vectors, no memory of its block, one dimension."""
    plain = limits.inner_barriers and len(launch.threads) == 1 and "VW" not in launch.defines and launch.stem != LIBRARY
    return plain and not needs_types(launch) and _function_of(launch, dialect, limits) is not None


def _function_of(launch: Launch, dialect: Dialect, limits: DeviceLimits) -> _Function | None:
    defines = tuple(sorted((name, str(value)) for name, value in launch.defines.items()))
    return _function(kernel_file(launch, dialect), defines, dialect.suffix, width(limits))


@lru_cache(maxsize=512)
def _function(text: str, defines: tuple[tuple[str, str], ...], suffix: str, width: int) -> _Function | None:
    """width: of a block, all of which makes one row after another in kernels of which a block makes one."""
    words, known = _DIALECTS[suffix], dict(defines)
    rows = "WIDTH" in known and re.search(words.partial, text) is not None
    if rows:
        known["WIDTH"] = str(width)
        known.pop("LANES", None)
    try:
        lines = active_lines(text, known)
    except ValueError:
        return None
    body = "\n".join(line for line in lines if not line.lstrip().startswith("//") and line.strip())
    names = re.findall(words.kernel, body)
    helpers = re.findall(r"^FN [\w ]+?\**\s*\**(\w+)\(", body, re.M)
    body = re.sub(r"\b(?:RESTRICT|__restrict__|restrict) ", "", body)
    first = "i32 item_, "
    if rows:
        body = re.sub(words.row, "item_", re.sub(words.partial, "", body))
        body = re.sub(r"\bLOCAL_ID\b|get_local_id\(0\)|threadIdx\.x", "ME", body)
    else:
        body = re.sub(words.item, "item_", body)
    body = re.sub(r"\bWIDTH\b", known.get("WIDTH", ""), body)
    if not names or _ALONE.search(" ".join([body, *known.values()])):
        return None
    if rows:
        first += f"{words.partial_type} partial, "
    body = re.sub(words.kernel, rf"FN void \1({first}", body)
    macros = re.findall(r"^\s*#\s*define (\w+)", body, re.M)
    return _Function(body, (*names, *helpers), tuple(macros), rows)


@dataclass(eq=False)
class _Program:
    dialect: Dialect
    limits: DeviceLimits
    buffers: dict[object, Argument] = field(default_factory=dict)
    functions: dict[tuple[str, tuple[tuple[str, str], ...]], str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def name(self, launch: Launch, made: _Function) -> str:
        """The launch's function, which is written once for all launches that have the same."""
        defines = {k: str(v) for k, v in launch.defines.items() if k not in ("WIDTH", "LANES")}
        key = made.text, tuple(sorted(defines.items()))
        if key not in self.functions:
            suffix = f"_{len(self.functions)}"
            self.functions[key] = suffix
            macros = [name.split("(")[0] for name in defines] + list(made.macros)
            self.texts += [f"#define {name} {value}" for name, value in key[1]]
            self.texts += [f"#define {name} {name}{suffix}" for name in made.names]
            self.texts.append(made.text)
            self.texts += [f"#undef {name}" for name in (*made.names, *macros)]
        return launch.name + self.functions[key]

    def argument(self, value: Argument, turn: str) -> str:
        if isinstance(value, Turn):
            return f"({value.start} + {value.stride} * {turn})"
        if isinstance(value, np.generic):
            return literal(value)
        if identity(value) not in self.buffers:
            self.buffers[identity(value)] = value
        return f"UNTYPED(p{list(self.buffers).index(identity(value))})"

    def stages(self, steps: Iterable[Step], depth: int = 0) -> list[str]:
        out: list[str] = []
        for step in steps:
            if isinstance(step, Loop):
                out += self.loop(step, depth)
            else:
                for launch in step.sequence:
                    out += self.stage(launch, f"turn{depth - 1}")
        return out

    def loop(self, loop: Loop, depth: int) -> list[str]:
        turn = f"turn{depth}"
        steps = self.stages(loop.steps, depth + 1)
        if loop.test is None:
            return [f"for (i32 {turn} = 0; {turn} < {loop.turns}; {turn}++) {{", *steps, "}"]
        before = self.stages(loop.before, depth + 1)
        tests = [f"*(IN(u8)){self.argument(loop.test, '')}"]
        # What is computed from inputs found wrong may never end the loop.
        faults = dict.fromkeys(a for launch in loop.launches() for a in launch.args if isinstance(a, Fault))
        tests += [f"!*(IN(i32)){self.argument(fault, '')}" for fault in faults]
        test = " && ".join(tests)
        # Nobody makes the next test before all have read this one.
        return [*before, f"for (i32 {turn} = 0; {test}; {turn}++) {{", "TOGETHER;", *steps, *before, "}"]

    def stage(self, launch: Launch, turn: str) -> list[str]:
        if 0 in launch.threads:
            return []
        made = _function_of(launch, self.dialect, self.limits)
        assert made is not None, launch.kernel
        given = ", ".join(self.argument(a, turn) for a in launch.args)
        name = self.name(launch, made)
        if made.rows:
            call = f"for (i32 row = 0; row < {launch.grid[0]}; row++) {name}(row, partial, {given});"
        else:
            call = f"for (i32 item = ME; item < {launch.threads[0]}; item += WIDTH) {name}(item, {given});"
        return [call, "TOGETHER;"]


def identity(buffer: Argument) -> object:
    """What two arguments that are the same buffer have in common."""
    return buffer if isinstance(buffer, Ref) else id(buffer)


def buffers(steps: Iterable[Step]) -> set[object]:
    """The identities of all buffers that the steps use."""
    arguments = (a for launch in launches_of(steps) for a in launch.args)
    return {identity(a) for a in arguments if not isinstance(a, np.generic | Turn)}


def literal(value: Any) -> str:
    """A kernel's scalar argument, a NumPy scalar, as C."""
    if value.dtype == np.float32:
        return c_float(float(value))
    if value.dtype.kind == "f":
        return f"({float(value).hex()})"
    number = int(value)
    if -(2**31) < number < 2**31:
        return f"({number})"
    if number == -(2**31):
        return "(-2147483647 - 1)"
    return f"((i64)((u64){number >> 32 & 0xFFFFFFFF}u << 32 | {number & 0xFFFFFFFF}u))"


def composed(steps: Sequence[Step], dialect: Dialect, limits: DeviceLimits) -> Launch:
    """The steps, all of which fit, as one launch."""
    program = _Program(dialect, limits)
    body = program.stages(steps)
    words, block = _DIALECTS[dialect.suffix], width(limits)
    text = [
        files(dialect.package).joinpath(words.header).read_text(),
        *program.texts,
        f"BLOCK sequence({', '.join(f'BUFFER p{k}' for k in range(len(program.buffers)))}) {{",
        "SHARED_FLOATS(partial);",
        *body,
        "}",
    ]
    texts = {dialect.suffix: "\n".join(text)}
    return Launch("sequence.sequence", tuple(program.buffers.values()), (block,), (block,), {"WIDTH": block}, texts)


MOST_STAGES = 48
"""Launches of one sequence: the compiler takes the longer, the more there are."""


def in_sequences(groups: list[list[Any]], small: Callable[[int, Launch], bool]) -> None:
    """Puts a Loop of one turn in place of launches that follow one another, in place; None is left where they were.

    groups: the launches of each node. small: whether one, of the node of that number, is worth less than its start.
    """
    run: list[tuple[int, int, Launch]] = []
    used: set[object] = set()

    def close() -> None:
        if len(run) > 1:
            for g, s, _ in run:
                groups[g][s] = None
            g, s, _ = run[-1]
            groups[g][s] = Loop(tuple(launch for _, _, launch in run), 1)
        run.clear()
        used.clear()

    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if isinstance(step, Launch) and small(g, step):
                more = buffers([step])
                if len(run) == MOST_STAGES or len(used | more) > MAX_BUFFERS:
                    close()
                run.append((g, s, step))
                used.update(more)
            elif isinstance(step, Launch | Loop):
                close()
    close()
