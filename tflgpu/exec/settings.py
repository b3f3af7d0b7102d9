"""What `tflgpu exec` was asked for, as the environment variable in which its processes and their children find it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

VARIABLE = "TFLGPU_EXEC"
START = Path(__file__).with_name("start")
"""The folder of the sitecustomize that Python imports at its start."""


@dataclass(frozen=True)
class Settings:
    """delegate: added to interpreters that are given none, with these options. threads: num_threads of every
    interpreter, and limits: its limits by name, in place of the program's. preserve_all: every tensor of every
    interpreter can be read. report: a line an interpreter, at exit. provide_tflite_runtime: there is a tflite_runtime
    where none is installed.
    """

    delegate: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    preserve_all: bool = False
    report: bool = False
    provide_tflite_runtime: bool = False

    def environment(self, before: Mapping[str, str]) -> dict[str, str]:
        """The environment in which Pythons, and those that they start, do as these settings say."""
        paths = [path for path in before.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != START]
        return {**before, VARIABLE: json.dumps(asdict(self)), "PYTHONPATH": os.pathsep.join([str(START), *paths])}


def from_environment() -> Settings:
    """The settings in TFLGPU_EXEC. Raises ValueError for what `tflgpu exec` does not write there."""
    text = os.environ.get(VARIABLE, "{}")
    try:
        return Settings(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{VARIABLE}={text!r} is not what tflgpu exec sets: {error}") from error
