"""What a delegate must be, the limits that a user sets to what it takes, and how one is found by its name."""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from tflgpu.delegation.forks import ForkedError
from tflgpu.model.graph import Node

if TYPE_CHECKING:
    from tflgpu.delegation.partitioner import Part
    from tflgpu.memory import Tensor

ENTRY_POINTS = "tflgpu.delegates"
"""The entry-point group in which a package offers a delegate: name -> load(options) -> Delegate."""

BUILT_IN: Mapping[str, str] = {
    "cuda": "tflgpu.delegates.cuda.delegate:load",
    "opencl": "tflgpu.delegates.opencl.device:load",
}
EXTRAS: Mapping[str, str] = {"cuda": "cuda12", "opencl": "opencl"}
"""What brings the Python packages that a delegate needs."""
NATIVE = "tflgpu.delegates.abi:load"
"""What loads a native library that exports tflite_plugin_create_delegate: load(path, options) -> Delegate."""
BORROW = "tflgpu.delegates.abi:borrow"
"""What makes a Delegate of an object that has _get_native_delegate_pointer, such as those of TensorFlow Lite."""
GUEST = "tflgpu.delegates.abi:as_guest"
"""What makes of a Delegate one for TensorFlow Lite's own interpreters."""


class Unsupported(Exception):
    """A delegate does not take a node. The text is the reason, as the report prints it."""


@dataclass(frozen=True)
class Limits:
    """What a user lets a delegate take. An empty set of names or numbers means no limit by it.

    max_parts: the largest this many parts are taken; 0 for any number.
    min_nodes: a part of fewer nodes stays on the CPU; None leaves that to the cost model of partitioner.py.
    require_full: a node that stays on the CPU is an error.
    """

    max_parts: int = 0
    min_nodes: int | None = None
    only_ops: frozenset[str] = frozenset()
    skip_ops: frozenset[str] = frozenset()
    only_nodes: frozenset[int] = frozenset()
    skip_nodes: frozenset[int] = frozenset()
    require_full: bool = False

    def check(self, node: Node) -> None:
        """Raises Unsupported where these limits exclude the node."""
        if node.op in self.skip_ops or (self.only_ops and node.op not in self.only_ops):
            raise Unsupported(f"the options leave {node.op} to the CPU")
        if node.index in self.skip_nodes or (self.only_nodes and node.index not in self.only_nodes):
            raise Unsupported(f"the options leave node {node.index} to the CPU")


class Delegate(Protocol):
    """Takes parts of a graph. One instance may serve several interpreters, one after another."""

    name: str
    limits: Limits

    def check(self, node: Node) -> None:
        """Raises Unsupported, saying why, where the delegate cannot run the node. Called before any compile."""

    def compile(self, part: Part, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        """The part as a callable that reads part.inputs and writes part.outputs among tensors.

        tensors: by index, the part's inputs that are not constants and its outputs. Everything else a part touches is
        the delegate's own. The callable takes its inputs with tensor.read(place) and gives its outputs with
        tensor.write(place); place is "host" or an object with allocate, upload and download.
        """

    # What a delegate may have besides, and native libraries do:
    #   attach(model, threads) -> Delegate   what serves one interpreter in its place, for state of that interpreter
    #   claim(graph) -> groups of nodes      its own choice in place of check and the cost model; a group is a part
    #   stand_ins                            operators by custom name that only this delegate can run
    #   one_plan                             whether it is compiled for one set of input shapes at a time
    #   static_only                          whether it refuses graphs with shapes that only running tells
    #   host_array(shape, dtype)             memory that it copies best
    #   keeps_variables                      whether it runs READ_VARIABLE and ASSIGN_VARIABLE, whose input 0 it sees as
    #                                        the variable itself: a memory.Variable among the tensors of compile


def load_delegate(library: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Delegate:
    """A delegate by name ("opencl", "cuda", an installed entry point), or a native library by its path or its name.

    Ours and native ones can be pickled, as what was asked for here, and are loaded anew where they are unpickled.
    Raises OSError where there is none of that name, ValueError for an option that it does not know or cannot use, or
    where it cannot be created, ForkedError where its runtime was opened before this process was forked.
    """
    name, options = os.fspath(library), dict(options or {})
    found = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
    if found:
        load = found[0].load()
    elif name in BUILT_IN:
        load = _built_in(name)
    else:
        path = _opened(name)
        return _created(path, options, lambda: named(NATIVE)(path, options))
    return _created(name, options, lambda: load(options))


LoadedAs = tuple[str, Mapping[str, Any]]
"""What load_delegate was called with."""


def load_again(delegate: Any) -> tuple[Callable[..., Delegate], LoadedAs]:
    """What pickle keeps of a delegate. Raises TypeError where it was made otherwise than by load_delegate."""
    if delegate.loaded_as is None:
        raise TypeError(f"cannot pickle or copy {delegate!r}: it was not made by load_delegate")
    return load_delegate, delegate.loaded_as


def _opened(name: str) -> str:
    """Where a native library is: a file, or what the system's loader finds. Raises OSError, with the loader's text."""
    path = os.path.abspath(name) if os.path.exists(name) else name
    try:
        ctypes.CDLL(path)
    except OSError as error:
        if path != name or os.path.dirname(name):
            raise
        known = ", ".join(sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS))}))
        raise OSError(f"{error} (nor is it the name of a delegate; known: {known})") from None
    return path


def _built_in(name: str) -> Callable[..., Any]:
    try:
        return named(BUILT_IN[name])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tflgpu."):  # folders lie so only where tflgpu is installed
            where = os.path.dirname(__file__)
            raise ValueError(
                f"{name} delegate: tflgpu was imported from {where}, a checkout, in which there are no delegates. "
                "Run Python in another folder, or install with pip install --editable ."
            ) from error
        raise ValueError(
            f"{name} delegate: looked for the Python package {error.name}, found none. "
            f"Install it: pip install 'tflgpu[{EXTRAS[name]}]'"
        ) from error


def as_tflite_delegate(delegate: str | os.PathLike[str] | Delegate, options: Mapping[str, Any] | None = None) -> Any:
    """A delegate for the `experimental_delegates` of TensorFlow Lite's own interpreters, here and in one graph.

    delegate: as for `load_delegate`, with its options, or a Delegate. The object has `close`; without it, the delegate
    stays for as long as the object or an interpreter that runs it. Raises what `load_delegate` raises, TypeError for
    options beside a Delegate that is already made.
    """
    if isinstance(delegate, str | os.PathLike):
        delegate = load_delegate(delegate, options)
    elif options:
        raise TypeError("options are for a delegate by name; this one is already made")
    return delegate if hasattr(delegate, "_get_native_delegate_pointer") else named(GUEST)(delegate)


def named(where: str) -> Callable[..., Any]:
    """What "module:name" says, imported now."""
    module, _, attribute = where.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return loaded


def _created(name: str, options: Mapping[str, Any], make: Callable[[], Any]) -> Delegate:
    try:
        delegate: Delegate = make()
    except (OSError, ValueError, ForkedError):
        raise
    except Exception as error:
        raise ValueError(f"Failed to load delegate from {name}\n{error}") from error
    if hasattr(delegate, "loaded_as"):
        delegate.loaded_as = name, options
    return delegate


@dataclass(frozen=True)
class Option:
    """One option of a delegate: how its value is read, from a string too, and what it means."""

    default: Any
    read: Callable[[Any], Any]
    meaning: str


def boolean(value: Any) -> bool:
    """True or False, 1 or 0, "true", "yes", "on", "1" or their opposites. Raises ValueError for anything else."""
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected true or false")


def count(value: Any) -> int:
    """A whole number of 0 or more. Raises ValueError for anything else."""
    number = int(str(value).strip())
    if number < 0:
        raise ValueError("expected a number of 0 or more")
    return number


def one_of(*choices: str) -> Callable[[Any], str]:
    """A reader that accepts these words."""

    def read(value: Any) -> str:
        if str(value) not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return str(value)

    return read


def names(value: Any) -> frozenset[str]:
    """Names in upper case, from "ADD,MUL" or from a sequence."""
    parts = value.replace(";", ",").split(",") if isinstance(value, str) else value
    return frozenset(str(part).strip() for part in parts if str(part).strip())


def numbers(value: Any) -> frozenset[int]:
    """Node numbers, from "3,7-9" or from a sequence or a number. Raises ValueError for anything else."""
    if isinstance(value, int):
        return frozenset([value])
    out: set[int] = set()
    for part in names(value):
        first, dash, last = part.partition("-")
        out.update(range(int(first), int(last) + 1) if dash else [int(first)])
    return frozenset(out)


LIMIT_OPTIONS: Mapping[str, Option] = {
    "max_partitions": Option(0, count, "take at most this many parts, the largest; 0 takes any number"),
    "min_nodes_per_partition": Option(None, count, "leave smaller parts to the CPU; unset asks the cost model"),
    "only_ops": Option(frozenset(), names, "take only these operators, e.g. CONV_2D,ADD"),
    "skip_ops": Option(frozenset(), names, "leave these operators to the CPU"),
    "only_nodes": Option(frozenset(), numbers, "take only these nodes, e.g. 0,4-9"),
    "skip_nodes": Option(frozenset(), numbers, "leave these nodes to the CPU"),
    "require_full": Option(False, boolean, "raise an error where a node stays on the CPU"),
}
"""The options that any delegate can offer through `limits`."""


def read_options(delegate: str, given: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, Any]:
    """Every known option with its given value or its default. Raises ValueError that lists the legal ones."""
    legal = "; ".join(f"{key} ({option.meaning})" for key, option in sorted(known.items()))
    out = {key: option.default for key, option in known.items()}
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"{delegate} delegate: unknown option {key!r}. Legal options: {legal}")
        try:
            out[key] = known[key].read(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{delegate} delegate: option {key}={value!r}: {error}. Legal options: {legal}") from error
    return out


def read_limits(options: Mapping[str, Any]) -> Limits:
    """The Limits that options, as returned by read_options, ask for."""
    return Limits(
        max_parts=options["max_partitions"],
        min_nodes=options["min_nodes_per_partition"],
        only_ops=options["only_ops"],
        skip_ops=options["skip_ops"],
        only_nodes=options["only_nodes"],
        skip_nodes=options["skip_nodes"],
        require_full=options["require_full"],
    )
