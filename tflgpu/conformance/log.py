"""The results of a run on disk: what was run in the first line, then a result a line, as they come."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tflgpu
from tflgpu.conformance.settings import Settings, by_callable
from tflgpu.conformance.verdicts import Result, from_dict


class OtherRun(ValueError):
    """A log has results of another delegate, of other settings or of another version."""


def of_run(settings: Settings) -> dict[str, Any]:
    """What the verdicts of a run depend on: settings, tflgpu's version, and the bytes of the delegate's own file."""
    known = settings.as_dict()
    del known["reproducers"]
    made: dict[str, Any] = json.loads(json.dumps({**known, "tflgpu": tflgpu.__version__, "file": _digest(settings)}))
    return made


def _digest(settings: Settings) -> str:
    """Of a native library, or of the module that has the callable; "" where the delegate comes with tflgpu."""
    path = Path(settings.delegate)
    if (module := by_callable(settings.delegate)) is not None:
        spec = find_spec(module[0])
        path = Path(spec.origin) if spec is not None and spec.origin else path
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def begin(path: Path, settings: Settings) -> None:
    """An empty log of this run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run": of_run(settings)}) + "\n", encoding="utf-8")


def append(path: Path, result: Result) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result.as_dict()) + "\n")


def resumed(path: Path, settings: Settings) -> dict[str, Result]:
    """The results in a log by name; a line cut short is left out. A log that is not there yet is begun.

    Raises OtherRun where they are not of this run.
    """
    if not path.exists():
        begin(path, settings)
    found: dict[str, Result] = {}
    first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    _check(path, _read(first).get("run", {}), of_run(settings))
    for line in lines:
        values = _read(line)
        if values:
            found[values["name"]] = from_dict(values)
    return found


def _check(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    other = [key for key in now if before.get(key) != now[key]]
    if other:
        told = ", ".join(f"{key} was {before.get(key, 'not known')}, is {now[key]}" for key in other)
        raise OtherRun(
            f"{path} has the results of another run ({told}): run without --resume, or with another --output"
        )


def _read(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
