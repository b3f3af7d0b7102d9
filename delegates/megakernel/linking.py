"""Kernels as functions of one larger program, each under the macros of its launch and with names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from tflgpu.delegates.launch import Launch
from tflgpu.delegates.program import Dialect, file_text, kernel_file

KERNEL = {"cl": ("KERNEL ", "kernel void "), "cu": ("KERNEL ", 'extern "C" __global__ void ')}
"""What the first line of a kernel begins with, by the suffix of a dialect."""

INLINED, CALLED = "FN ", "__attribute__((noinline)) void "
"""What the first line of another function begins with."""


@dataclass(frozen=True)
class Names:
    """The functions and macros that a kernel file defines, under any macros."""

    functions: tuple[str, ...]
    macros: tuple[str, ...]


@lru_cache(maxsize=256)
def names_of(text: str, suffix: str) -> Names:
    """The names that a kernel file defines, by how its lines begin."""
    functions: dict[str, None] = {}
    macros: dict[str, None] = {}
    for line in text.splitlines():
        for start in (*KERNEL[suffix], INLINED, CALLED):
            if line.startswith(start):
                functions[line.removeprefix(start).partition("(")[0].split()[-1].lstrip("*")] = None
        if line.lstrip().startswith("#define "):
            macros[_macro(line.partition("#define ")[2])] = None
    return Names(tuple(functions), tuple(macros))


def _macro(definition: str) -> str:
    return definition.split()[0].partition("(")[0]


@dataclass(eq=False)
class Functions:
    """The functions that a program calls, each written once for all launches that have the same.

    width: WIDTH in the program. singles: whether it may have what is of single work-items, with the dialect's vectors.
    """

    dialect: Dialect
    width: int
    singles: bool = False
    texts: list[str] = field(default_factory=list)
    _known: dict[tuple[str, tuple[tuple[str, str], ...]], str] = field(default_factory=dict)

    def of_rows(self, launch: Launch) -> bool:
        """Whether all work-items of a block make a row in the launch's function."""
        return launch.stage == "rows" and not self._single(launch)

    def name(self, launch: Launch) -> str:
        """The launch's function. It takes the number of a work-item, or that of a row and the block's memory, first."""
        text, of_blocks = kernel_file(launch, self.dialect), ("WIDTH", "LANES") if self.of_rows(launch) else ()
        defines = {name: str(value) for name, value in sorted(launch.defines.items()) if name not in of_blocks}
        key = text, tuple(defines.items())
        if key not in self._known:
            self._known[key] = suffix = f"_{len(self._known)}"
            self.texts += self._text(launch, text, defines, suffix)
        return launch.name + self._known[key]

    def _single(self, launch: Launch) -> bool:
        return self.singles and launch.single

    def _text(self, launch: Launch, text: str, defines: Mapping[str, str], suffix: str) -> list[str]:
        single, rows = self._single(launch), self.of_rows(launch)
        if single and launch.vectors:
            text = f"{file_text(self.dialect.package, self.dialect.vectors)}\n{text}"
        names = names_of(text, self.dialect.suffix)
        begins = CALLED if single else f"{INLINED}void "
        first = "i32 item_, IN_LOCAL(f32) partial" if rows else "i32 item_"
        text = "\n" + text.replace("ONE_WORK_ITEM\n", "")
        for name in names.functions:
            for start in KERNEL[self.dialect.suffix]:
                text = text.replace(f"\n{start}{name}(", f"\n{begins}{name}({first}, ")
        return [
            *([] if rows else ["#undef WIDTH"]),
            *(f"#define {name} {value}" for name, value in defines.items()),
            *(f"#define {name} {name}{suffix}" for name in names.functions),
            text,
            *(f"#undef {name}" for name in (*names.functions, *map(_macro, defines), *names.macros)),
            *([] if rows else ["#undef WIDTH", f"#define WIDTH {self.width}"]),
        ]
