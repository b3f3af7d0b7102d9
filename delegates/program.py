"""The text of the program that a launch's kernel is compiled from, in a dialect."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tflgpu.delegates.launch import Launch

SHARED = files("tflgpu.delegates.kernels")
"""What every dialect compiles, with the words of its prelude."""


@dataclass(frozen=True)
class Dialect:
    """Where a device's own kernels are: the package, the suffix of its files, and the file that comes before all.

    vectors: the file that comes next in programs that define VW, the lanes of a vector; "" for none. types: the one
    before types.h, in programs that define TYPES.
    """

    package: str
    suffix: str
    prelude: str
    vectors: str = ""
    types: str = ""


def kernel_file(launch: Launch, dialect: Dialect) -> str:
    """The text that has the launch's kernel, with those of the dialect's files that it includes."""
    folder, shared = files(dialect.package), SHARED / f"{launch.stem}.h"
    text = launch.texts.get(dialect.suffix)
    if not text:
        text = (shared if shared.is_file() else folder.joinpath(f"{launch.stem}.{dialect.suffix}")).read_text()
    return "\n".join(_included(line, folder) for line in text.split("\n"))


def _included(line: str, folder: Any) -> str:
    """The file that a line includes, of those beside the kernel's; any other line as it is."""
    word, _, name = line.partition(' "')
    return folder.joinpath(name.rstrip('"')).read_text() if word == "#include" and name else line


def needs_types(launch: Launch) -> bool:
    """Whether its program has the dialect's file of types."""
    return "TYPES" in launch.defines


def source(launch: Launch, dialect: Dialect) -> str:
    """The complete program text: the launch's defines, prelude, shared.h, vectors, the kernel file."""
    folder = files(dialect.package)
    defines = [f"#define {key} {value}" for key, value in sorted(launch.defines.items())]
    typed = dialect.types and needs_types(launch)
    return "\n".join(
        [
            *defines,
            folder.joinpath(dialect.prelude).read_text(),
            (SHARED / "shared.h").read_text(),
            *([folder.joinpath(dialect.types).read_text(), (SHARED / "types.h").read_text()] if typed else []),
            *([folder.joinpath(dialect.vectors).read_text()] if dialect.vectors and launch.vectors else []),
            kernel_file(launch, dialect),
        ]
    )


def numbered(text: str) -> str:
    """The text with line numbers, for a compiler's complaint."""
    return "\n".join(f"{number:4} {line}" for number, line in enumerate(text.splitlines(), 1))
