"""What comes of a case, as data that travels between processes and into reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PASSED = "passed"
RELAXED = "relaxed"
NOT_DELEGATED = "not delegated"
FAILED = "failed"
ERROR = "error"
CRASHED = "crashed"
TIMED_OUT = "timed out"
INVALID = "invalid"

VERDICTS = (PASSED, RELAXED, NOT_DELEGATED, FAILED, ERROR, CRASHED, TIMED_OUT, INVALID)
BAD = frozenset({FAILED, ERROR, CRASHED, TIMED_OUT, INVALID})
"""Verdicts that make a run fail."""


@dataclass
class Result:
    """One case's outcome.

    verdict: passed; relaxed, right only at the precision that was asked for; not delegated, with the reason; failed, a
    wrong number or a broken contract; error, the delegate raised; crashed or timed out, with its process; invalid, the
    reference itself could not run it. ulps: the worst distance, bound: what was allowed. why: for people.
    """

    name: str
    family: str
    op: str
    type: str
    verdict: str
    why: str = ""
    ulps: float | None = None
    bound: float | None = None
    elapsed_ms: float = 0.0
    delegated: int = 0
    nodes: int = 0
    reproducer: str = ""
    cpu_ms: float | None = None
    delegate_ms: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        return self.verdict in BAD

    def as_dict(self) -> dict[str, Any]:
        """Its fields for JSON, without those that say nothing; an infinite distance as the word."""
        always = ("name", "family", "op", "type", "verdict")
        found = {k: v for k, v in asdict(self).items() if k in always or v not in (None, "", [], 0)}
        if self.ulps is not None:
            found["ulps"] = self.ulps if self.ulps < float("inf") else "inf"
        found["elapsed_ms"] = round(self.elapsed_ms, 2)
        return found


@dataclass(frozen=True)
class Summary:
    """A run as a whole. families: counts of verdicts by family. reasons: why cases were not delegated, how often."""

    delegate: str
    options: dict[str, str]
    precision: str
    rounding: str
    reference: str
    level: str
    level_reason: str
    seconds: float
    counts: dict[str, int]
    families: dict[str, dict[str, int]]
    reasons: dict[str, int]
    cases: str
    quick: bool
    made: str
    versions: dict[str, str] = field(default_factory=dict)


def from_dict(values: dict[str, Any]) -> Result:
    """The result that `as_dict` wrote."""
    ulps = values.get("ulps")
    return Result(**{**values, "ulps": None if ulps is None else float(ulps)})
