"""Python imports this at its start, since `tflgpu exec` puts the folder in front of PYTHONPATH; children inherit that.

It watches for the modules that have TensorFlow Lite's interpreter. Nothing of tflgpu, nor NumPy, is imported before one
of them is. A sitecustomize that stood on the path before runs as it would have, and sys.path is left as it would be.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

WATCHED = (
    "tflite_runtime.interpreter",
    "ai_edge_litert.interpreter",
    "ai_edge_litert.compiled_model",
    "tensorflow.lite.python.interpreter",
)
PROVIDED = ("tflite_runtime", "tflite_runtime.interpreter")


class Finder:
    """Finds the watched modules where they are, and has tflgpu's classes put into each after it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in WATCHED and name not in PROVIDED:
            return None
        spec = self._found(name, path, target)
        if spec is None:
            return _provided(name)
        if name in WATCHED and spec.loader is not None:
            patching: Any = Patching(spec.loader)
            spec.loader = patching
        return spec

    def _found(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec: ModuleSpec | None = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


class Patching:
    """A module's own loader, after which its stand-ins are put in; the module then names its own loader again."""

    def __init__(self, loader: Any):
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        patch(module)


class Providing:
    """The loader of tflite_runtime where there is none and `--provide-tflite-runtime` asks for it."""

    def create_module(self, spec: ModuleSpec) -> Any:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from tflgpu.exec.stand_ins import provide

        provide(module)


def _provided(name: str) -> ModuleSpec | None:
    if '"provide_tflite_runtime": true' not in os.environ.get("TFLGPU_EXEC", "") or name not in PROVIDED:
        return None
    loader: Any = Providing()
    return ModuleSpec(name, loader, is_package=name == PROVIDED[0])


def patch(module: ModuleType) -> None:
    """Puts tflgpu's classes into the module; says so where this Python has no tflgpu."""
    try:
        from tflgpu.exec import stand_ins
    except ModuleNotFoundError as missing:
        if missing.name not in ("tflgpu", "tflgpu.exec"):
            raise
        print(
            f"tflgpu exec: tflgpu is not installed for {sys.executable}: {module.__name__} stays as it is",
            file=sys.stderr,
        )
        return
    stand_ins.patch(module)


def install() -> None:
    """Watches from now on; a watched module that is here already is patched at once."""
    finder: Any = Finder()
    sys.meta_path.insert(0, finder)
    for name in WATCHED:
        if name in sys.modules:
            patch(sys.modules[name])


def run_the_next() -> None:
    """Runs the sitecustomize that this one stands before, if there is one, in its place."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    if os.environ.get("TFLGPU_EXEC"):
        install()
    run_the_next()
