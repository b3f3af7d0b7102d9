"""Operators whose modules are imported when they are first asked for: a model needs few of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import TypeVar

Value = TypeVar("Value")


class OnDemand(MutableMapping[str, Value]):
    """What modules register under names as they are imported: a module is imported when one of its names is asked for.

    modules: the names that each module of this package registers, "A B C". others: the module of all other names.
    """

    def __init__(self, modules: Mapping[str, str], others: str):
        self._module_of = {name: module for module, names in modules.items() for name in names.split()}
        self._others = others
        self._modules = {*modules, others}
        self._imported: set[str] = set()
        self._registered: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        module = self._module_of.get(name, self._others)
        if module not in self._imported:
            self._import(module)
        return self._registered[name]

    def __setitem__(self, name: str, value: Value) -> None:
        self._registered[name] = value

    def __delitem__(self, name: str) -> None:
        del self._registered[name]

    def __iter__(self) -> Iterator[str]:
        for module in sorted(self._modules - self._imported):
            self._import(module)
        return iter(self._registered)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def registered(self, name: str) -> bool:
        """Whether a value has been registered under this name, by the modules imported so far."""
        return name in self._registered

    def _import(self, module: str) -> None:
        import_module(f"tflgpu.ops.{module}")
        self._imported.add(module)  # only now: another thread that asks meanwhile waits for the import
