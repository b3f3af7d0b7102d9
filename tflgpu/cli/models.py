"""What the subcommands share: opening a model with delegates, and inputs for it from files or at random."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import typer
from rich.console import Console

import tflgpu
from tflgpu.limits import UNTRUSTED, read_limits
from tflgpu.memory import nbytes
from tflgpu.model.graph import Array
from tflgpu.runtime.session import Observer
from tflgpu.serving.images import SUFFIXES, read_image
from tflgpu.values import at_random

# Without markup: texts of models and delegates may look like it.
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)

ModelPath = Annotated[Path, typer.Argument(help="The .tflite file.", exists=True, dir_okay=False)]
Delegates = Annotated[
    list[str] | None, typer.Option("--delegate", "-d", help="opencl, cuda, an entry point or a library; repeatable.")
]
DelegateOptions = Annotated[
    list[str] | None, typer.Option("--delegate-option", "-o", help="key=value for the delegates; repeatable.")
]
Threads = Annotated[
    int | None,
    typer.Option("--num-threads", "--num_threads", help="Of matrix multiplies on the CPU; 1 unless given."),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="FILE or NAME=FILE: .npy, .npz, an image, or raw bytes; repeatable, in order."),
]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", "-s", help="NAME=1,224,224,3: the shape of an input; repeatable.")
]
LimitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="NAME=NUMBER or NAME=none, of what the model may use: memory_bytes, seconds (a call), loop_iterations "
        "(a call), tensor_elements; repeatable.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random inputs that stand in for those not given.")]

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
    return [tflgpu.load_delegate(name, values) for name in names or ()]


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


def inputs_for(interpreter: Any, given: Sequence[str] | None, seed: int, ranges: Mapping[str, Any] = {}) -> list[Array]:
    """One array an input, in order: from the files given, by position or name, and random where none is."""
    details = interpreter.get_input_details()
    names = [d["name"] for d in details]
    files: dict[str, Path] = {}
    for position, text in enumerate(given or ()):
        name, sign, path = text.partition("=")
        if not sign or (name not in names and Path(text).exists()):
            if position >= len(details):
                raise ValueError(f"the inputs of the model are {names}; {text!r} is one too many")
            name, path = names[position], text
        files[name] = Path(path)
    unknown = (set(files) | set(ranges)) - set(names)
    if unknown:
        raise ValueError(f"no input {', '.join(sorted(unknown))}; the inputs are {names}")
    if isinstance(interpreter, tflgpu.Interpreter):
        graph = interpreter._graphs[0]
        interpreter._meter.admit(graph.inputs)
        interpreter._meter.reserve(sum(map(nbytes, graph.inputs)), "what the model's inputs hold")
    generator = np.random.default_rng(seed)
    return [
        from_file(files[d["name"]], d) if d["name"] in files else at_random(d, generator, ranges.get(d["name"]))
        for d in details
    ]


def from_file(path: Path, details: Mapping[str, Any]) -> Array:
    """An input's value: .npy; .npz, by the input's name or its only array; an image, scaled; or raw bytes.

    Raises ValueError, naming the input and the file, for what cannot be read.
    """
    try:
        return _read(path, details)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        takes = f"{np.dtype(details['dtype']).name} {list(map(int, details['shape']))}"
        raise ValueError(f"input {details['name']!r}, which takes {takes}, from {path}: {error}") from error


def _read(path: Path, details: Mapping[str, Any]) -> Array:
    if path.suffix in (".npy", ".npz"):
        with path.open("rb") as file:
            if file.read(4) not in (b"\x93NUM", b"PK\3\4", b"PK\5\6"):
                raise ValueError("not a file that NumPy has saved")
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            if details["name"] not in arrays.files and len(arrays.files) != 1:
                raise ValueError(f"has {arrays.files or 'no arrays'}, none of that name")
            return np.asarray(arrays[details["name"] if details["name"] in arrays.files else arrays.files[0]])
    if path.suffix.lower() in SUFFIXES:
        shape = tuple(int(d) for d in details["shape"])
        return read_image(path, shape, details["dtype"], details["quantization"])
    content = path.read_bytes()
    wanted = int(np.prod(details["shape"], dtype=np.int64)) * np.dtype(details["dtype"]).itemsize
    if len(content) != wanted:
        raise ValueError(f"raw bytes must be {wanted}, are {len(content)}")
    return np.frombuffer(content, details["dtype"]).reshape(details["shape"])


def feed(interpreter: Any, arrays: Sequence[Array]) -> None:
    """Resizes where shapes differ, allocates, and sets the inputs."""
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        if tuple(details["shape"]) != array.shape:
            interpreter.resize_tensor_input(details["index"], array.shape)
    interpreter.allocate_tensors()
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(details["index"], array)


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
