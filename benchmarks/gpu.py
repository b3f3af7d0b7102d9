"""Latencies on an NVIDIA GPU, from invoke to outputs on the host, beside the same architectures in PyTorch.

    python benchmarks/gpu.py PHASE... [--device 0] [--seconds 60] [--results FOLDER] [--models FOLDER] [--only REGEX]
    python benchmarks/gpu.py PHASE... --dry-run    the emulator and PyTorch on the CPU, tiny: shows that this file runs

| phase    | what it does                                                                                           |
|----------|--------------------------------------------------------------------------------------------------------|
| compile  | makes the models, their outputs by the CPU and their programs, 16 models at a time                      |
| ours     | every model untuned, its input set, pinned or bound (gpu_results.py); outputs compared with the CPU's    |
| torch    | the same architectures in PyTorch, eager and with CUDA graphs                                            |
| profile  | time and traffic of each kernel                                                                          |
| tuned    | the models of TUNED with the option autotune, its programs compiled 16 models at a time                  |
| modelled | what each model should take by cost.py, where it knows the card: beside what was measured                |
| opencl   | batch 1 by the OpenCL delegate, where the card's driver has OpenCL                                       |
| ceilings | what the card reaches in a large copy and large GEMMs                                                    |

Every time is the median of many runs, each with its output copied out. <results>/<gpu>-<date>.json and the table beside
it, .md, are written anew after every model, so that what was measured stays where time runs out: batch 1 comes before
batch 32.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from architectures import ARCHITECTURES
from ceilings import ceilings
from cost import card_of, modelled
from gpu_case import Case, kernels, times
from gpu_results import Results
from models import multiplications
from torch_times import of_torch

import tflgpu

RUNS = (("float32", "fp32"), ("float32", "tf32"), ("float16", "fp16"), ("int8", "fp32"))
"""Type of the file, and the delegate's precision."""
RUNS_OF_BATCHES = (("float32", "fp32"), ("float16", "fp16"), ("int8", "fp32"))

BATCH = 32
TUNED = ("bert_base", "resnet_50", "mobilenet_v2")
AT_ONCE = 16


class Compiling:
    """Instead of a tuner: compiles every variant and times none."""

    measured: Sequence[Any] = ()

    def choose(self, device: Any, launch: Any, bind: Callable[[Any], Any]) -> Any:
        for way in (launch, *launch.variants):
            try:
                bind(way)
            except (MemoryError, RuntimeError) as error:
                print(f"{way.kernel} is no variant here: {error}"[:200], flush=True)
        return launch


def attempt(measure: Callable[..., Any], *args: Any) -> Any:
    """What it measures of args, or {"error": why not}: the other models are still to be measured."""
    try:
        return measure(*args)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:2000]}


class Run:
    """The phases. Each is a method; delegates are opened once for each precision."""

    def __init__(self, given: argparse.Namespace):
        self.dry, self.device = given.dry_run, "emulator" if given.dry_run else given.device
        self.seconds, self._start = given.seconds, time.monotonic()
        self._delegates: dict[tuple[str, bool], Any] = {}
        name = self.delegate("fp32").device.name
        self.results = Results(given.results, name)
        models = [model for model in ARCHITECTURES if re.search(given.only, model)]
        self.cases = [
            Case(model, batch, kind, precision, given.models, self.dry)
            for batch in (1,) + (() if self.dry else (BATCH,))
            for model in models
            for kind, precision in (RUNS if batch == 1 else RUNS_OF_BATCHES)
            if not self.dry or precision == "fp32"  # the emulator's tensor cores are slow
        ]
        self.each = given.seconds / max(len(self.cases), 1) / 4

    def delegate(self, precision: str, tuned: bool = False) -> Any:
        """The delegate of a precision."""
        key = precision, tuned
        if key not in self._delegates:
            options = {"device": self.device, "precision": precision, "autotune": tuned}
            self._delegates[key] = tflgpu.load_delegate("cuda", options)
        return self._delegates[key]

    def entry(self, case: Case) -> dict[str, Any]:
        """The results of a case; an earlier phase has counted its multiplications, unless it was cut off."""
        entry = self.results.of(case.model, case.batch, case.kind, case.precision)
        if "multiplications" not in entry:
            entry["multiplications"] = multiplications(case.network(case.batch))
        return entry

    def measure(self, what: str, of: Callable[[Case], Any], cases: Sequence[Case] | None = None) -> None:
        """Adds of(case) to each case's results as `what`, as far as the time goes."""
        for case in self.cases if cases is None else cases:
            if time.monotonic() - self._start > self.seconds and not self.dry:
                print(f"out of time before {case.model}, batch {case.batch}, {case.kind}", flush=True)
                return
            entry = self.entry(case)
            entry[what] = attempt(of, case)
            print(case.model, case.batch, case.kind, case.precision, what, str(entry[what])[:300], flush=True)
            self.results.write()

    def compile(self) -> None:
        self._compiled([(case, self.delegate(case.precision)) for case in self.cases])
        for case in self.cases:
            self.entry(case)
        self.results.write()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(Case.expected, {(case.model, case.kind): case for case in self.cases}.values()))

    def _compiled(self, cases: Sequence[tuple[Case, Any]]) -> None:
        files = {(case.model, case.batch, case.kind): case for case, _ in cases}.values()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda case: case.file(case.batch), files))
            for said in pool.map(lambda one: attempt(lambda: one[0].prepared(one[1]) and {}), cases):
                if said:
                    print(said["error"], flush=True)

    def ours(self) -> None:
        self.measure("tflgpu", lambda case: times(case, self.delegate(case.precision), self.each))

    def torch(self) -> None:
        ways = ("eager",) if self.dry else ("eager", "graph")
        # PyTorch has no int8 on CUDA that is the same arithmetic: int8 is compared with its float32.
        cases = [case for case in self.cases if case.kind != "int8"]
        self.measure(
            "torch", lambda c: of_torch(c.network(c.batch), c.precision, ways, not self.dry, 2 * self.each), cases
        )

    def profile(self) -> None:
        self.measure("kernels", lambda case: kernels(case, {"device": self.device, "precision": case.precision}))

    def tuned(self) -> None:
        cases = [case for case in self.cases if case.model in TUNED]
        for precision in {case.precision for case in cases}:
            device = self.delegate(precision, tuned=True).device
            tuner, device.tuner = device.tuner, Compiling()
            self._compiled([(case, self.delegate(precision, True)) for case in cases if case.precision == precision])
            device.tuner = tuner
        self.measure("tuned", lambda case: times(case, self.delegate(case.precision, True), self.each), cases)

    def modelled(self) -> None:
        card = "H200" if self.dry else card_of(self.results.device)

        def of(case: Case) -> Any:
            data = case.file(case.batch).read_bytes()
            found = modelled(data, case.network(case.batch), case.precision, card)
            return {
                "ms": found.ms,
                "launches": found.launches,
                "kernels_us": {name: t * 1e6 for name, t in found.by_kernel.items()},
            }

        self.measure("modelled", of, self.cases if card else ())

    def opencl(self) -> None:
        def of(case: Case) -> Any:
            options = {"device": "cpu"} if self.dry else {"device": "NVIDIA"}
            return times(case, tflgpu.load_delegate("opencl", options), self.each, ("set_tensor",))

        self.measure("opencl", of, [case for case in self.cases if case.batch == 1 and case.precision == "fp32"])

    def ceilings(self) -> None:
        self.results.ceilings({} if self.dry else attempt(ceilings, int(self.device)))
        self.results.write()


PHASES = ("compile", "ours", "torch", "profile", "modelled", "tuned", "opencl", "ceilings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phases", nargs="+", choices=PHASES, metavar="PHASE")
    parser.add_argument("--device", default="0")
    parser.add_argument("--seconds", type=float, default=60, help="for all phases together, about")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--models", type=Path, help="where models are made and found again; else in a folder that goes")
    parser.add_argument("--only", default="", help="models whose names match")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given.models = given.models or Path(folder)
        given.models.mkdir(parents=True, exist_ok=True)
        run = Run(given)
        for phase in given.phases:
            getattr(run, phase)()
        print(run.results.table())
        if run.results.failed:
            raise SystemExit(f"went wrong: {'; '.join(run.results.failed)}")


if __name__ == "__main__":
    main()
