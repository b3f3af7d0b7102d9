"""Latencies on an NVIDIA GPU, from invoke to outputs on the host, beside the same architectures in PyTorch.

    python benchmarks/gpu.py [--device 0] [--seconds 200] [--results benchmarks/results] [--only REGEX]
    python benchmarks/gpu.py --dry-run           the emulator and PyTorch on the CPU, tiny: shows that this file runs

Every time is the median of many runs, each with its input copied in and its output copied out. Beside them: what the
card reaches in a large copy and large GEMMs, and how near a model's multiplications and the bytes that each kernel
of tflgpu was given come to it. "tuned" is the same with the option autotune. Writes <results>/<gpu>-<date>.json and the
same as a table, .md, anew after every model, so that what was measured stays where time runs out: batch 1 comes before
batch 32.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from architectures import ARCHITECTURES, Network
from ceilings import ceilings
from models import multiplications, tflite

import tflgpu

RUNS = (("float32", "fp32"), ("float32", "tf32"), ("float16", "fp16"), ("int8", "fp32"))
"""Type of the file, and the delegate's precision."""
RUNS_OF_BATCHES = (("float32", "fp32"), ("float16", "fp16"), ("int8", "fp32"))

TINY: Mapping[str, Mapping[str, int]] = {"bert_base": {"tokens": 8, "layers": 1}}


def measured(run: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Median and least milliseconds of run, for about so many seconds after a warm-up; of one run where it is slow."""
    begin, warm = time.perf_counter(), 0
    while warm < 3 and time.perf_counter() - begin <= 5 * seconds:
        run()
        warm += 1
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < (5 if warm == 3 else 1) or (time.perf_counter() < end and len(times) < 2000):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return {"median_ms": statistics.median(times), "least_ms": min(times), "runs": len(times)}


def of_tflgpu(data: bytes, kind: str, options: dict[str, Any], seconds: float, kernels: bool) -> dict[str, Any]:
    """One model on the delegate: latency, share delegated, and its kernels' times in a run of their own if wanted."""

    def prepared(**more: Any) -> tuple[Any, Any, Callable[[], None]]:
        delegate = tflgpu.load_delegate("cuda", options | more)
        interpreter = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        detail = interpreter.get_input_details()[0]
        rng = np.random.default_rng(0)
        if kind == "int8":
            x = rng.integers(-60, 60, detail["shape"]).astype(np.int8)
        else:
            x = rng.standard_normal(detail["shape"], np.float32)

        def run() -> None:
            interpreter.set_tensor(detail["index"], x)
            interpreter.invoke()

        return delegate, interpreter, run

    delegate, interpreter, run = prepared()
    result: dict[str, Any] = measured(run, seconds)
    result["report"] = interpreter.delegation_report().splitlines()[0]
    if delegate.device.tuner is not None:
        result["variants_us"] = delegate.device.tuner.measured
    if not kernels:
        return result
    del interpreter, run
    delegate, _, run = prepared(profile=True)
    run()
    before, given = delegate.device.times(), delegate.device.traffic()
    for _ in range(5):
        run()
    after, given_after = delegate.device.times(), delegate.device.traffic()
    result["kernels"] = {}
    for name, (runs, ms) in after.items():
        ms -= before[name][1]
        nbytes = given_after[name] - given[name]
        result["kernels"][name] = {
            "launches": (runs - before[name][0]) / 5,
            "ms": ms / 5,
            "bytes": nbytes // 5,
            "bytes_per_s": nbytes / ms * 1e3,
        }
    return result


def of_torch(network: Network, precision: str, ways: Sequence[str], on_gpu: bool, seconds: float) -> dict[str, Any]:
    """The same in PyTorch in these ways: "eager", "graph" (CUDA) and "compiled"; what does not run says why."""
    import torch
    from torch_models import TorchNetwork

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    device = "cuda" if on_gpu else "cpu"
    module = TorchNetwork(network).to(device).eval()
    dtype = torch.float16 if precision == "fp16" else torch.float32
    module = module.to(dtype)
    host = torch.randn(network.input.shape, dtype=dtype)
    host = host.pin_memory() if on_gpu else host
    x = host.to(device)
    results: dict[str, Any] = {}
    with torch.inference_mode():
        back = module(x).to("cpu")
        back = back.pin_memory() if on_gpu else back

        def around(forward: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                x.copy_(host, non_blocking=True)
                back.copy_(forward(), non_blocking=True)
                if on_gpu:
                    torch.cuda.synchronize()

            return run

        makers = {"eager": lambda torch, module, x: lambda: module(x), "graph": _graphed, "compiled": _compiled}
        for name in ways:
            try:
                results[name] = measured(around(makers[name](torch, module, x)), seconds)
            except Exception as error:  # no Triton, no compiler, an operation that cannot be captured
                results[name] = {"error": str(error).splitlines()[0][:200]}
    return results


def _graphed(torch: Any, module: Any, x: Any) -> Callable[[], Any]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            module(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = module(x)

    def forward() -> Any:
        graph.replay()
        return out

    return forward


def _compiled(torch: Any, module: Any, x: Any) -> Callable[[], Any]:
    compiled = torch.compile(module)
    compiled(x)
    return lambda: compiled(x)


def attempt(measure: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """What it measures of args, or {"error": why not}: the other models are still to be measured."""
    try:
        return measure(*args)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:2000]}


def achieved(entry: Mapping[str, Any], ceilings: Mapping[str, float]) -> dict[str, float]:
    """FLOP/s of a model's GEMMs over its whole latency, and what that is of the card's for their type, if known."""
    if "median_ms" not in entry["tflgpu"]:
        return {}
    rate = 2 * entry["multiplications"] / entry["tflgpu"]["median_ms"] * 1e3
    ceiling = ceilings.get(f"{'int8' if entry['type'] == 'int8' else entry['precision']}_flop_per_s")
    return {"flop_per_s": rate} | ({"of_ceiling": rate / ceiling} if ceiling else {})


def kernel_table(results: Mapping[str, Any]) -> list[str]:
    """The kernels of each model at batch 1 in float32, the slowest first: time, and bytes given a second."""
    rows = ["| model | kernel | launches | ms | GB/s | of a copy |", "|---|---|---|---|---|---|"]
    copy = results["ceilings"].get("bytes_per_s")
    for entry in results["models"]:
        if (entry["batch"], entry["type"], entry["precision"]) != (1, "float32", "fp32"):
            continue
        kernels = entry["tflgpu"].get("kernels", {})
        for name, of in sorted(kernels.items(), key=lambda item: -item[1]["ms"]):
            rate = of["bytes_per_s"]
            share = f"{rate / copy:.0%}" if copy else "-"
            cells = [entry["model"], name, f"{of['launches']:g}", f"{of['ms']:.4f}", f"{rate / 1e9:.0f}", share]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def table(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    rows = [
        "| model | batch | type | tflgpu ms | tuned | PyTorch eager | graph | compiled | TFLOP/s | of the card's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in results["models"]:
        times = [entry[of].get("median_ms") for of in ("tflgpu", "tuned")]
        times += [entry["torch"].get(way, {}).get("median_ms") for way in ("eager", "graph", "compiled")]
        cells = [f"{t:.3f}" if t else "-" for t in times]
        got = entry.get("achieved", {})
        cells.append(f"{got['flop_per_s'] / 1e12:.2f}" if got else "-")
        cells.append(f"{got['of_ceiling']:.0%}" if "of_ceiling" in got else "-")
        kind = entry["type"] if entry["precision"] == "fp32" else f"{entry['type']} {entry['precision']}"
        rows.append(f"| {entry['model']} | {entry['batch']} | {kind} | {' | '.join(cells)} |")
    ceilings = ", ".join(f"{name} {value:.3g}" for name, value in results["ceilings"].items() if name != "error")
    head = f"{results['device']}, {results['date']}" + (f"; the card reaches {ceilings}" if ceilings else "")
    return "\n".join([head, "", *rows, "", *kernel_table(results), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="0")
    parser.add_argument("--seconds", type=float, default=200, help="for everything, about")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--only", default="", help="models whose names match")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    dry = given.dry_run
    device = "emulator" if dry else given.device
    name = tflgpu.load_delegate("cuda", {"device": device}).device.name  # type: ignore[attr-defined]
    chosen = [(m, b) for b in (1,) + (() if dry else (32,)) for m in ARCHITECTURES if re.search(given.only, m)]
    each = given.seconds / max(len(chosen) * len(RUNS) * 16, 1)
    results: dict[str, Any] = {"device": name, "date": datetime.date.today().isoformat(), "models": []}
    stem = re.sub(r"\W+", "-", name.split(" (")[0]).strip("-").lower() + f"-{results['date']}"
    results["ceilings"] = {} if dry else attempt(ceilings, int(device))
    start = time.monotonic()
    networks: dict[tuple[str, int], Network] = {}

    def late() -> bool:
        return not dry and time.monotonic() - start > given.seconds

    def keep() -> None:
        if not dry:
            given.results.mkdir(exist_ok=True)
            (given.results / f"{stem}.json").write_text(json.dumps(results, indent=1) + "\n")
            (given.results / f"{stem}.md").write_text(table(results))

    for model, batch in chosen:
        if late():
            results.setdefault("not measured", []).append(f"{model}, batch {batch}: out of time")
            continue
        networks[model, batch] = network = ARCHITECTURES[model](batch, **(TINY.get(model, {"size": 32}) if dry else {}))
        data: dict[str, bytes] = {}
        for kind, precision in RUNS if batch == 1 else RUNS_OF_BATCHES:
            entry: dict[str, Any] = {"model": model, "batch": batch, "type": kind, "precision": precision}
            entry["multiplications"] = multiplications(network)
            data[kind] = data.get(kind) or tflite(network, kind)
            options = {"device": device, "precision": precision}
            for of, more in (("tflgpu", {}), ("tuned", {"autotune": True})):
                if dry and more and precision != "fp32":  # the emulator's tensor cores are slow
                    entry[of] = {"error": "not tried"}
                    continue
                entry[of] = attempt(
                    of_tflgpu,
                    data[kind],
                    kind,
                    options | more,
                    each,
                    of == "tflgpu" and (not dry or precision == "fp32"),
                )
            # PyTorch has no int8 on CUDA that is the same arithmetic: int8 is compared with its float32.
            ways = () if kind == "int8" else ("eager",) if dry else ("eager", "graph")
            entry["torch"] = attempt(of_torch, network, precision, ways, not dry, each)
            entry["achieved"] = achieved(entry, results["ceilings"])
            results["models"].append(entry)
            said = entry["tflgpu"].get("error") or f"{entry['tflgpu']['median_ms']:.3f} ms"
            print(model, batch, kind, precision, said, entry["tuned"].get("median_ms", entry["tuned"]), flush=True)
            keep()
    # Compiling takes PyTorch tens of seconds a model: last, and as far as the time goes.
    for entry in [] if dry else results["models"]:
        if late():
            entry["torch"].setdefault("compiled", {"error": "not tried: out of time"})
        elif entry["type"] != "int8" and "eager" in entry["torch"]:
            network = networks[entry["model"], entry["batch"]]
            entry["torch"] |= attempt(of_torch, network, entry["precision"], ("compiled",), True, each)
            keep()
    print(table(results))
    keep()
    if any("error" in entry["tflgpu"] for entry in results["models"]):
        raise SystemExit("a model did not run")


if __name__ == "__main__":
    main()
