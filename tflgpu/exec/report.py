"""The line an interpreter that `tflgpu exec --report` prints at a process's end."""

from __future__ import annotations

import atexit
import os
import statistics
import sys
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import tflgpu
from tflgpu.delegation.delegate import Partition

Result = TypeVar("Result")
KEPT = 10_000
"""Invokes whose times are kept, the latest."""

_records: dict[int, list[Record]] = {}
"""By process: a child of fork has a list of its own."""


@dataclass
class Record:
    """One interpreter's invokes, and where its nodes ran."""

    model: str
    interpreter: weakref.ref[tflgpu.Interpreter]
    delegation: str = "never invoked"
    first_ms: float = 0.0
    count: int = 0
    others_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    def timed(self, invoke: Callable[[], Result]) -> Result:
        """What the invoke returns, its time noted where it succeeds."""
        start = time.perf_counter()
        result = invoke()
        elapsed_ms = (time.perf_counter() - start) * 1e3
        self.count += 1
        if self.count == 1:
            self.first_ms = elapsed_ms
            self._look()
        else:
            self.others_ms.append(elapsed_ms)
        return result

    def _look(self) -> None:
        interpreter = self.interpreter()
        if interpreter is not None and self.count:
            self.delegation = delegation(interpreter._running_partitions())

    def line(self) -> str:
        self._look()
        text = f"tflgpu exec: process {os.getpid()}: {self.model}: {self.delegation}"
        if self.count:
            text += f"; first invoke {self.first_ms:.3f} ms"
        if self.others_ms:
            text += f", median of {self.count - 1} others {statistics.median(self.others_ms):.3f} ms"
        return text


def delegation(partitions: Sequence[Partition]) -> str:
    """How many nodes each delegate has, and of those on the CPU, which operators and why."""
    total = sum(len(one.nodes) for one in partitions)
    owners = Counter(one.owner.name for one in partitions if one.owner is not None for _ in one.nodes)
    counts = Counter(one.owner.name for one in partitions if one.owner is not None)
    taken = [
        f"{name} has {count} of {total} nodes in {counts[name]} partition{'s' * (counts[name] > 1)}"
        for name, count in owners.items()
    ]
    left = Counter(
        (node.op, one.why.get(node.index, ())) for one in partitions if one.owner is None for node in one.nodes
    )
    if not any(why for _, why in left):
        return ", ".join([*taken, *([f"the CPU {sum(left.values())} of {total} nodes"] if left else [])])
    reasons = [f"{count} {op} ({'; '.join(why)})" if why else f"{count} {op}" for (op, why), count in left.items()]
    return ", ".join(taken or [f"no delegate has any of {total} nodes"]) + "; on the CPU " + ", ".join(reasons)


def watched(interpreter: tflgpu.Interpreter, arguments: dict[str, Any]) -> Record:
    """A record of the interpreter, which is told when the process ends."""
    content = arguments.get("model_content")
    model = os.fspath(arguments["model_path"]) if content is None else f"a model of {len(content):,} bytes"
    record = Record(model, weakref.ref(interpreter))
    if os.getpid() not in _records:
        _records[os.getpid()] = []
        _at_the_end()
    _records[os.getpid()].append(record)
    return record


def _at_the_end() -> None:
    # multiprocessing ends its children without atexit.
    util = sys.modules.get("multiprocessing.util")
    if util is not None and util._exit_function and sys.modules["multiprocessing.process"].parent_process():
        util.Finalize(None, tell, exitpriority=0)
    else:
        atexit.register(tell)


def tell() -> None:
    """Prints the lines of this process's interpreters to standard error."""
    lines = [record.line() for record in _records.pop(os.getpid(), [])]
    if lines:
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
