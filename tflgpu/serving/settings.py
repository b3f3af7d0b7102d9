"""How models are served: what the command says, and what a model's config.json changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.discovery import load_delegate
from tflgpu.limits import UNTRUSTED, read_limits
from tflgpu.serving.predictor import Predictor


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    delegate, options: as for `load_delegate`. devices: values of the option `device`, each with so many instances.
    batch: rows that one invoke takes at most. max_delay_ms: that a request waits for others while an instance is free.
    max_queue: requests that may wait; more are refused. replicas: the least and the most on Ray Serve, each with these
    instances, num_cpus and num_gpus; none: the instances run in the server. limits: of each interpreter, by their names
    in tflgpu.limits.Limits; those for untrusted files otherwise.
    """

    delegate: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    devices: Sequence[str] = ()
    instances: int = 1
    batch: int = 1
    max_delay_ms: float = 0
    max_queue: int = 1024
    num_threads: int | None = None
    replicas: Sequence[int] = ()
    num_cpus: float = 1
    num_gpus: float = 0
    limits: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.instances < 1 or self.batch < 1 or self.max_delay_ms < 0 or self.max_queue < 1:
            raise ValueError("instances, batch and max_queue are at least 1, max_delay_ms at least 0")
        if self.replicas and (len(self.replicas) != 2 or not 0 < self.replicas[0] <= self.replicas[1]):
            raise ValueError(f"replicas are the least and the most, not {self.replicas}")

    def changed_by(self, file: Path) -> Settings:
        """With what a config.json says. Raises ValueError for what is none, or names no field."""
        try:
            given = json.loads(file.read_text())
            unknown = given.keys() - {one.name for one in fields(self)}
            if unknown:
                raise ValueError(f"no setting {', '.join(sorted(unknown))}")
            return replace(self, **given)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}: {error}") from error

    def predictors(self, content: bytes, signature: str | None) -> list[Predictor]:
        """One for each instance; those of one device share its delegate, and so its constants."""
        found = []
        for device in self.devices or (None,):
            delegate: Delegate | None = None
            if self.delegate is not None:
                own = {} if device is None else {"device": device}
                delegate = load_delegate(self.delegate, {**self.options, **own})
            limits = read_limits(self.limits, UNTRUSTED)
            one = Predictor(content, delegate, {}, signature, self.batch, num_threads=self.num_threads, limits=limits)
            found += [replace(one) for _ in range(self.instances)]
        return found
