"""What a run of the kit is asked for, and how the delegate under test is opened from it."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tflgpu.conformance.tolerances import Override
from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.discovery import as_delegate, load_delegate


@dataclass(frozen=True)
class Settings:
    """delegate: a name, a native library's path, or module:attribute for a callable that takes the options.

    precision: fp32, or tf32 or fp16 for results that are right only by a relaxed bound, judged apart. rounding:
    "reference", integers equal to those of LiteRT's reference kernels (double rounding), or "one-step", 8- and 16-bit
    results may differ by 1. reference: "cpu", or "litert" for its reference resolver. reproducers: where models
    that fail are saved. performance: whether to time passing cases.
    """

    delegate: str
    options: dict[str, str] = field(default_factory=dict)
    precision: str = "fp32"
    rounding: str = "reference"
    reference: str = "cpu"
    performance: bool = False
    reproducers: str = ""
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        if self.rounding == "one-code":  # what it was called once
            object.__setattr__(self, "rounding", "one-step")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(values: dict[str, Any]) -> Settings:
    overrides = tuple(Override(**o) for o in values.get("overrides", ()))
    return Settings(**{**values, "overrides": overrides})


def by_callable(delegate: str) -> tuple[str, str] | None:
    """Module and attribute where the delegate is named as module:attribute, else None."""
    module, colon, attribute = delegate.partition(":")
    if not colon or Path(delegate).exists() or "/" in module or "\\" in attribute:
        return None
    return module, attribute


def opened(settings: Settings) -> Delegate:
    """The delegate. Raises OSError or ValueError as `load_delegate` does, ValueError for no such callable.

    A callable may return what has `_get_native_delegate_pointer` instead, as TensorFlow Lite's own delegates do.
    """
    where = by_callable(settings.delegate)
    if where is None:
        return load_delegate(settings.delegate, settings.options)
    module, attribute = where
    try:
        made = getattr(importlib.import_module(module), attribute)(settings.options)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{settings.delegate}: {error}") from error
    try:
        return as_delegate(made)
    except AttributeError as error:
        raise ValueError(f"{settings.delegate}: {error}") from error
