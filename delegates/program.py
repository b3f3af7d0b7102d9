"""The text of the program that a launch's kernel is compiled from, in a dialect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tflgpu.delegates.launch import Launch

_SHARED = "tflgpu.delegates.kernels"
SHARED = files(_SHARED)
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
    text = launch.texts.get(dialect.suffix)
    return _with_includes(text, dialect.package) if text else _of_stem(launch.stem, dialect)


@cache
def _of_stem(stem: str, dialect: Dialect) -> str:
    shared = SHARED / f"{stem}.h"
    text = shared.read_text() if shared.is_file() else file_text(dialect.package, f"{stem}.{dialect.suffix}")
    return _with_includes(text, dialect.package)


def _with_includes(text: str, package: str) -> str:
    if "#include" not in text:
        return text
    return "\n".join(_included(line, package) for line in text.split("\n"))


def _included(line: str, package: str) -> str:
    """The file that a line includes, a shared .inc or one of the dialect's; any other line as it is."""
    word, _, rest = line.partition(' "')
    name = rest.rstrip('"')
    if word != "#include" or not name:
        return line
    return file_text(_SHARED if name.endswith(".inc") else package, name)


@cache
def file_text(package: str, name: str) -> str:
    """A file of a package of kernels."""
    return files(package).joinpath(name).read_text()


def needs_types(launch: Launch) -> bool:
    """Whether its program has the dialect's file of types."""
    return "TYPES" in launch.defines


def source(launch: Launch, dialect: Dialect) -> str:
    """The complete program text: the launch's defines, prelude, shared.h, vectors, the kernel file."""
    defines = [f"#define {key} {value}" for key, value in sorted(launch.defines.items())]
    typed = dialect.types and needs_types(launch)
    return "\n".join(
        [
            *defines,
            file_text(dialect.package, dialect.prelude),
            file_text(_SHARED, "shared.h"),
            *([file_text(dialect.package, dialect.types), file_text(_SHARED, "types.h")] if typed else []),
            *([file_text(dialect.package, dialect.vectors)] if dialect.vectors and launch.vectors else []),
            kernel_file(launch, dialect),
        ]
    )


def numbered(text: str) -> str:
    """The text with line numbers, for a compiler's complaint."""
    return "\n".join(f"{number:4} {line}" for number, line in enumerate(text.splitlines(), 1))
