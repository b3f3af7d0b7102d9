"""What the subcommands share: opening a model with delegates."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table

import tflgpu
from tflgpu.delegation.delegate import CompilesKernels
from tflgpu.limits import UNTRUSTED, read_limits
from tflgpu.model.graph import Array
from tflgpu.optional import offering
from tflgpu.runtime.session import Observer

WIDE = 100_000
"""The width of what is no terminal, unless COLUMNS says another: nothing is folded in what programs read."""


def _width(stream: Any) -> int | None:
    return None if stream.isatty() or os.environ.get("COLUMNS") else WIDE


# Without markup: texts of models and delegates may look like it.
console = Console(markup=False, emoji=False, width=_width(sys.stdout))
errors = Console(stderr=True, markup=False, emoji=False, width=_width(sys.stderr))


def columns(*names: str, title: str | None = None) -> Table:
    """A table that folds its cells where the terminal is narrow, and never cuts them."""
    return Table(*(Column(name, overflow="fold") for name in names), title=title, title_justify="left")


ModelPath = Annotated[Path, typer.Argument(help="The .tflite file.", exists=True, dir_okay=False)]
Delegates = Annotated[
    list[str] | None,
    typer.Option("--delegate", "-d", metavar="NAME", help="opencl, cuda, an entry point or a library; repeatable."),
]
DelegateOptions = Annotated[
    list[str] | None,
    typer.Option("--delegate-option", "-o", metavar="KEY=VALUE", help="For the delegates; repeatable."),
]
Threads = Annotated[
    int | None,
    typer.Option("--num-threads", "--num_threads", help="Of matrix multiplies on the CPU; 1 unless given."),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", "-s", metavar="NAME=1,224,224,3", help="The shape of an input; repeatable."),
]
LimitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=NUMBER",
        help="What the model may use, or NAME=none: memory_bytes, seconds (a call), loop_iterations "
        "(a call), tensor_elements; repeatable.",
    ),
]

Command = TypeVar("Command", bound=Callable[..., Any])


def plain_errors(command: Command) -> Command:
    """The command, its expected errors printed as one message with exit status 1."""

    @functools.wraps(command)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except typer.Exit:  # also a RuntimeError, but not an error
            raise
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            errors.print("error:", style="bold red", end=" ")
            errors.print(str(error).strip() or type(error).__name__, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error

    return wrapper  # type: ignore[return-value]


def key_values(pairs: Iterable[str] | None, what: str) -> dict[str, str]:
    """key=value pairs as a dict. Raises ValueError for one without an equals sign."""
    found = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not sign:
            raise ValueError(f"{what} takes key=value, not {pair!r}")
        found[key] = value
    return found


def loaded(names: Sequence[str] | None, options: Iterable[str] | None) -> list[tflgpu.Delegate]:
    """The delegates by name, all with the same options."""
    values = key_values(options, "--delegate-option")
    if values and not names:
        raise ValueError("--delegate-option is for a delegate: name one with --delegate")
    delegates = [tflgpu.load_delegate(name, values) for name in names or ()]
    if errors.is_terminal:
        for delegate in offering(delegates, CompilesKernels):
            delegate.watch_kernels(show_kernels)
    return delegates


def show_kernels(done: int, of: int) -> None:
    """Writes over the terminal's line which kernel is being compiled; clears it after the last."""
    text = f"compiling kernels {done + 1} of {of}" if done < of else ""
    errors.print(f"{text:40}", end="\r", highlight=False)


def opened(
    model: Path,
    delegates: Sequence[tflgpu.Delegate] = (),
    threads: int | None = None,
    observe: Observer | None = None,
    preserve_all_tensors: bool = False,
    limit: Iterable[str] | None = None,
) -> tflgpu.Interpreter:
    """An interpreter of the model, not yet allocated, within the limits for untrusted files but for those given."""
    return tflgpu.Interpreter(
        model_path=model,
        experimental_delegates=list(delegates),
        num_threads=threads,
        experimental_preserve_all_tensors=preserve_all_tensors,
        limits=read_limits(key_values(limit, "--limit"), UNTRUSTED),
        _observe=observe,
    )


def reshaped(interpreter: Any, shapes: Iterable[str] | None) -> None:
    """Gives inputs the shapes of --shape. Raises ValueError for an unknown name or an invalid shape."""
    indices = {d["name"]: d["index"] for d in interpreter.get_input_details()}
    for name, shape in key_values(shapes, "--shape").items():
        if name not in indices:
            raise ValueError(f"--shape: no input {name!r}; the inputs are {list(indices)}")
        interpreter.resize_tensor_input(indices[name], sizes(shape, "--shape"))


def sizes(text: str, what: str) -> list[int]:
    """The shape that a text such as 1,224,224,3 says. Raises ValueError for any other."""
    try:
        return [int(d) for d in text.split(",") if d]
    except ValueError:
        raise ValueError(f"{what} takes sizes such as 1,224,224,3, not {text!r}") from None


def outputs_of(interpreter: Any) -> dict[str, Array]:
    """Name -> value of every output; one whose name is taken gets its number appended."""
    found: dict[str, Array] = {}
    for number, d in enumerate(interpreter.get_output_details()):
        found[f"{d['name']}#{number}" if d["name"] in found else d["name"]] = interpreter.get_tensor(d["index"])
    return found


def quantity(nbytes: float) -> str:
    """Bytes in a unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"
