"""Draws the plots of docs/performance.md, docs/plots/*.svg, from files of benchmarks/results.

python docs/make_plots.py           draws them; needs matplotlib
python docs/make_plots.py --check   exits with 1 where a plot is of another content than its file of results has now

Every model of a run is shown, with both times; the axis is a logarithm, on which twice as fast and half as fast are
as far from 1.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
FOLDER = Path(__file__).parent / "plots"

PLOTS = {
    "cpu": ("zoo-2026-11-23.json", 0, "CPU executor / LiteRT's reference kernels"),
    "opencl": ("zoo-2026-11-23.json", 1, "OpenCL on Intel's CPU runtime / LiteRT with XNNPACK, 2 threads"),
    "cpu_small": ("cpu-2026-11-23.json", 0, "CPU executor / LiteRT's reference kernels, 1 thread, processor time"),
}
"""For each plot the file, which of its runs, and what is divided by what."""

GROUPS = {"float": ("o", "#2563eb"), "integer": ("s", "#ea580c"), "hybrid": ("^", "#16a34a"), "other": ("x", "#6b7280")}
"""For each kind of model a marker and a colour."""

BEGINNINGS = {"fp": "float", "dyn": "hybrid", "int": "integer", "uint": "integer", "i16": "integer"}
"""The kind by how the type begins that the corpus has for a model."""


def digest(file: str) -> str:
    """What a plot says that it was made from."""
    return f"{file} {hashlib.sha256((RESULTS / file).read_bytes()).hexdigest()[:16]}"


def types() -> dict[str, str]:
    """The type of each model, such as fp32 or dyn8, where a file says it."""
    runs = json.loads((RESULTS / "zoo-2026-11-23.json").read_text())
    return {model["model"]: model["kind"] for run in runs for model in run.get("models", ())}


def kind(model: dict[str, Any], known: dict[str, str]) -> str:
    """float, hybrid (int8 weights, floats between), integer, or other where nothing says which."""
    told = known.get(model["model"], "")
    return next((BEGINNINGS[start] for start in BEGINNINGS if told.startswith(start)), "other")


def milliseconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def draw(name: str) -> None:
    """Writes one plot: a row a model, by ratio."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "tflgpu", "svg.fonttype": "none", "font.family": "sans-serif"})
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    file, run, title = PLOTS[name]
    told = json.loads((RESULTS / file).read_text())[run]
    models = sorted(told["models"], key=lambda model: -model["ratio"])
    figure, axes = plt.subplots(figsize=(4.8, 1.7 + 0.19 * len(models)), layout="constrained")
    kinds = [kind(model, types()) for model in models]
    for group, (marker, colour) in GROUPS.items():
        rows = [(model["ratio"], row) for row, model in enumerate(models) if kinds[row] == group]
        if rows:
            axes.plot(*zip(*rows, strict=True), marker, color=colour, label=group, markersize=5)
    for row, model in enumerate(models):
        both = f"{milliseconds(model.get('best_ms', model.get('ms')))} / {milliseconds(model['peer_ms'])}"
        axes.text(1.02, row, both, transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    axes.text(1.02, -1.4, "ms / ms", transform=axes.get_yaxis_transform(), va="center", fontsize=7, weight="bold")
    axes.axvline(1, color="#111827", linewidth=1)
    axes.set_xscale("log", base=2, subs=[])
    span = models[0]["ratio"] / models[-1]["ratio"]
    axes.xaxis.set_major_locator(LogLocator(base=2 if span < 40 else 4 if span < 400 else 16, numticks=99))
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}" if ratio >= 1 else f"1/{1 / ratio:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_yticks(range(len(models)), [model["model"] for model in models], fontsize=7)
    axes.set_ylim(-2, len(models) - 0.4)
    axes.grid(axis="x", which="both", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    mean = f"geometric mean {told['geometric_mean']:.2f}"
    axes.set_xlabel(f"ratio of times, logarithmic; {mean}\nleft of 1 tflgpu is faster", fontsize=8)
    figure.suptitle(f"{title}\n{told['machine']}, {told['date']}", fontsize=9)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, fontsize=8, frameon=False, handletextpad=0.1)
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Description": digest(file)})
    plt.close(figure)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        paths = {name: FOLDER / f"{name}.svg" for name in PLOTS}
        stale = [p.name for n, p in paths.items() if not p.exists() or digest(PLOTS[n][0]) not in p.read_text()]
        if stale:
            print(f"stale: {', '.join(stale)}; run python docs/make_plots.py", file=sys.stderr)
        return bool(stale)
    for name in PLOTS:
        draw(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
