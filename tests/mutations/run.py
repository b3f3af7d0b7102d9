"""Plants one fault after another into a copy of the sources, and runs the conformance kit's cases on it.

    PYTHONPATH=tests python -m mutations.run [TEXT ...] [--log FILE] [--seconds N] [--cases PATTERN]
        [--sample N] [--seed S]

TEXT: only faults whose name, kind or path has one of the texts. --log: a line of JSON for each fault; those that it
has already are not run again. --seconds: how long the cases of one fault may take. --cases: these instead of the
table's. --sample: so many faults, in proportion of every kind, device and folder; --seed: which. The exit status is 1
where a fault survives whose table does not say why.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from checkout import ROOT
from mutations.faults import Fault, every

from tflgpu.conformance import catalog
from tflgpu.conformance.runner import DelegateUnavailable, Worker
from tflgpu.conformance.settings import Settings

SOURCES = ("tflgpu", "delegates", "kernels_cl", "kernels_cuda")
CASE_S = 90.0
CAUGHT, SURVIVED, CUT = "caught", "survived", "cut short"


@dataclass(frozen=True)
class Outcome:
    """verdict: caught, survived, or cut short when the time was up. case: the one that saw the fault; why: how.

    ran: cases that have run. quick: whether the quick level has the case.
    """

    name: str
    kind: str
    verdict: str
    case: str = ""
    why: str = ""
    ran: int = 0
    seconds: float = 0.0
    quick: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    wanted = [f for f in every() if not asked.text or any(t in (f.name, f.kind) or t in f.path for t in asked.text)]
    wanted = sampled(wanted, asked.sample or len(wanted), asked.seed)
    known = {one.name: one for one in _read(asked.log)}
    outcomes = []
    with copied() as folder:
        for fault in wanted:
            outcome = known.get(fault.name)
            if outcome is None:
                fault = replace(fault, cases=asked.cases or fault.cases)
                outcome = tried(fault, folder, asked.seconds)
                with asked.log.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
                print(f"{outcome.verdict:9} {outcome.name} {outcome.case} {outcome.why[:60]}", flush=True)
            outcomes.append(outcome)
    return report(wanted, outcomes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="*")
    parser.add_argument("--log", type=Path, default=Path("mutations.jsonl"))
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--cases", default="")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def sampled(faults: Sequence[Fault], count: int, seed: int) -> list[Fault]:
    """So many of them, in proportion of every kind, device and folder, and of each one at least where there is room; in
    random order, so that those that have run are a sample too."""
    source = random.Random(seed)
    strata: dict[tuple[str, str, Path], list[Fault]] = {}
    for fault in source.sample(faults, len(faults)):
        strata.setdefault((fault.kind, fault.device, Path(fault.path).parent), []).append(fault)
    placed = [(i / len(stratum), fault) for stratum in strata.values() for i, fault in enumerate(stratum)]
    chosen = [fault for _, fault in sorted(placed, key=lambda pair: pair[0])[:count]]
    return source.sample(chosen, len(chosen))


def _read(log: Path) -> list[Outcome]:
    return [Outcome(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


@contextmanager
def copied() -> Iterator[Path]:
    """A folder with a copy of the sources."""
    with tempfile.TemporaryDirectory(prefix="tflgpu-mutations-") as name:
        for source in SOURCES:
            shutil.copytree(ROOT / source, Path(name) / source, symlinks=True)
        yield Path(name)


def tried(fault: Fault, folder: Path, seconds: float) -> Outcome:
    """What the kit makes of the fault, planted in the folder's sources for that time."""
    path = folder / fault.path
    path.write_text(fault.planted())
    start = time.perf_counter()
    try:
        return _outcome(fault, folder, seconds, start)
    finally:
        shutil.copy2(ROOT / fault.path, path)


def _outcome(fault: Fault, folder: Path, seconds: float, start: float) -> Outcome:
    worker, ran = Worker(_settings(fault), folder), 0

    def outcome(verdict: str, case: str = "", why: str = "") -> Outcome:
        spent = round(time.perf_counter() - start, 1)
        return Outcome(fault.name, fault.kind, verdict, case, why[:200], ran, spent, case in _quick())

    try:
        for case in _cases(fault.cases):
            result = worker.run(case, CASE_S)
            ran += 1
            if result.bad:
                return outcome(CAUGHT, case, f"{result.verdict}: {result.why}")
            if time.perf_counter() - start > seconds:
                return outcome(CUT)
        return outcome(SURVIVED)
    except DelegateUnavailable as error:
        return outcome(CAUGHT, why=str(error))
    finally:
        worker.stop()


def _settings(fault: Fault) -> Settings:
    if fault.device == "emulator":
        return Settings("cuda", {"device": fault.device})
    return Settings("opencl", {"device": fault.device})


@cache
def _quick() -> frozenset[str]:
    return frozenset(catalog.names(quick=True))


def _cases(pattern: str) -> list[str]:
    """Names of the cases, those of the quick level first."""
    rest = catalog.names(pattern)
    quick = [name for name in rest if name in _quick()]
    rest = [name for name in rest if name not in _quick()]
    random.Random(0).shuffle(rest)
    return [*quick, *rest]


def report(faults: Sequence[Fault], outcomes: Sequence[Outcome]) -> int:
    """Prints, in Markdown, the counts by kind and the survivors; 1 where one of these has no reason."""
    reasons = {fault.name: fault.survives for fault in faults}
    print("| kind | faults | caught by the quick level | caught by the whole kit | survive with a reason | without |")
    print("|---|---|---|---|---|---|")
    for kind in sorted({one.kind for one in outcomes}):
        print(_row(kind, [one for one in outcomes if one.kind == kind], reasons))
    print(_row("all", outcomes, reasons))
    lived = [one for one in outcomes if one.verdict != CAUGHT]
    print(*(f"\n- `{one.name}` {one.verdict}: {reasons[one.name] or 'NO REASON'}" for one in lived), sep="")
    return int(any(not reasons[one.name] for one in lived))


def _row(name: str, outcomes: Sequence[Outcome], reasons: Mapping[str, str]) -> str:
    caught = [one for one in outcomes if one.verdict == CAUGHT]
    explained = sum(bool(reasons[one.name]) for one in outcomes if one.verdict != CAUGHT)
    lost = len(outcomes) - len(caught) - explained
    counts = len(outcomes), sum(one.quick for one in caught), len(caught), explained, lost
    return f"| {name} | {' | '.join(map(str, counts))} |"


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.exit(main())
