#!/usr/bin/env python3
"""Models with a few of their fields changed, each opened, prepared and run: it must end in a result or a plain error.

usage: ci/fuzz.py [--device cpu|opencl|pocl|intel|emulator] [--seconds 20] [--seed 0] [--most 0]

The models are those of the conformance kit's cases, and they are changed by the schema: a number, an index, a word, a
vector, a tensor's bytes, a node of another model; now and then any bytes. Each mutant runs in a child process, which is
replaced when it crashes or hangs, within tight limits; on OpenCL every buffer lies between guards, which are looked at
after each mutant, and the emulator checks accesses and races. What is found is made as small as a minute allows and
printed as a test. The exit status is 1 where anything is found.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from mutants import content_of, mutant, tables_in

import tflgpu
from tflgpu.conformance.cases import GRAPHS, every
from tflgpu.limits import Limits
from tflgpu.model.writer import Values

LIMITS = Limits(memory_bytes=2**27, seconds=5.0, loop_iterations=1000, tensor_elements=2**22)
HANG_S = 60.0
MOST_GROWN_MB = 1500
MINIMIZING_S = 60.0


def delegates_of(device: str) -> tuple[list[Any], Callable[[], None]]:
    """The delegates for a device, and what raises AssertionError where a kernel wrote beside its buffers."""
    if device == "cpu":
        return [], lambda: None
    if device == "emulator":
        options = {"device": "emulator", "check": True, "min_nodes_per_partition": 1}
        return [tflgpu.load_delegate("cuda", options)], lambda: None
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from guarded_device import GuardedDevice

    from tflgpu.delegates.gpu import GpuDelegate
    from tflgpu.delegation import delegate

    guarded = GuardedDevice("" if device == "opencl" else device)
    return [GpuDelegate("opencl", guarded, delegate.Limits(min_nodes=1))], guarded.check_guards


def ran(content: bytes, delegates: list[Any], seed: int) -> str:
    """How running it ends: "result", or "refused: why"."""
    try:
        interpreter = tflgpu.Interpreter(model_content=content, experimental_delegates=delegates, limits=LIMITS)
        interpreter.allocate_tensors()
        rng = np.random.default_rng(seed)
        for _ in range(2):
            for details in interpreter.get_input_details():
                if details["dtype"] is not np.bytes_:
                    value = (
                        rng.integers(0, 4, details["shape"]) if rng.random() < 0.9 else np.full(details["shape"], 120)
                    )
                    interpreter.set_tensor(details["index"], value.astype(details["dtype"]))
            interpreter.invoke()
            for details in interpreter.get_output_details():
                interpreter.get_tensor(details["index"])
        interpreter.delegation_report()
    except (ValueError, RuntimeError) as error:
        return f"refused: {error}"
    return "result"


def is_wrong_access(end: str) -> bool:
    """Whether the emulator saw one. Threads that find inputs wrong write the same to one fault cell, which is none."""
    first, *others = end.splitlines()
    alike = [line.startswith("race: a write") and "'s write" in line for line in others if "Node number" not in line]
    return first.endswith(" errors") and not all(alike)


def child(connection: Connection, device: str) -> None:
    """Runs what comes, and says how it ended, until nothing comes."""
    delegates, check_guards = delegates_of(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while content := connection.recv_bytes():
        try:
            end = ran(content, delegates, len(content))
            check_guards()
            if device == "emulator" and is_wrong_access(end):
                end = f"guard hit: {end}"
        except AssertionError as error:
            end = f"guard hit: {error}"
        except BaseException as error:
            end = f"wrong exception: {type(error).__name__}: {error}"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
        if grown >> 10 > MOST_GROWN_MB:
            end = f"memory: {grown >> 10} MB"
        connection.send(end[:2000])


class Child:
    """A process that runs mutants, another one after each crash or hang."""

    def __init__(self, device: str):
        self._device = device
        self._process: Any = None

    def end_of(self, content: bytes) -> str:
        """How running it ended."""
        if self._process is None:
            context = get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=child, args=(theirs, self._device), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._connection.send_bytes(content)
            if self._connection.poll(HANG_S):
                end: str = self._connection.recv()
                if end.startswith("memory"):
                    self.stop()
                return end
        except (EOFError, OSError):
            self._process.join()
            status, self._process = self._process.exitcode, None
            return f"crash: exit status {status}"
        self.stop()
        return f"hang: {HANG_S:.0f} s"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


@dataclass
class Found:
    """A mutant that ended as it should not, as small as it could be made."""

    end: str
    name: str
    seed: str
    model: Values | bytes

    def as_test(self, device: str) -> str:
        return (
            f"def test_mutant_{self.seed.replace('-', '_')}() -> None:\n"
            f'    """{self.end.splitlines()[0][:90]} (of {self.name})"""\n'
            f"    delegates, check_guards = delegates_of({device!r})\n"
            f"    content = {f'serialize({self.model!r})' if isinstance(self.model, dict) else repr(self.model)}\n"
            f"    assert ran(content, delegates, {len(content_of(self.model))})\n"
            f"    check_guards()\n"
        )


def minimized(found: Found, process: Child) -> Found:
    """The same with what can be left out left out, for a minute: fields, and elements of vectors."""
    kind, end_by = found.end.split(":")[0], time.monotonic() + MINIMIZING_S
    size = len(content_of(found.model)) + 1
    while isinstance(found.model, dict) and len(content_of(found.model)) < size:
        size = len(content_of(found.model))
        for values, _ in list(tables_in(found.model, "Model")):
            for field in list(values):
                _make_less(
                    values, field, found.model, lambda content: process.end_of(content).split(":")[0] == kind, end_by
                )
    return found


def _make_less(values: Values, field: str, model: Values, still: Callable[[bytes], bool], end_by: float) -> None:
    """Gives a field the first smaller value with which it still happens, again and again."""
    smaller = True
    while smaller and field in values:
        smaller, value, size = False, values[field], len(content_of(model))
        for less in _less(value):
            if less is None:
                del values[field]
            else:
                values[field] = less
            content = content_of(model)
            smaller = time.monotonic() < end_by and 0 < len(content) < size and still(content)
            if smaller:
                break
            values[field] = value


def _less(value: Any) -> Iterator[Any]:
    """Smaller values of a field, the smallest first."""
    yield None
    if isinstance(value, list | bytes | str):
        size = len(value)
        for count in sorted({size // 2, 1} - {0}, reverse=True):
            for start in range(0, size if isinstance(value, list) else count, count):
                yield value[:start] + value[start + count :]


def fuzzed(process: Child, seconds: float, seed: int, most: int) -> tuple[Counter[str], list[Found]]:
    """How many mutants ended how, and those that should not have, of each kind and operator one."""
    counts, findings, kinds = Counter[str](), list[Found](), set[str]()
    end_by = time.monotonic() + seconds
    names = sorted({**every(), **GRAPHS})
    number = 0
    while time.monotonic() < end_by and not 0 < most <= number:
        number += 1
        name, model = mutant(f"{seed}-{number}", names)
        content = content_of(model)
        if not content:
            continue
        end = process.end_of(content)
        kind = end.split(":")[0]
        counts[kind] += 1
        signature = end if kind == "wrong exception" else f"{kind} {name.split('[')[0]}"
        if kind not in ("result", "refused") and signature not in kinds:
            kinds.add(signature)
            findings.append(minimized(Found(end, name, f"{seed}-{number}", model), process))
    process.stop()
    return counts, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "opencl", "pocl", "intel", "emulator"])
    parser.add_argument("--seconds", type=float, default=20, help="how long new mutants are begun")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same mutants")
    parser.add_argument("--most", type=int, default=0, help="so many mutants at most; 0 for any number")
    given = parser.parse_args()
    counts, findings = fuzzed(Child(given.device), given.seconds, given.seed, given.most)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{given.device}, seed {given.seed}: {sum(counts.values())} mutants: {told}")
    for found in findings:
        print(f"\n{found.end}\n{found.as_test(given.device)}")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
