"""How far real values are from what they should be: the metrics, summed over examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tflgpu.details import TensorDetails
from tflgpu.model.graph import Array

SCATTERED = 400
"""Values that are kept for a plot."""


@dataclass
class Measure:
    """What differs between a tensor's values and those that it should have, over all that was added.

    step: what one step of the quantized values is worth; 0 where they are not quantized, or not by one scale.
    span: the least and the greatest real value that the tensor can hold.
    """

    step: float = 0.0
    span: tuple[float, float] = (-math.inf, math.inf)
    signal: float = 0.0
    noise: float = 0.0
    other: float = 0.0
    dot: float = 0.0
    max_error: float = 0.0
    beyond: int = 0
    values: int = 0
    agreeing: int = 0
    rows: int = 0
    points: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of(cls, details: TensorDetails) -> Measure:
        """For the values of a tensor, with the step and the span of its scale, where it has one."""
        step, zero = details["quantization"]
        if not step or np.dtype(details["dtype"]).kind not in "iu":
            return cls()
        limits = np.iinfo(details["dtype"])
        return cls(float(step), (float(step * (limits.min - zero)), float(step * (limits.max - zero))))

    def add(self, want: Array, got: Array) -> None:
        """want, got: real values of one shape, of one run. Where both are not finite and equal, they agree."""
        x, y = want.astype(np.float64).ravel(), got.astype(np.float64).ravel()
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        finite = np.isfinite(x) & np.isfinite(y)
        if not (same | finite).all():
            self.noise = self.max_error = math.inf
        x, y = x[finite], y[finite]
        self.signal += float(x @ x)
        self.other += float(y @ y)
        self.dot += float(x @ y)
        apart = np.abs(x - y)
        self.noise += float(apart @ apart)
        self.max_error = max(self.max_error, float(apart.max(initial=0)))
        low, high = self.span
        self.beyond += int(((x < low - self.step) | (x > high + self.step)).sum())
        self.values += x.size
        if want.ndim and want.shape[-1] > 1 and want.size:
            best = (np.argmax(a.reshape(-1, want.shape[-1]), axis=1) for a in (want, got))
            equal = np.equal(*best)
            self.agreeing, self.rows = self.agreeing + int(equal.sum()), self.rows + equal.size
        every = max(1, x.size // 100)
        self.points += list(zip(x[::every].tolist(), y[::every].tolist(), strict=True))[: SCATTERED - len(self.points)]

    @property
    def snr(self) -> float:
        """In dB; infinite where nothing differs."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 and self.noise < math.inf else -math.inf

    @property
    def noise_to_signal(self) -> float:
        return 0.0 if self.noise == 0 else self.noise / self.signal if self.signal else math.inf

    @property
    def cosine(self) -> float:
        """1 where both have one direction; also where both are zero."""
        if self.signal == 0 or self.other == 0:
            return 1.0 if self.signal == self.other else 0.0
        return self.dot / math.sqrt(self.signal) / math.sqrt(self.other)

    @property
    def steps(self) -> float | None:
        """The largest error in steps of the quantized values; None where they are not quantized by one scale."""
        return self.max_error / self.step if self.step else None

    @property
    def clipped(self) -> float | None:
        """The share of values that should be a step or more beyond the span; None where there is no span."""
        return self.beyond / self.values if self.step and self.values else None

    @property
    def top1(self) -> float | None:
        """The share of rows along the last dimension whose largest value is at the same index; None without rows."""
        return self.agreeing / self.rows if self.rows else None


METRICS: Mapping[str, tuple[Callable[[Measure], float | None], bool]] = {
    "snr": (lambda m: m.snr, True),
    "cosine": (lambda m: m.cosine, True),
    "top1": (lambda m: m.top1, True),
    "max-error": (lambda m: m.max_error, False),
    "steps": (lambda m: m.steps, False),
}
"""By name: the value, and whether more is better."""


def read_metrics(texts: Mapping[str, str]) -> dict[str, float]:
    """Bounds by metric, from texts. Raises ValueError for an unknown metric, or for what is no number."""
    found = {}
    for name, text in texts.items():
        if name not in METRICS:
            raise ValueError(f"--metric takes {', '.join(METRICS)}, not {name!r}")
        try:
            found[name] = float(text)
        except ValueError:
            raise ValueError(f"--metric {name} takes a number, not {text!r}") from None
    return found


def missed(measure: Measure, bounds: Mapping[str, float]) -> list[str]:
    """The bounds that a measure does not keep, in words; a metric that it does not have counts as kept."""
    told = []
    for name, bound in bounds.items():
        value, more = METRICS[name][0](measure), METRICS[name][1]
        if value is not None and not (value >= bound if more else value <= bound):
            told.append(f"{name} {value:.4g}, {'at least' if more else 'at most'} {bound:g} is wanted")
    return told
