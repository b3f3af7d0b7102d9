"""How a delegate is found: by its name, an installed package's entry point, or the path of a native library."""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tflgpu.delegation.delegate import Attaches, Delegate
from tflgpu.delegation.forks import ForkedError
from tflgpu.hints import did_you_mean
from tflgpu.model.graph import Model
from tflgpu.optional import lacking, offers

ENTRY_POINTS = "tflgpu.delegates"
"""The entry-point group in which a package offers a delegate: name -> load(options) -> Delegate."""

BUILT_IN: Mapping[str, str] = {
    "cuda": "tflgpu.delegates.cuda.delegate:load",
    "opencl": "tflgpu.delegates.opencl.delegate:load",
}
SURVEYS: Mapping[str, str] = {"opencl": "tflgpu.delegates.opencl.choice:survey"}
"""What lists the devices that a delegate may run on."""
EXTRAS: Mapping[str, str] = {"cuda": "cuda12", "opencl": "opencl"}
"""What brings the Python packages that a delegate needs."""
NATIVE = "tflgpu.delegates.abi:load"
"""What loads a native library that exports tflite_plugin_create_delegate: load(path, options) -> Delegate."""
BORROW = "tflgpu.delegates.abi:borrow"
"""What makes a Delegate of an object that has _get_native_delegate_pointer, such as those of TensorFlow Lite."""
GUEST = "tflgpu.delegates.abi:as_guest"
"""What makes of a Delegate one for TensorFlow Lite's own interpreters."""

GPU_LIBRARY = "tflgpu.delegation.gpu_library:load"
"""What stands in for TensorFlow Lite's GPU delegate: load(name, options, load_delegate) -> Delegate."""
GPU_LIBRARIES = frozenset(
    prefix + stem + suffix
    for stem in ("tensorflowlite_gpu_delegate", "tensorflowlite_gpu_gl", "tensorflowlite_gpu")
    for prefix, suffix in (("lib", ".so"), ("lib", ".dylib"), ("", ".dll"))
)
"""The names under which TensorFlow Lite's GPU delegate is built."""


class NativeDelegate(Protocol):
    """A delegate of TensorFlow Lite's C interface, as its own Python packages make them."""

    def _get_native_delegate_pointer(self) -> int:
        """The address of its TfLiteDelegate."""


def _entry_points() -> Iterable[Any]:
    from importlib import metadata  # takes 20 ms, which `import tflgpu` shall not

    return metadata.entry_points(group=ENTRY_POINTS)


def load_delegate(library: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Delegate:
    """A delegate by name ("opencl", "cuda", an installed entry point), or a native library by its path or its name.

    "libtensorflowlite_gpu_delegate.so" is, where there is no such library, the best GPU delegate here that can be
    made: cuda, then opencl. It takes the options of TensorFlow Lite's.

    Ours and native ones can be pickled, as what was asked for here, and are loaded anew where they are unpickled.
    Raises OSError where there is none of that name, ValueError for an option that it does not know or cannot use, or
    where it cannot be created, ForkedError where its runtime was opened before this process was forked.
    """
    name, options = os.fspath(library), dict(options or {})
    found = [point for point in _entry_points() if point.name == name]
    if found:
        load = found[0].load()
    elif name in BUILT_IN:
        load = _built_in(name)
    else:
        try:
            path = _opened(name)
        except OSError:
            if os.path.basename(name) not in GPU_LIBRARIES or os.path.exists(name):
                raise
            made: Delegate = named(GPU_LIBRARY)(name, options, load_delegate)
            return made
        return _created(path, options, lambda: named(NATIVE)(path, options))
    return _created(name, options, lambda: load(options))


LoadedAs = tuple[()] | tuple[str, Mapping[str, Any]]
"""What load_delegate was called with; empty for a delegate that was made otherwise."""


class LoadsAgain(Protocol):
    """A delegate that can be pickled."""

    loaded_as: LoadedAs
    """Set by load_delegate."""


def load_again(delegate: LoadsAgain) -> tuple[Callable[..., Delegate], LoadedAs]:
    """What pickle keeps of a delegate. Raises TypeError where it was made otherwise than by load_delegate."""
    if not delegate.loaded_as:
        raise TypeError(f"cannot pickle or copy {delegate!r}: it was not made by load_delegate")
    return load_delegate, delegate.loaded_as


def survey(name: str) -> Sequence[tuple[str, str]]:
    """Each device that the delegate of SURVEYS finds, and whether and why it is taken; each driver that fails, and why.

    Raises ImportError where a Python package that it needs is not installed.
    """
    rows: Sequence[tuple[str, str]] = named(SURVEYS[name])()
    return rows


def _opened(name: str) -> str:
    """Where a native library is: a file, or what the system's loader finds. Raises OSError, with the loader's text."""
    path = os.path.abspath(name) if os.path.exists(name) else name
    try:
        ctypes.CDLL(path)
    except OSError as error:
        if path != name or os.path.dirname(name):
            raise
        known = sorted({*BUILT_IN, *(point.name for point in _entry_points())})
        meant = did_you_mean(name, known)
        raise OSError(f"{error} (nor is it the name of a delegate; known: {', '.join(known)}){meant}") from None
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
    return delegate if offers(delegate, NativeDelegate) else named(GUEST)(delegate)


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
    if offers(delegate, LoadsAgain):
        delegate.loaded_as = name, options
    return delegate


def as_delegate(delegate: Any) -> Delegate:
    """The object itself, or the Delegate of one that has _get_native_delegate_pointer; AttributeError for neither."""
    missing = lacking(delegate, Delegate)
    if not missing:
        found: Delegate = delegate
        return found
    if not offers(delegate, NativeDelegate):
        raise AttributeError(
            f"{type(delegate).__name__!r} object is no delegate: it has no {', '.join(map(repr, missing))} "
            "(tflgpu.Delegate) and no '_get_native_delegate_pointer'"
        )
    borrowed: Delegate = named(BORROW)(delegate)
    return borrowed


def attached(delegates: Sequence[Any] | None, model: Model, threads: int | None) -> list[Delegate]:
    """The delegates as they serve this model. Raises TypeError for what is no list, AttributeError for no delegate,
    ValueError for limits that name an operator or a node that there is not.

    threads: how many a delegate may use; None leaves that to it.
    """
    found: list[Any] = list(delegates or ())
    for i, delegate in enumerate(found):
        delegate = as_delegate(delegate)
        try:
            delegate.limits.check_names(model)
        except ValueError as error:
            raise ValueError(f"{delegate.name} delegate: {error}") from None
        found[i] = delegate.attach(model, threads or -1) if offers(delegate, Attaches) else delegate
    return found
