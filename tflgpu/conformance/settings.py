"""What a run of the kit is asked for, and how the delegate under test is opened from it."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tflgpu.conformance.tolerances import Override
from tflgpu.delegation.discovery import load_delegate


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


def opened(settings: Settings) -> Any:
    """The delegate. Raises OSError or ValueError as `load_delegate` does, ValueError for no such callable."""
    module, colon, attribute = settings.delegate.partition(":")
    if not colon or Path(settings.delegate).exists() or "/" in module or "\\" in attribute:
        return load_delegate(settings.delegate, settings.options)
    try:
        return getattr(importlib.import_module(module), attribute)(settings.options)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{settings.delegate}: {error}") from error
